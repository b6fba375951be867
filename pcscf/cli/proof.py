"""What the demo claims, and from which observation each claim follows. Traces and the far ends' own words are the evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pcscf.observe.summary import short_fingerprint
from pcscf.observe.trace import GATEWAY, LINK, TraceEvent

_NO_PUNCTUATION = str.maketrans("", "", "{,}")
REPLY = "Got it: {text}"   # how everybody who is called answers a message

Event = dict[str, Any]
Medium: TypeAlias = Literal["msrp", "bfcp", "t38"]
MEDIA: dict[Medium, tuple[str, str]] = {   # in the clear, protected
    "msrp": ("TCP/MSRP", "TCP/TLS/MSRP"), "bfcp": ("TCP/BFCP", "TCP/TLS/BFCP"), "t38": ("udptl", "UDP/TLS/UDPTL"),
}


@dataclass(frozen=True, slots=True)
class Check:
    """One claim. name: for machines; what: the claim in words; seen: what it rests on."""

    name: str
    what: str
    ok: bool
    seen: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that was observed: all traces by time, and what each far end told, by its name."""

    events: Sequence[TraceEvent]
    words: Mapping[str, Sequence[Event]]

    def told(self, who: str, name: str, **facts: object) -> Event:
        """The first event of that name that `who` told, {} where there is none."""
        return next((
            event for event in self.words.get(who, ())
            if event.get("event") == name and all(event.get(key) == value for key, value in facts.items())
        ), {})

    def call_of(self, caller: str) -> str:
        """Call-ID of the call that `caller` made, "" when there was none."""
        return str((self.told(caller, "answered") or self.told(caller, "refused")).get("call_id", ""))

    def registration_of(self, user: str) -> str:
        """Call-ID of the registration of `user` as the P-CSCF saw it."""
        return next((
            event.flow for event in self.sip("pcscf", "in")
            if event.facts.get("method") == "REGISTER" and f"sip:{user}@" in str(event.facts.get("to"))
        ), "")

    def sip(self, node: str, direction: str, call_id: str = "", *, method: str = "") -> list[TraceEvent]:
        """SIP messages at a node. `method`: requests only, and of this method."""
        return [
            event for event in self.events
            if (event.proto, event.node, event.dir) == ("SIP", node, direction) and call_id in {"", event.flow}
            and (not method or (event.facts.get("method") == method and "status" not in event.facts))
        ]

    def offered(self, node: str, call_id: str) -> list[Mapping[str, object]]:
        """The m-lines of the INVITEs that came to a node."""
        return [line for event in self.sip(node, "in", call_id, method="INVITE") for line in _listed(event, "media")]

    def contexts(self, call_id: str) -> set[str]:
        """The gateway contexts that served a call, as flow keys."""
        return {
            key for event in self.events if event.proto == LINK and call_id and event.flow == call_id for key in event.keys[1:]
        }

    def gateway(self, kind: str, call_id: str) -> list[TraceEvent]:
        """The gateway's own reports of the media connections of a call."""
        contexts = self.contexts(call_id)
        return [
            event for event in self.events
            if event.node == GATEWAY and event.facts.get("kind") == kind and event.flow in contexts
        ]


Claims: TypeAlias = Callable[[Evidence], list[Check]]


def registration(evidence: Evidence) -> list[Check]:
    registered = evidence.told("alice", "registered")
    announced = registered.get("security_server", [])
    first = next(iter(evidence.sip("ue", "out", evidence.registration_of("alice"))), None)
    return [
        Check("registered", "alice is registered through the P-CSCF, over TLS", bool(registered),
              f"expires in {registered.get('expires')} s" if registered else "no 200 to REGISTER"),
        Check("mediasec-agreed", "UE and P-CSCF agreed on msrp-tls for media",
              "msrp-tls;mediasec" in announced and first is not None and "Security-Client" in _listed(first, "security"),
              ", ".join(announced) or "no Security-Server"),
    ]


