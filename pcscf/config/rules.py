"""The `policies` of a configuration as they are written; `resolve` makes the pure rules of `policy` from them."""

from __future__ import annotations

from typing import Literal

from pcscf.config.policy import HashName
from pcscf.config.values import Block, Name, OneOrMore, Transport, own_default


class Match(Block):
    """When a policy applies. Every key that is given must hold; one with several values holds when one of them does."""

    realm: OneOrMore[Name] | None = None
    """Access realms by name."""
    access: OneOrMore[Transport] | None = None
    """Transports on Gm: udp, tcp, tls."""
    identity: OneOrMore[str] | None = None
    """Public user identities; * stands for any text, ? for one character."""
    user_agent: OneOrMore[str] | None = None
    """User-Agent texts, in any case; * and ? as above."""


class MediumRules(Block):
    """Knobs of one medium; null leaves a knob to `media.default`, and then to the default that is shown here."""

    min_hash: HashName | None = None
    """Weakest hash that counts in a peer's a=fingerprint; sha-256."""
    honour_request_without_registration: bool | None = None
    """Terminate a line with 3ge2ae:requested although nothing was announced to this UE; true for msrp, else false."""
    downgrade: Literal["count", "refuse"] | None = None
    """A plain offer of a medium whose protection was agreed: count, or refuse (488); count."""
    require: bool | None = None
    """488 for every plain offer of the medium; false."""
    terminate_unrequested: bool | None = None
    """End TLS that was offered without 3ge2ae:requested; false."""
    offer_tls_to_unindicated: bool | None = None
    """Offer TLS to a UE that listed no mechanism; false."""
    sessmatch: bool | None = None
    """MSRP peers match sessions by session-id alone, so the path may be rewritten; false."""
    aware: bool | None = None
    """MSRP without CEMA, and without sessmatch: the gateway maps the paths of its frames, or (false) 488; true."""
    core: Literal["plain", "tls"] | None = None
    """Media that are protected to the edge go on into the core plain, or over TLS (fax: DTLS) that the gateway ends too; plain.
    With tls, TLS that the core offers to a UE with the same agreement counts as the core's own, not as that of a far end."""


class DefaultRules(MediumRules):
    """The knobs of all media, and those that belong to none."""

    anchor_plain: bool = True
    """The gateway stands in the path of unprotected lines."""
    anchor_pass: bool = True
    """The gateway stands in the path of protected lines that it does not terminate."""
    anchor_rtp: bool = True
    """The two knobs above hold for RTP with its RTCP too; false: RTP goes past the gateway."""
    latch: Literal["nat", "always", "never"] = "nat"
    """The gateway sends UDP media of a UE to where they come from, not to the address in its SDP: nat, for UEs whose Via or
    Contact shows another address than they are seen at; always; never."""
    latch_from: Literal["signalling", "any"] = "signalling"
    """Whose datagrams may be taken for those of such a UE: from the address of its signalling or that in its SDP, or any."""
    verify_mismatch_status: Literal[494, 403] = 494
    """Answer to an altered Security-Verify (RFC 3329)."""
    partial_verify: Literal["accept", "refuse"] = "accept"
    """Security-Verify lacks our media entries: register without media security, or answer `verify_mismatch_status`."""


class MediaRules(Block):
    """What a policy says about media."""

    default: DefaultRules = own_default(DefaultRules)
    """For every medium whose own block leaves the knob open, and for what is of no medium."""
    msrp: MediumRules = own_default(MediumRules)
    """MSRP (RFC 4975)."""
    bfcp: MediumRules = own_default(MediumRules)
    """BFCP (RFC 8855)."""
    fax: MediumRules = own_default(MediumRules)
    """T.38 fax."""


class PolicyRule(Block):
    """One entry of `policies`; the first one that matches decides."""

    match: Match = own_default(Match)
    media: MediaRules = own_default(MediaRules)
