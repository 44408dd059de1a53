"""XFAM: which processor features a TD was started with, which no measurement covers."""

from __future__ import annotations

import pytest

from attestation.appraise import appraise_hardware
from attestation.check import Check
from attestation.errors import PolicyInvalid
from attestation.policy.toml import parse_policy
from tests.fakes.amd import NOW
from tests.fakes.claims import tdx_claims
from tests.fakes.intel import IntelWorld

CLAIMS = tdx_claims(IntelWorld.forge().issue())
OTHER = "ff" * 8


def check(toml: str) -> Check:
    """The one check on XFAM."""
    policy = parse_policy(f'format = "casemate/policy/1"\n[tdx]\n{toml}'.encode())
    (found,) = [one for one in appraise_hardware(CLAIMS, policy, now=NOW) if one.id == "tdx.xfam"]
    return found


def test_any_features_will_do_unless_the_policy_lists_some() -> None:
    own = CLAIMS.body.xfam.hex()
    assert (check("").outcome.value, check("").expected, check("").found) == ("pass", "any", own)
    assert check(f'xfams = ["{OTHER}", "{own}"]\n').outcome.value == "pass"
    assert check(f'xfams = ["{OTHER}"]\n').outcome.value == "fail"
    assert check("xfams = []\n").outcome.value == "fail"


def test_features_are_written_with_16_hexadecimal_digits_as_reports_show_them() -> None:
    with pytest.raises(PolicyInvalid, match="xfams"):
        check('xfams = ["0xe7"]\n')