def protected_session(evidence: Evidence) -> list[Check]:
    call = evidence.call_of("alice")
    media = evidence.told("alice", "media")
    tls = media.get("tls") or {}
    gateway = next(iter(evidence.gateway("tls-established", call)), None)
    shown, own = str(tls.get("fingerprint", "")), str(media.get("own_fingerprint", ""))
    end, far_end = evidence.told("alice", "ended"), evidence.told("bob", "ended", call_id=call)
    return [
        *_texts(evidence, "text", "alice", "bob", call),
        Check("tls", "the media of the UE ran over TLS 1.2 or 1.3", tls.get("version") in {"TLSv1.2", "TLSv1.3"},
              f"{tls.get('version')} {tls.get('cipher')}"),
        Check("gateway-fingerprint", "the UE compared the gateway's certificate with the SDP that it got",
              bool(shown) and _octets(shown) == _octets(_fact(gateway, "own")), short_fingerprint(shown)),
        Check("ue-fingerprint", "the gateway compared the UE's certificate with the SDP that the UE sent",
              bool(own) and _octets(_fact(gateway, "fingerprint")) == _octets(own), short_fingerprint(own)),
        _plain_in_core(evidence, "plain-behind", "the far side was offered plain MSRP, without fingerprint and 3ge2ae", call),
        Check("session-ended", "the session ended with BYE on both sides",
              end.get("by") == "us" and far_end.get("by") == "peer",
              f"at alice by {end.get('by') or 'nobody'}, at bob by {far_end.get('by') or 'nobody'}"),
    ]


def wrong_certificate(evidence: Evidence) -> list[Check]:
    call = evidence.call_of("eve")
    failed = next(iter(evidence.gateway("tls-failed", call)), None)
    delivered = evidence.told("bob", "received", call_id=call)
    at_eve, at_bob = evidence.told("eve", "ended", call_id=call), evidence.told("bob", "ended", call_id=call)
    carried = [event for event in evidence.events if (event.node, event.proto, event.flow) == ("party", "MSRP", call)]
    return [
        Check("mismatch-refused", "eve's wrong certificate was refused in the handshake", failed is not None,
              failed.text if failed is not None else "the gateway refused nothing"),
        Check("nothing-delivered", "not one MSRP message of eve's session reached the far side",
              bool(call) and not delivered and not carried, f"{len(carried)} messages"),
        Check("released-both-ways", "the P-CSCF released that session with BYE to both sides, with a Reason",
              all(end.get("by") == "peer" and end.get("reason") for end in (at_eve, at_bob)),
              str(at_eve.get("reason") or "no BYE")),
    ]


def protected_to_edge(name: str, caller: str, callee: str, medium: Medium) -> Claims:
    """A call of the core to a UE that agreed on protection. name: what the names of the claims begin with."""
    plain, secure = MEDIA[medium]

    def claims(evidence: Evidence) -> list[Check]:
        call = evidence.call_of(caller)
        return [
            _plain_in_core(evidence, f"{name}-plain", f"{caller}, in the core, called with {plain} in the clear", call, plain),
            _offered_protection(
                evidence, f"{name}-offered", f"{callee} was offered {secure} with 3ge2ae:applied", "ue", call, secure),
            _tls(evidence, f"{name}-tls", f"{callee}'s media ran over {'DTLS' if secure.startswith('UDP') else 'TLS'}, "
                 "both certificates compared with the SDP", [callee], call),
            *_texts(evidence, f"{name}-text", caller, callee, call),
        ]

    return claims


def end_to_end(name: str, caller: str, callee: str, medium: Medium) -> Claims:
    """A call of the core to a UE, protected by the ends themselves: the gateway passes on what it cannot read."""
    _, secure = MEDIA[medium]

    def claims(evidence: Evidence) -> list[Check]:
        call = evidence.call_of(caller)
        media = [evidence.told(who, "media", call_id=call) for who in (caller, callee)]
        own = [_octets(str(each.get("own_fingerprint", ""))) for each in media]
        met = [_octets(str((each.get("tls") or {}).get("fingerprint", ""))) for each in media]
        offered = evidence.offered("ue", call) if call else []
        ended = [*evidence.gateway("tls-established", call), *evidence.gateway("tls-failed", call)]
        carried = _carried(evidence, call)
        return [
            Check(f"{name}-offered", f"{callee} was offered {secure} with {caller}'s own certificate, and no word of the edge",
                  bool(offered) and all(
                      line.get("proto") == secure and "e2ae" not in line
                      and _octets(str(line.get("fingerprint", ""))) == own[0] for line in offered),
                  ", ".join(str(line.get("proto")) for line in offered) or "no offer"),
            Check(f"{name}-met", "the two met each other's certificate, and none of the gateway's",
                  all(own) and own[0] != own[1] and met == own[::-1], ", ".join(short_fingerprint(each) for each in met if each)),
            Check(f"{name}-unread", "the gateway ended no TLS: it passed on octets that it could not read",
                  bool(call) and bool(met[0]) and not ended and len(carried) == 2, ", ".join(carried) or "nothing passed"),
            *_texts(evidence, f"{name}-text", caller, callee, call),
        ]

    return claims


