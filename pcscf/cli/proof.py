"""What the demo claims, and from which observation each claim follows. Traces and the far ends' own words are the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pcscf.observe.summary import short_fingerprint
from pcscf.observe.trace import GATEWAY, TraceEvent

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Check:
    """One claim. name: for machines; what: the claim in words; seen: what it rests on."""

    name: str
    what: str
    ok: bool
    seen: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that was observed: all traces by time, and what alice, eve (UEs) and bob (the party) told."""

    events: Sequence[TraceEvent]
    alice: Sequence[Event]
    eve: Sequence[Event]
    bob: Sequence[Event]
    said: str
    reply: str

    @property
    def session(self) -> str:
        """Call-ID of the protected session, "" when there was none."""
        return str(told(self.alice, "answered").get("call_id", ""))

    @property
    def refused(self) -> str:
        """Call-ID of the session with the wrong certificate."""
        return str(told(self.eve, "answered").get("call_id", ""))

    @property
    def registration(self) -> str:
        """Call-ID of the first registration that the P-CSCF saw."""
        return next((event.flow for event in self.sip("pcscf", "in") if event.facts.get("method") == "REGISTER"), "")

    def sip(self, node: str, direction: str, call_id: str = "") -> list[TraceEvent]:
        return [
            event for event in self.events
            if (event.proto, event.node, event.dir) == ("SIP", node, direction) and call_id in {"", event.flow}
        ]

    def gateway(self, kind: str) -> list[TraceEvent]:
        """The gateway's own reports of its media connections."""
        return [event for event in self.events if event.node == GATEWAY and event.facts.get("kind") == kind]


def told(events: Sequence[Event], name: str, **facts: object) -> Event:
    """The first event of that name, {} where there is none."""
    return next((
        event for event in events
        if event.get("event") == name and all(event.get(key) == value for key, value in facts.items())
    ), {})


def prove(evidence: Evidence) -> list[Check]:
    """Every claim of the demo, in the order of its flows."""
    return [
        *_registration(evidence), *_session(evidence), *_refusal(evidence), _core_saw_nothing(evidence), _contexts(evidence),
    ]


def _registration(evidence: Evidence) -> list[Check]:
    registered = told(evidence.alice, "registered")
    announced = registered.get("security_server", [])
    first = next(iter(evidence.sip("ue", "out")), None)
    return [
        Check("registered", "alice is registered through the P-CSCF, over TLS", bool(registered),
              f"expires in {registered.get('expires')} s" if registered else "no 200 to REGISTER"),
        Check("mediasec-agreed", "UE and P-CSCF agreed on msrp-tls for media",
              "msrp-tls;mediasec" in announced and first is not None and "Security-Client" in _listed(first, "security"),
              ", ".join(announced) or "no Security-Server"),
    ]


def _session(evidence: Evidence) -> list[Check]:
    media = told(evidence.alice, "media")
    tls = media.get("tls") or {}
    gateway = next(iter(evidence.gateway("tls-established")), None)
    shown, own = str(tls.get("fingerprint", "")), str(media.get("own_fingerprint", ""))
    offered = [
        media for event in evidence.sip("core", "in", evidence.session) for media in _listed(event, "media")
        if event.facts.get("method") == "INVITE" and "status" not in event.facts
    ]
    end, far_end = told(evidence.alice, "ended"), told(evidence.bob, "ended", call_id=evidence.session)
    heard, answered = told(evidence.bob, "received", call_id=evidence.session), told(evidence.alice, "received")
    return [
        Check("text-there", "alice's message came out at the far side", heard.get("text") == evidence.said,
              str(heard.get("text"))),
        Check("text-back", "bob's reply came back", answered.get("text") == evidence.reply, str(answered.get("text"))),
        Check("tls", "the media of the UE ran over TLS 1.2 or 1.3", tls.get("version") in {"TLSv1.2", "TLSv1.3"},
              f"{tls.get('version')} {tls.get('cipher')}"),
        Check("gateway-fingerprint", "the UE compared the gateway's certificate with the SDP that it got",
              bool(shown) and _octets(shown) == _octets(_fact(gateway, "own")), short_fingerprint(shown)),
        Check("ue-fingerprint", "the gateway compared the UE's certificate with the SDP that the UE sent",
              bool(own) and _octets(_fact(gateway, "fingerprint")) == _octets(own), short_fingerprint(own)),
        Check("plain-behind", "the far side was offered plain MSRP, without fingerprint and 3ge2ae",
              bool(offered) and all(
                  line.get("proto") == "TCP/MSRP" and not {"fingerprint", "e2ae"} & line.keys() for line in offered),
              ", ".join(sorted({str(line.get("proto")) for line in offered})) or "no offer"),
        Check("session-ended", "the session ended with BYE on both sides",
              end.get("by") == "us" and far_end.get("by") == "peer",
              f"at alice by {end.get('by') or 'nobody'}, at bob by {far_end.get('by') or 'nobody'}"),
    ]


