"""The demo's flows as a table: who takes part, with which command of the lab, and what is claimed about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pcscf.cli import proof
from pcscf.cli.proof import REPLY, Check, Evidence, Medium

DOMAIN = "ims.example"
STRICT = "mallory"   # whose downgrade the P-CSCF's policy refuses


@dataclass(frozen=True, slots=True)
class Actor:
    """One process: a command of `pcscf lab`. Who waits for a call is on stage from the beginning."""

    name: str
    kind: Literal["ue", "party"]
    arguments: tuple[str, ...]

    @property
    def waits(self) -> bool:
        return "--answer" in self.arguments


@dataclass(frozen=True, slots=True)
class Scene:
    """One flow. key: the Call-ID that it is known by; claims: what it must have shown."""

    title: str
    cast: tuple[Actor, ...]
    key: Callable[[Evidence], str]
    claims: Callable[[Evidence], list[Check]]


def _calls(whom: str, text: str, *more: str) -> tuple[str, ...]:
    return "--call", f"sip:{whom}@{DOMAIN}", "--say", text, *more


_ANSWERS = ("--answer", "1", "--reply", REPLY)
_HEARS = ("--replies", "1")



def _end_to_end(title: str, caller: str, callee: str, medium: Medium) -> Scene:
    """A party with a certificate of its own calls a UE that wants nothing of the edge."""
    return Scene(
        title,
        (
            Actor(callee, "ue", (*_ANSWERS, "--medium", medium, "--end-to-end")),
            Actor(caller, "party", _calls(callee, f"Hello {callee.title()}, this is for you alone.", *_HEARS, "--medium", medium,
                                          "--tls")),
        ),
        lambda evidence: evidence.call_of(caller), proof.end_to_end(f"{medium}-ends", caller, callee, medium),
    )


def _to_edge(title: str, caller: str, callee: str, medium: Medium) -> Scene:
    """A party without any protection calls a UE that agreed on it."""
    return Scene(
        title,
        (
            Actor(callee, "ue", (*_ANSWERS, "--medium", medium)),
            Actor(caller, "party", _calls(callee, f"Hello {callee.title()}, your phone asked for protection.", *_HEARS,
                                          "--medium", medium)),
        ),
        lambda evidence: evidence.call_of(caller), proof.protected_to_edge(f"{medium}-edge", caller, callee, medium),
    )


SCENES = (
    Scene(
        "1  Registration over TLS, with media security agreed",
        (), lambda evidence: evidence.registration_of("alice"), proof.registration,
    ),
    Scene(
        "2  A protected session: TLS as far as the gateway, plain MSRP behind it",
        (Actor("alice", "ue", _calls("bob", "Hello Bob, nobody on the way can read this.", *_HEARS)),),
        lambda evidence: evidence.call_of("alice"), proof.protected_session,
    ),
    Scene(
        "3  A UE whose certificate is not the one in its SDP",
        (Actor("eve", "ue", _calls("bob", "Bob must never see this.", "--wrong-certificate")),),
        lambda evidence: evidence.call_of("eve"), proof.wrong_certificate,
    ),
    _to_edge("4  The core calls a UE: plain MSRP as far as the gateway, TLS behind it", "dave", "carol", "msrp"),
    Scene(
        "5  From UE to UE: both behind this P-CSCF, two half-calls, two TLS connections",
        (
            Actor("grace", "ue", (*_ANSWERS, "--trace-as", "ue2")),
            Actor("frank", "ue", _calls("grace", "Hello Grace, we share an edge.", *_HEARS)),
        ),
        lambda evidence: evidence.call_of("frank"), proof.two_ues,
    ),
    Scene(
        "6  A UE that knows nothing of media security: plain MSRP through the edge",
        (Actor("heidi", "ue", _calls("bob", "Hello Bob, as ever.", *_HEARS, "--plain", "--mechanism", "none")),),
        lambda evidence: evidence.call_of("heidi"), proof.without_mediasec,
    ),
    Scene(
        "7  A UE that agreed on protection and offers plain MSRP, where policy refuses that",
        (Actor(STRICT, "ue", _calls("bob", "This is not protected.", "--plain")),),
        lambda evidence: evidence.call_of(STRICT), proof.refused_downgrade,
    ),
    Scene(
        "8  A UE that knows RFC 4975 alone, as most do: no CEMA, so the gateway maps the paths of the MSRP frames",
        (Actor("ivan", "ue", _calls("bob", "Hello Bob, my path is not the one that you see.", *_HEARS, "--no-cema")),),
        lambda evidence: evidence.call_of("ivan"), proof.without_cema,
    ),
    _end_to_end("9  MSRP protected by the ends themselves: the gateway carries what it cannot read", "judy", "walter", "msrp"),
    _to_edge("10  A floor request: plain BFCP as far as the gateway, TLS behind it", "peggy", "oscar", "bfcp"),
    _to_edge("11  A fax (T.38): plain udptl as far as the gateway, DTLS behind it", "trent", "sybil", "t38"),
    _end_to_end("12  A fax over DTLS, protected by the ends themselves: the gateway carries it unread", "victor", "wendy", "t38"),
)

USERS = tuple(actor.name for scene in SCENES for actor in scene.cast if actor.kind == "ue")


def prove(evidence: Evidence) -> list[Check]:
    """Every claim of the demo, in the order of its flows."""
    flows = [check for scene in SCENES for check in scene.claims(evidence)]
    return [*flows, proof.nothing_leaked(evidence), proof.no_contexts_left(evidence)]
