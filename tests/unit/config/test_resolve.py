from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from pcscf.config.policy import MediaPolicy, MediumPolicy
from pcscf.config.resolve import resolve, weakest_hash
from pcscf.config.rules import MediumRules, PolicyRule
from pcscf.config.values import Transport


def rules(*written: dict[str, Any]) -> list[PolicyRule]:
    return [PolicyRule.model_validate(each) for each in written]


def resolved(
    policies: list[PolicyRule],
    *,
    realm: str = "access",
    access: Transport = "udp",
    identities: tuple[str, ...] = ("sip:alice@ims.example",),
    user_agent: str = "Phone/1.0",
) -> MediaPolicy:
    return resolve(policies, realm=realm, access=access, identities=identities, user_agent=user_agent)


def test_without_rules_every_knob_has_its_default() -> None:
    assert resolved([]) == MediaPolicy()
    assert resolved(rules({})) == MediaPolicy()


def test_every_knob_of_the_policy_can_be_written() -> None:
    assert {each.name for each in fields(MediumPolicy)} == set(MediumRules.model_fields)
    anchored = {"anchor_plain": False, "anchor_pass": False}
    agreement = {"verify_mismatch_status": 403, "partial_verify": "refuse"}
    policy = resolved(rules({"media": {"default": {**anchored, **agreement}}}))
    assert (policy.anchor_plain, policy.anchor_pass) == (False, False)
    assert (policy.verify_mismatch_status, policy.partial_verify) == (403, "refuse")


def test_each_medium_has_its_own_default() -> None:
    policy = resolved([])
    found = [each.honour_request_without_registration for each in (policy.msrp, policy.bfcp, policy.fax)]
    assert found == [True, False, False]


def test_a_mediums_block_goes_before_default_and_default_before_the_knobs_own() -> None:
    policy = resolved(
        rules(
            {
                "media": {
                    "default": {"honour_request_without_registration": False, "require": True, "min_hash": "sha-384"},
                    "msrp": {"require": False, "min_hash": "sha-1"},
                    "fax": {"honour_request_without_registration": True},
                }
            }
        )
    )
    assert policy.msrp == MediumPolicy(min_hash="sha-1", honour_request_without_registration=False, require=False)
    assert policy.bfcp == MediumPolicy(min_hash="sha-384", honour_request_without_registration=False, require=True)
    assert policy.fax == MediumPolicy(min_hash="sha-384", honour_request_without_registration=True, require=True)


def test_the_first_match_decides_alone() -> None:
    policies = rules(
        {"match": {"access": "tls"}, "media": {"default": {"require": True}}},
        {"match": {"realm": "access"}, "media": {"default": {"downgrade": "refuse"}}},
    )
    assert resolved(policies, access="tls").msrp.require
    assert resolved(policies, access="tls").msrp.downgrade == "count"
    assert not resolved(policies).msrp.require
    assert resolved(policies).msrp.downgrade == "refuse"
    assert resolved(policies, realm="other") == MediaPolicy()


@pytest.mark.parametrize(
    ("match", "holds"),
    [
        ({"realm": "access"}, True),
        ({"realm": ["other", "access"]}, True),
        ({"realm": []}, False),
        ({"access": ["tcp", "tls"]}, False),
        ({"identity": "sip:*@ims.example"}, True),
        ({"identity": "sip:alic?@ims.example"}, True),
        ({"identity": "sip:alice@imsXexample"}, False),
        ({"identity": "alice"}, False),
        ({"identity": "tel:+49*"}, True),
        ({"identity": "sip:[al]lice@*"}, False),
        ({"user_agent": "*phone*"}, True),
        ({"user_agent": "phone"}, False),
        ({"user_agent": ["tablet*", "PHONE/?.0"]}, True),
        ({"realm": "access", "access": "tls"}, False),
        ({"realm": "access", "access": "udp", "identity": "*", "user_agent": "*"}, True),
    ],
)
def test_what_matches(match: dict[str, Any], holds: bool) -> None:
    policies = rules({"match": match, "media": {"default": {"require": True}}})
    identities = ("sip:alice@ims.example", "tel:+4930123")
    assert resolved(policies, identities=identities).msrp.require is holds


def test_the_weakest_hash_of_all_policies() -> None:
    assert weakest_hash([]) == "sha-256"
    assert weakest_hash(rules({"media": {"default": {"min_hash": "sha-512"}}})) == "sha-256"
    assert weakest_hash(rules({}, {"media": {"fax": {"min_hash": "sha-1"}}})) == "sha-1"
