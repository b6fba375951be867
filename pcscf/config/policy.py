"""The rules that decide about media: pure types, resolved from the configuration for one binding.

Every knob has a default of its own; a knob of a medium's block goes before the same knob of the `default` block.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

HashName = Literal["sha-1", "sha-224", "sha-256", "sha-384", "sha-512"]


@dataclass(frozen=True, slots=True)
class MediumPolicy:
    """Knobs of one medium (msrp, bfcp, fax).

    min_hash                            weakest hash that counts in a peer's a=fingerprint (RFC 8122 §5)
    honour_request_without_registration terminate a line with 3ge2ae:requested although the mechanism was not announced to
                                        this UE (TS 33.328 §7.1.2 NOTE 2, RCS 5.1)
    downgrade                           what a plain offer of an agreed medium meets: counted, or refused with 488
    require                             488 for every plain offer of the medium
    terminate_unrequested               end TLS that was offered without 3ge2ae:requested
    offer_tls_to_unindicated            offer TLS to a UE that listed no mechanism
    core                                what the gateway ends towards the UE it passes on plain, or over TLS (fax: DTLS) of its
                                        own, where the core's own offers of it end as well (TS 33.328 §7.2.1 NOTE 4)
    sessmatch                           MSRP peers match sessions by session-id alone, so the path may be rewritten
    aware                               MSRP without CEMA, and without sessmatch: the gateway maps the paths of frames; else 488
    """

    min_hash: HashName = "sha-256"
    honour_request_without_registration: bool = False
    downgrade: Literal["count", "refuse"] = "count"
    require: bool = False
    terminate_unrequested: bool = False
    offer_tls_to_unindicated: bool = False
    sessmatch: bool = False
    aware: bool = True
    core: Literal["plain", "tls"] = "plain"


@dataclass(frozen=True, slots=True)
class MediaPolicy:
    """The resolved block for one binding.

    anchor_plain            the gateway stands in the path of unprotected lines
    anchor_pass             the gateway stands in the path of protected lines that it does not terminate
    anchor_rtp              whichever of the two applies, RTP with its RTCP is meant too
    latch                   whose UDP media the gateway answers where they come from (H.248.37): of UEs behind a NAT, all, none
    latch_from              who may be taken for the UE: the addresses that its signalling shows, or any
    verify_mismatch_status  answer to an altered Security-Verify
    partial_verify          accept: register without media capability; refuse: `verify_mismatch_status`
    """

    msrp: MediumPolicy = field(default_factory=lambda: MediumPolicy(honour_request_without_registration=True))
    bfcp: MediumPolicy = field(default_factory=MediumPolicy)
    fax: MediumPolicy = field(default_factory=MediumPolicy)
    anchor_plain: bool = True
    anchor_pass: bool = True
    anchor_rtp: bool = True
    latch: Literal["nat", "always", "never"] = "nat"
    latch_from: Literal["signalling", "any"] = "signalling"
    verify_mismatch_status: Literal[494, 403] = 494
    partial_verify: Literal["accept", "refuse"] = "accept"
