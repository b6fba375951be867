"""The only editor of SDP: what a plan and the gateway's addresses make of an offer and of its answer.

What no plan names leaves as it came, octet by octet and in order; a description without any change is returned itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from pcscf.mediasec import datagrams, paths
from pcscf.mediasec.mechanisms import BY_NAME
from pcscf.mediasec.model import LIVE, Direction, Leg, LinePlan, MediaPlan, Mode, OfferedMedia, SideMedia, StreamMedia
from pcscf.record import record
from pcscf.sdp.lines import MediaSection, Sdp, Section
from pcscf.sdp.offer import DISCARD_PORT
from pcscf.sdp.views import UNSPECIFIED, connection_host, connection_value, move_msrp_uri, setup

__all__ = ["LegSdp", "SideMedia", "StreamMedia", "decline", "next_body", "rewrite_answer", "rewrite_offer", "without_e2ae"]

_E2AE = "3ge2ae"
_PUSHED = ("fingerprint", "setup", "tls-id")
_NONE: tuple[str, ...] = ()
_FROM_ALL = frozenset({_E2AE})
# The gateway does no ICE: with candidates left in, the ends would go round it.
_FROM_ANCHORED = _FROM_ALL | {"candidate", "remote-candidates", "ice-ufrag", "ice-pwd", "ice-options"}
# So they would with other addresses of the line: RFC 4570, RFC 6947, RFC 7006; RFC 3605, which RTP gets anew.
_FROM_ANCHORED |= {"source-filter", "altc", "ccap", "rtcp"}
# Capability lines (RFC 5939 §3) would offer the transport that the other side must not see.
_CAPABILITIES = frozenset({"tcap", "acap", "pcfg", "acfg", "csup", "creq"})
_FROM_MAPPED = _FROM_ANCHORED | _CAPABILITIES | {"fingerprint", "setup", "tls-id", "crypto"}
_FROM_UNPROTECTED = _FROM_ALL | {"fingerprint", "tls-id"}
_FROM_SESSION = _FROM_ALL.union(_PUSHED)

# Looking up a member in its Enum costs as much as a function: what every call needs is looked up once.
_OFFER_FROM_UE: Final = Direction.OFFER_FROM_UE
_PLAIN: Final = Mode.PLAIN
_WISH: Final = re.compile(r"\s*[0-9]+\s+3ge2ae\b", re.IGNORECASE)
_WISH_LINE: Final = re.compile(
    rb"^a=(?:acap:[ \t]*[0-9]+[ \t]+)?3ge2ae(?![!-9;-~])[^\r\n]*(?:\r\n|\n|\r|\Z)", re.IGNORECASE | re.MULTILINE)
_UNPROTECTED: Final = frozenset({Mode.PLAIN, Mode.DISABLED, Mode.RELEASED})


def rewrite_offer(plan: MediaPlan, offer: Sdp, media: SideMedia) -> Sdp:
    """The offer as it goes on to the other side.

    `media` holds, for each line with `gateway`, the gateway's side towards the receiver: its core side for an offer of
    the UE, its access side for one of the core. Raises KeyError where one is missing.
    """
    return _Rewriter(plan, offer, media, is_answer=False).run()


def rewrite_answer(plan: MediaPlan, answer: Sdp, media: SideMedia) -> Sdp:
    """The answer as it goes back to the offerer, one m-line per m-line of the offer.

    `plan` is settled; `media` holds the gateway's side towards the offerer for each line with `gateway`. Raises
    KeyError where one is missing.
    """
    return _Rewriter(plan, answer, media, is_answer=True).run()


def without_e2ae(description: bytes) -> bytes:
    """A description that is no offer and no answer, without 3ge2ae; every other octet stays, whatever it is."""
    return _WISH_LINE.sub(b"", description)


def decline(offer: Sdp, address: str) -> Sdp:
    """The answer that closes every line of `offer`, which is as the answerer's side got it. `address`: ours on that side."""
    kind = connection_value(address)
    session = ["v=0", f"o=- 0 0 {kind}", "s=-", f"c={kind}", "t=0 0"]
    return Sdp(Section(session), [section.closed() for section in offer.media])