def _refusal(evidence: Evidence) -> list[Check]:
    failed = next(iter(evidence.gateway("tls-failed")), None)
    delivered = told(evidence.bob, "received", call_id=evidence.refused)
    at_eve = told(evidence.eve, "ended", call_id=evidence.refused)
    at_bob = told(evidence.bob, "ended", call_id=evidence.refused)
    carried = [event for event in evidence.events if (event.node, event.proto, event.flow) == ("party", "MSRP", evidence.refused)]
    return [
        Check("mismatch-refused", "eve's wrong certificate was refused in the handshake", failed is not None,
              failed.text if failed is not None else "the gateway refused nothing"),
        Check("nothing-delivered", "not one MSRP message of eve's session reached the far side",
              bool(evidence.refused) and not delivered and not carried, f"{len(carried)} messages"),
        Check("released-both-ways", "the P-CSCF released that session with BYE to both sides, with a Reason",
              all(end.get("by") == "peer" and end.get("reason") for end in (at_eve, at_bob)),
              str(at_eve.get("reason") or "no BYE")),
    ]


def _core_saw_nothing(evidence: Evidence) -> Check:
    received = evidence.sip("core", "in")
    leaks = sorted({str(name) for event in received for name in _listed(event, "security")})
    return Check("nothing-leaked", "nothing of Security-*, sec-agree and mediasec reached the core", bool(received) and not leaks,
                 ", ".join(leaks) or f"{len(received)} messages looked at")


def _contexts(evidence: Evidence) -> Check:
    """Terminations that replies added to a context and none subtracted."""
    standing: dict[str, set[str]] = {}
    for event in evidence.events:
        if (event.node, event.proto, event.facts.get("kind")) != ("pcscf", "Iq", "reply") or event.facts.get("errors"):
            continue
        for command in _listed(event, "commands"):
            name, _, termination = str(command).partition(" ")
            if name == "Add":
                standing.setdefault(event.flow, set()).add(termination)
            elif name == "Subtract" and "*" in termination:
                standing.setdefault(event.flow, set()).clear()
            elif name == "Subtract":
                standing.setdefault(event.flow, set()).discard(termination)
    left = sum(bool(terminations) for terminations in standing.values())
    return Check("no-contexts-left", "the gateway has no context left", len(standing) >= 2 and not left,
                 f"{left} left of {len(standing)}")


def _listed(event: TraceEvent, name: str) -> list[Any]:
    value = event.facts.get(name)
    return value if isinstance(value, list) else []


def _fact(event: TraceEvent | None, name: str) -> str:
    return str(event.facts.get(name, "")) if event is not None else ""


def _octets(fingerprint: str) -> str:
    """`sha-256 AB:CD…` in one case and without the hash's name, which each side may spell as it likes."""
    return fingerprint.rpartition(" ")[2].upper()
