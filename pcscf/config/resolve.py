"""Which policy decides for one binding: the first rule that matches, and in it a medium's block before `default`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from functools import lru_cache
from typing import get_args

from pcscf.config.policy import HashName, MediaPolicy, MediumPolicy
from pcscf.config.rules import Match, MediumRules, PolicyRule
from pcscf.config.values import Transport

_HASHES: tuple[HashName, ...] = get_args(HashName)


def resolve(
    policies: Sequence[PolicyRule], *, realm: str, access: Transport, identities: Iterable[str], user_agent: str
) -> MediaPolicy:
    """The policy for a UE in `realm` that signals over `access`, with these public identities and this User-Agent.

    Where no rule matches, every knob has its own default.
    """
    known = tuple(identities)
    for rule in policies:
        if matches(rule.match, realm, access, known, user_agent):
            return media_policy(rule)
    return MediaPolicy()


def matches(match: Match, realm: str, access: Transport, identities: Sequence[str], user_agent: str) -> bool:
    """Whether every key of `match` that is given holds."""
    return (
        (match.realm is None or realm in match.realm)
        and (match.access is None or access in match.access)
        and (match.identity is None or any(_like(each, one) for each in match.identity for one in identities))
        and (match.user_agent is None or any(_like(each.lower(), user_agent.lower()) for each in match.user_agent))
    )


@lru_cache(maxsize=1024)
def media_policy(rule: PolicyRule) -> MediaPolicy:
    """The rule's knobs, each medium's own before `default`, and that before the knob's default for the medium."""
    bare = MediaPolicy()
    media = rule.media
    return MediaPolicy(
        msrp=_medium(bare.msrp, media.default, media.msrp),
        bfcp=_medium(bare.bfcp, media.default, media.bfcp),
        fax=_medium(bare.fax, media.default, media.fax),
        anchor_plain=media.default.anchor_plain,
        anchor_pass=media.default.anchor_pass,
        anchor_rtp=media.default.anchor_rtp,
        latch=media.default.latch,
        latch_from=media.default.latch_from,
        verify_mismatch_status=media.default.verify_mismatch_status,
        partial_verify=media.default.partial_verify,
    )


def weakest_hash(policies: Sequence[PolicyRule]) -> HashName:
    """The weakest hash that any UE's policy accepts: what an embedded gateway must not refuse."""
    resolved = [MediaPolicy(), *(media_policy(rule) for rule in policies)]
    return min((medium.min_hash for each in resolved for medium in (each.msrp, each.bfcp, each.fax)), key=_HASHES.index)


def _medium(bare: MediumPolicy, *blocks: MediumRules) -> MediumPolicy:
    for block in blocks:
        given = {knob.name: value for knob in fields(bare) if (value := getattr(block, knob.name)) is not None}
        bare = replace(bare, **given)
    return bare


@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile("".join({"*": ".*", "?": "."}.get(each) or re.escape(each) for each in text), re.DOTALL)


def _like(pattern: str, text: str) -> bool:
    return _pattern(pattern).fullmatch(text) is not None