def _carried(evidence: Evidence, call: str) -> list[str]:
    """What the gateway passed on, side by side of it: connections, or datagrams, which are told of when they are over."""
    tcp = [*evidence.gateway("tcp-accepted", call), *evidence.gateway("tcp-connected", call)]
    over = [event for event in evidence.gateway("closed", call) if _fact(event, "transport") == "UDP"]
    return [*["a TCP connection" for _ in tcp],
            *[f"{_fact(event, 'octets')} octets over UDP" for event in over if _fact(event, "octets") not in {"", "0"}]]


def two_ues(evidence: Evidence) -> list[Check]:
    call = evidence.call_of("frank")
    contexts = evidence.contexts(call)
    return [
        Check("both-contexts", "two half-calls: each has a context of its own at the gateway", len(contexts) == 2,
              ", ".join(sorted(contexts)) or "no context"),
        _offered_protection(evidence, "both-offered", "the called UE, grace, was offered protection too", "ue2", call),
        _tls(evidence, "both-tls", "each UE had a TLS connection of its own, certificates compared", ["frank", "grace"], call),
        _plain_in_core(evidence, "both-plain-between", "between the two, in the core, it was plain MSRP", call),
        *_texts(evidence, "both-text", "frank", "grace", call),
    ]


def without_mediasec(evidence: Evidence) -> list[Check]:
    call = evidence.call_of("heidi")
    registered = evidence.told("heidi", "registered")
    flows = {call, evidence.registration_of("heidi")}
    said = [event for event in evidence.sip("pcscf", "out") if event.flow in flows]
    announced = sorted({str(name) for event in said for name in _listed(event, "security")})
    tcp = [*evidence.gateway("tcp-accepted", call), *evidence.gateway("tcp-connected", call)]
    tls = evidence.gateway("tls-established", call)
    return [
        Check("plain-unannounced", "heidi, who asked for nothing, was told nothing of media security",
              bool(registered) and not registered.get("security_server") and not announced,
              ", ".join(announced) or f"{len(said)} messages looked at"),
        Check("plain-anchored", "her plain MSRP went through the gateway all the same", len(tcp) == 2 and not tls,
              f"{len(tcp)} TCP connections, {len(tls)} of TLS"),
        *_texts(evidence, "plain-text", "heidi", "bob", call),
    ]


def refused_downgrade(evidence: Evidence) -> list[Check]:
    call = evidence.call_of("mallory")
    agreed = evidence.told("mallory", "registered").get("security_server", [])
    refused = evidence.told("mallory", "refused")
    reached, contexts = evidence.sip("core", "in", call, method="INVITE"), evidence.contexts(call)
    return [
        Check("downgrade-refused", "mallory agreed on msrp-tls and offered plain MSRP: 488, and the reason told",
              "msrp-tls;mediasec" in agreed and refused.get("status") == 488 and bool(refused.get("warning")),
              str(refused.get("warning") or f"status {refused.get('status')}")),
        Check("downgrade-stopped", "nothing of that call reached core or gateway", bool(call) and not reached and not contexts,
              f"{len(reached)} INVITE in the core, {len(contexts)} contexts"),
    ]


def without_cema(evidence: Evidence) -> list[Check]:
    call = evidence.call_of("ivan")
    contexts = evidence.contexts(call)
    offered = [line for node in ("pcscf", "core") for line in evidence.offered(node, call)] if call else []
    told = [event.text for event in evidence.events if (event.node, event.proto) == ("pcscf", "Iq") and event.flow in contexts]
    transports = {word for text in told for word in text.translate(_NO_PUNCTUATION).split() if word.endswith("/MSRP")}
    return [
        Check("aware-offered", "ivan offered MSRP without CEMA, and so did the P-CSCF to the core",
              len(offered) == 2 and not any("cema" in line for line in offered),
              ", ".join(str(line.get("proto")) for line in offered) or "no offer"),
        Check("aware-told", "the gateway was told to read MSRP on both legs, TLS on one of them",
              transports == {"TCP/MSRP", "TCP/TLS/MSRP"}, ", ".join(sorted(transports)) or "no MSRP on Iq"),
        _tls(evidence, "aware-tls", "ivan's media ran over TLS, both certificates compared with the SDP", ["ivan"], call),
        *_texts(evidence, "aware-text", "ivan", "bob", call),
    ]