class _Rewriter:
    __slots__ = ("edited", "is_answer", "lines", "media", "offered", "source", "to_ue")

    def __init__(self, plan: MediaPlan, source: Sdp, media: SideMedia, *, is_answer: bool) -> None:
        self.lines = plan.lines
        self.source = source
        self.is_answer = is_answer
        self.to_ue = (plan.direction is _OFFER_FROM_UE) == is_answer
        self.media = media
        self.offered = plan.offered
        self.edited = source
        if is_answer and len(source.media) != len(self.offered):
            sections = self._editable().media
            sections[len(self.offered) :] = []
            sections += [_closed(missing) for missing in self.offered[len(sections) :]]

    def run(self) -> Sdp:
        self._edit_session_attributes()
        for line in self.lines:
            if line.gateway:
                self._rewrite_stream(line)
            else:
                self._rewrite_bypassed(line)
        self._withhold_wishes()
        self._rewrite_addresses()
        return self.edited

    def _editable(self) -> Sdp:
        if self.edited is self.source:
            self.edited = self.source.copy()
        return self.edited

    def _edit_session_attributes(self) -> None:
        """A session-level value holds for lines that we unprotect as well: give it to those that need it alone."""
        session = self.source.session
        if _FROM_SESSION.isdisjoint(session.places):
            return
        if session.has(_E2AE):
            self._editable().session.set_attributes({_E2AE: _NONE})
        present = [name for name in _PUSHED if session.has(name)]
        ours = any(line.mapped or (session.has("fingerprint") and _is_bare(line)) for line in self.lines)
        if not (present and ours):
            return
        edited = self._editable()
        edited.session.set_attributes(dict.fromkeys(present, _NONE))
        for line in self.lines:
            section = edited.media[line.index]
            if not line.mapped:
                needed = [name for name in present if name == "setup" or not _is_bare(line)]
                section.set_attributes({name: session.values(name) for name in needed if not section.has(name)})

    def _withhold_wishes(self) -> None:
        """3ge2ae as a capability (RFC 5939 §3.4): a configuration that needs it then names what is not there, and is none."""
        for index, source in enumerate((self.source.session, *self.source.media)):
            if not source.has("acap") or index > len(self.edited.media):
                continue
            section = self.edited.media[index - 1] if index else self.edited.session
            wishes = [value for value in section.values("acap") if _WISH.match(value)]
            if wishes:
                edited = self._editable()
                (edited.media[index - 1] if index else edited.session).remove_values("acap", wishes)

    def _rewrite_stream(self, line: LinePlan) -> None:
        section = self._editable().media[line.index]
        leg = line.access if self.to_ue else line.core
        ours = self.media[line.index]
        if leg is None:
            raise ValueError(f"m-line {line.index} uses the gateway without legs")
        role = leg.setup
        changes = _removals(section, _FROM_MAPPED if line.mapped else _FROM_ANCHORED)
        if line.path_mode == "aware":
            changes |= _removals(section, _CAPABILITIES)   # the gateway could not read what they offer
        if _is_bare(line):
            changes |= _removals(section, _FROM_UNPROTECTED)
        if line.mapped:
            self._map_protection(line, section, leg, ours, changes)
        elif line.mode is _PLAIN and line.medium is not None and leg.transport == "TCP":
            changes["setup"] = (leg.setup,)
        else:
            role = setup(self.edited, section)
        port = DISCARD_PORT if role in {"active", "holdconn"} and leg.transport.startswith("TCP") else ours.port
        if line.path_mode == "sessmatch":
            self._move_path(line, section, ours.address, port, changes)
        elif line.path_mode == "aware":
            # Frames name the gateway by its path, so c= and m= say the same (RFC 4975 §8.1), whoever opens.
            port = ours.port
            changes |= {"path": (paths.placed(leg.path, ours.address, port),), "msrp-cema": _NONE}
        elif datagrams.is_rtp(leg):
            self._place_rtcp(section, leg, ours, changes)
        section.set_attributes(changes)
        section.set_media(port, self._proto(line, section))

    def _map_protection(
        self, line: LinePlan, section: MediaSection, leg: Leg, ours: StreamMedia, changes: dict[str, Sequence[str]]
    ) -> None:
        if leg.setup:
            changes["setup"] = (leg.setup,)
        protected = self.to_ue or line.core_protected
        if protected:
            changes["fingerprint"] = [f"{name} {octets}" for name, octets in ours.fingerprints]
        if self.to_ue and not self.is_answer:
            section.set_attributes({_E2AE: _NONE})   # whatever the core wrote there, and however it spelt it
            changes[_E2AE] = ("applied",)
        if leg.transport.startswith("UDP"):
            changes["connection"] = _NONE  # RFC 8842 §5.1
            # An answer names the association only to an offer that did (RFC 8842 §5.3).
            if protected and leg.tls_id and (not self.is_answer or self.offered[line.index].has_tls_id):
                changes["tls-id"] = (leg.tls_id,)

    def _move_path(
        self, line: LinePlan, section: MediaSection, address: str, port: int, changes: dict[str, Sequence[str]]
    ) -> None:
        scheme = ("msrps" if self.to_ue or line.core_protected else "msrp") if line.mapped else ""
        path = section.value("path")
        if path:
            changes["path"] = (move_msrp_uri(path, scheme, f"[{address}]:{port}" if ":" in address else f"{address}:{port}"),)
        changes["msrp-cema"] = _NONE

    def _place_rtcp(self, section: MediaSection, leg: Leg, ours: StreamMedia, changes: dict[str, Sequence[str]]) -> None:
        """a=rtcp where the sender wrote it, and where our RTCP is not on the port that it is looked for (RFC 3605 §2.1).

        Beside an offer of a=rtcp-mux it says where RTCP goes when that is declined (RFC 5761 §5.1.1).
        """
        shared = self.is_answer and leg.rtcp_mux == "agreed"
        if self.is_answer and not shared and section.has("rtcp-mux"):
            changes["rtcp-mux"] = _NONE   # nobody offered it
        port = ours.port if shared else ours.rtcp or ours.port + 1
        if (written := section.value("rtcp")) is not None:
            changes["rtcp"] = (f"{port} {connection_value(ours.address)}" if " " in written else str(port),)
        elif port not in {ours.port, ours.port + 1}:
            changes["rtcp"] = (str(port),)

    def _proto(self, line: LinePlan, section: MediaSection) -> str:
        """An answer speaks the proto of its offer; an offer that changes sides gets the registered spelling."""
        if not line.mapped or line.medium is None:
            return section.proto
        if self.is_answer:
            return self.offered[line.index].proto
        medium = BY_NAME[line.medium]
        return medium.secure if self.to_ue or line.core_protected else medium.plain

    def _rewrite_bypassed(self, line: LinePlan) -> None:
        section = self.edited.media[line.index]
        # A line of other media with port 0 may be alive in a bundle (RFC 9143 §6).
        closed = line.mode not in LIVE and (line.medium is not None or line.mode is not Mode.UNUSED)
        offered = self.offered[line.index]
        if closed and self.is_answer and (section.port != 0 or section.media.lower() != offered.media.lower()):
            # Whoever wrote it meant a line in use: what it says of itself is for nobody any more.
            self._editable().media[line.index] = _closed(offered)
            return
        removals = _removals(section, _FROM_UNPROTECTED if closed or _is_bare(line) else _FROM_ALL)
        if removals:
            self._editable().media[line.index].set_attributes(removals)
        if not closed:
            return
        section = self.edited.media[line.index]
        proto = self._proto(line, section)
        if section.port != 0 or section.proto != proto:
            self._editable().media[line.index].set_media(0, proto)

    def _rewrite_addresses(self) -> None:
        """c= of every line that the gateway stands in; the session's c= only where it speaks for no line but those."""
        connections: dict[int, str] = {}
        for line in self.lines:
            if line.gateway:
                ours = self.media[line.index].address
                held = connection_host(self.source, self.source.media[line.index]) in UNSPECIFIED
                connections[line.index] = connection_value(_unspecified(ours) if held else ours)
        if not connections:
            return
        edited = self.edited
        shared = False
        common = _common(connections.values())
        if common and self._speak_for_all(connections):
            shared = edited.session.replace_field("c", common)
        for index, connection in connections.items():
            section = edited.media[index]
            if not (section.replace_field("c", connection) or shared):
                section.set_connection(connection)

    def _speak_for_all(self, connections: dict[int, str]) -> bool:
        """Whether no line in use is left out."""
        for index, section in enumerate(self.edited.media):  # noqa: SIM110 - a generator costs more than the loop
            if section.port and index not in connections:
                return False
        return True


def _unspecified(like: str) -> str:
    """The address on hold (RFC 3264 §8.4) in the family of another."""
    return "::" if ":" in like else "0.0.0.0"  # noqa: S104 - nothing binds to it


def _closed(offered: OfferedMedia) -> MediaSection:
    """A bare m-line with port 0 for the same media (RFC 3264 §6)."""
    return MediaSection([f"m={offered.media} 0 {offered.proto} {offered.formats}"])


def _common(connections: Iterable[str]) -> str:
    """What all of them are; "": they differ."""
    first, *others = connections
    return first if others.count(first) == len(others) else ""


def _is_bare(line: LinePlan) -> bool:
    """A line of our media without protection on either side: a certificate has no business there."""
    return line.mode in _UNPROTECTED and line.medium is not None


def _removals(section: MediaSection, names: frozenset[str]) -> dict[str, Sequence[str]]:
    return dict.fromkeys(names.intersection(section.places), _NONE)


@record
class LegSdp:
    """What one leg was last sent: the o= line as first sent, split around its version, and the whole body.

    Starts out empty; equal records mean equal octets on the wire. Holds plain values only, so it can be stored.
    """

    before: str = ""
    version: int = -1
    after: str = ""
    body: bytes = b""


def next_body(leg: LegSdp, sdp: Sdp) -> tuple[LegSdp, bytes]:
    """The body to send on a leg, and the record to keep for it (RFC 3264 §8).

    The first body keeps the o= line it came with. Later ones keep that line too, with the version stepped by one when
    anything else changed: an identical body, as in a session refresh, comes out in identical octets whatever its sender
    did to o=. A description without a readable o= goes out as it is.
    """
    origin = sdp.session.field("o")
    fields = origin.split(" ") if origin is not None else []
    if len(fields) != 6 or not (fields[2].isascii() and fields[2].isdigit()) or len(fields[2]) > 20:
        return leg, sdp.to_bytes()
    if leg.version < 0:
        name, session, version, *after = fields
        body = sdp.to_bytes()
        return LegSdp(f"{name} {session}", int(version), " ".join(after), body), body
    body = _with_origin(sdp, f"{leg.before} {leg.version} {leg.after}")
    if body == leg.body:
        return leg, body
    stepped = leg.version + 1
    body = _with_origin(sdp, f"{leg.before} {stepped} {leg.after}")
    return LegSdp(leg.before, stepped, leg.after, body), body


def _with_origin(sdp: Sdp, origin: str) -> bytes:
    """The body with this value in its o= line."""
    sdp = sdp.copy()
    sdp.session.replace_field("o", origin)
    return sdp.to_bytes()