def nothing_leaked(evidence: Evidence) -> Check:
    received = evidence.sip("core", "in")
    leaks = sorted({str(name) for event in received for name in _listed(event, "security")})
    return Check("nothing-leaked", "nothing of Security-*, sec-agree and mediasec reached the core", bool(received) and not leaks,
                 ", ".join(leaks) or f"{len(received)} messages looked at")


def no_contexts_left(evidence: Evidence) -> Check:
    made = {event.flow for event in evidence.events for command in _commands(event) if command.startswith("Add ")}
    left = len(standing_contexts(evidence.events))
    return Check("no-contexts-left", "the gateway has no context left", bool(made) and not left, f"{left} left of {len(made)}")


def standing_contexts(events: Sequence[TraceEvent]) -> dict[str, set[str]]:
    """Terminations by context that replies added and none subtracted."""
    standing: dict[str, set[str]] = {}
    for event in events:
        for command in _commands(event):
            name, _, termination = command.partition(" ")
            if name == "Add":
                standing.setdefault(event.flow, set()).add(termination)
            elif name == "Subtract" and "*" in termination:
                standing.pop(event.flow, None)
            elif name == "Subtract":
                standing.get(event.flow, set()).discard(termination)
    return {context: terminations for context, terminations in standing.items() if terminations}


def _commands(event: TraceEvent) -> list[str]:
    """What a reply at the P-CSCF's end of Iq confirmed; nothing where it tells of errors."""
    if (event.node, event.proto, event.facts.get("kind")) != ("pcscf", "Iq", "reply") or event.facts.get("errors"):
        return []
    return [str(command) for command in _listed(event, "commands")]


def _texts(evidence: Evidence, name: str, caller: str, callee: str, call: str) -> list[Check]:
    """A message there and its reply back."""
    said = evidence.told(caller, "sent", call_id=call).get("text")
    heard, back = (evidence.told(who, "received", call_id=call).get("text") for who in (callee, caller))
    return [
        Check(f"{name}-there", f"{caller}'s message came out at {callee}'s side", bool(said) and heard == said, str(heard)),
        Check(f"{name}-back", f"{callee}'s reply came back", back == REPLY.replace("{text}", str(said)), str(back)),
    ]


def _plain_in_core(evidence: Evidence, name: str, what: str, call: str, plain: str = "TCP/MSRP") -> Check:
    offered = evidence.offered("core", call) if call else []
    return Check(name, what, bool(offered) and all(
        line.get("proto") == plain and not {"fingerprint", "e2ae"} & line.keys() for line in offered),
        ", ".join(sorted({str(line.get("proto")) for line in offered})) or "no offer")


def _offered_protection(
    evidence: Evidence, name: str, what: str, node: str, call: str, secure: str = "TCP/TLS/MSRP",
) -> Check:
    offered = evidence.offered(node, call) if call else []
    return Check(name, what, bool(offered) and all(
        (line.get("proto"), line.get("e2ae")) == (secure, "applied") and "fingerprint" in line for line in offered),
        ", ".join(f"{line.get('proto')} 3ge2ae:{line.get('e2ae')}" for line in offered) or "no offer")


def _tls(evidence: Evidence, name: str, what: str, ues: Sequence[str], call: str) -> Check:
    """Each UE and the gateway agree on who stood at both ends of its TLS connection, each in a context of its own."""
    established = evidence.gateway("tls-established", call)
    at_gateway = sorted((_octets(_fact(event, "fingerprint")), _octets(_fact(event, "own"))) for event in established)
    media = [evidence.told(ue, "media", call_id=call) for ue in ues]
    at_ues = sorted(
        (_octets(str(each.get("own_fingerprint"))), _octets(str((each.get("tls") or {}).get("fingerprint")))) for each in media)
    seen = [f"{_fact(event, 'version')} with {short_fingerprint(_fact(event, 'fingerprint'))}" for event in established]
    return Check(name, what, at_gateway == at_ues and len({event.flow for event in established}) == len(ues),
                 ", ".join(seen) or "no TLS connection")


def _listed(event: TraceEvent, name: str) -> list[Any]:
    value = event.facts.get(name)
    return value if isinstance(value, list) else []


def _fact(event: TraceEvent | None, name: str) -> str:
    return str(event.facts.get(name, "")) if event is not None else ""


def _octets(fingerprint: str) -> str:
    """`sha-256 AB:CD…` in one case and without the hash's name, which each side may spell as it likes."""
    return fingerprint.rpartition(" ")[2].upper()
