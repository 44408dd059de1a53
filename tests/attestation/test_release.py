"""Release files: nothing in them counts before a known key has signed all of it."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.appraise.baseline import Baseline
from attestation.decide import Subject
from attestation.errors import MalformedEvidence, PolicyInvalid
from attestation.model import Collateral
from attestation.policy.explain import explain_policy
from attestation.policy.model import BUILT_IN, Policy, ReferenceSet, UsedRelease
from attestation.policy.release import MAX_BYTES, RELEASE_KEYS, Release, ReleaseSet, parse_release
from attestation.policy.toml import parse_policy
from tests.fakes.amd import NOW
from tests.fakes.release import HEADER, KEY, OTHER_KEY, SETS, payload, public_key, release_file

KEYS = [public_key()]
POLICY = f"""format = "casemate/policy/1"
[reference]
releases = ["1.4.0.jws"]
release_keys = ["{public_key().hex()}"]
minimum_release_number = 7
"""
FILES = {"1.4.0.jws": release_file()}


def test_reads_a_signed_release() -> None:
    assert parse_release(release_file(), KEYS) == Release(
        7,
        "1.4.0",
        1_795_000_000,
        (
            ReleaseSet("sev-snp", ReferenceSet("8 vCPU", {"measurement": b"\x0a" * 48})),
            ReleaseSet("tdx", ReferenceSet("c3-8", {"mrtd": b"\x0b" * 48, "rtmr1": b"\x0c" * 48})),
            ReleaseSet("azure", ReferenceSet("DC8", {"pcr0": b"\x0d" * 32, "pcr15": b"\x0e" * 32})),
        ),
    )


def test_any_of_the_known_keys_will_do_and_a_newline_at_the_end_does_no_harm() -> None:
    both = [public_key(OTHER_KEY), public_key()]
    assert parse_release(release_file() + b"\n", both) == parse_release(release_file(), KEYS)


@pytest.mark.parametrize("count", [1, 128])
def test_a_release_may_have_from_one_to_128_sets_of_every_register(count: int) -> None:
    whole = {"platform": "azure", "name": "a", "values": {f"pcr{index}": "0d" * 32 for index in range(16)}}
    assert len(parse_release(release_file(payload(sets=[whole] * count)), KEYS).sets) == count


@pytest.mark.parametrize("count", [0, 129])
def test_a_release_may_not_have_more_or_fewer(count: int) -> None:
    with pytest.raises(MalformedEvidence, match="1 to 128 entries"):
        parse_release(release_file(payload(sets=SETS[:1] * count)), KEYS)


def test_the_length_is_refused_from_one_byte_above_a_mebibyte() -> None:
    with pytest.raises(MalformedEvidence, match="not a compact JWS"):
        parse_release(b"A" * 2**20, KEYS)
    with pytest.raises(MalformedEvidence, match="longer than 1 MiB"):
        parse_release(b"A" * (2**20 + 1), KEYS)


def test_no_key_is_shipped_before_a_release_has_been_signed() -> None:
    assert RELEASE_KEYS == ()


@pytest.mark.parametrize("keys", [[], [public_key(OTHER_KEY)], [bytes(31)], [b"\xff" * 32]])
def test_refuses_a_release_that_no_known_key_signed(keys: list[bytes]) -> None:
    with pytest.raises(MalformedEvidence, match="not signed by a key that is known"):
        parse_release(release_file(), keys)


def test_every_changed_character_is_refused() -> None:
    raw = release_file()
    for place in range(len(raw)):
        other = ord("A") if raw[place] != ord("A") else ord("B")
        with pytest.raises(MalformedEvidence):
            parse_release(raw[:place] + bytes([other]) + raw[place + 1 :], KEYS)


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"alg": "none", "typ": HEADER["typ"]},
        {"alg": "HS256", "typ": HEADER["typ"]},
        {"alg": "EdDSA"},
        {"alg": "EdDSA", "typ": "JWT"},
        HEADER | {"crit": []},
        HEADER | {"jwk": {}},
    ],
)
def test_refuses_another_header_even_if_it_is_signed(header: dict[str, Any]) -> None:
    with pytest.raises(MalformedEvidence, match="release header"):
        parse_release(release_file(header=header), KEYS)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        payload(format="casemate/release/2"),
        payload(extra=1),
        payload(number=-1),
        payload(number="7"),
        payload(release=""),
        payload(issued=None),
        payload(sets=None),
        payload(sets={}),
        payload(sets=[]),
        payload(sets=SETS * 43),
        payload(sets=[5]),
        payload(sets=[{"platform": "sgx", "name": "a", "values": {}}]),
        payload(sets=[SETS[0] | {"note": "x"}]),
        payload(sets=[SETS[0] | {"name": "a\n"}]),
        payload(sets=[SETS[0] | {"values": []}]),
        payload(sets=[SETS[0] | {"values": {}}]),
        payload(sets=[SETS[0] | {"values": {"mrtd": "0a" * 48}}]),
        payload(sets=[SETS[0] | {"values": {"measurement": "0a" * 48, "mrtd": "0a" * 48}}]),
        payload(sets=[SETS[0] | {"values": {"measurement": "0a" * 47}}]),
        payload(sets=[SETS[1] | {"values": {"rtmr0": "0b" * 48}}]),
        payload(sets=[SETS[2] | {"values": {"pcr0": "0d" * 32, "pcr16": "0d" * 32}}]),
        payload(sets=[SETS[2] | {"values": {"pcr0": "0d" * 48}}]),
    ],
    ids=str,
)
def test_refuses_what_it_does_not_know_even_if_it_is_signed(body: Any) -> None:
    with pytest.raises(MalformedEvidence):
        parse_release(release_file(body), KEYS)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"..",
        b"a.b",
        release_file() + b".x",
        release_file() + b"\n\n",
        b"\xff" * 9,
        b"A" * (MAX_BYTES + 1),
    ],
    ids=len,
)
def test_refuses_what_is_no_compact_jws(raw: bytes) -> None:
    with pytest.raises(MalformedEvidence):
        parse_release(raw, KEYS)


@given(st.binary(max_size=300) | st.text(alphabet="ey.AB_-=\n", max_size=60).map(str.encode))
@settings(deadline=None)
def test_any_bytes_are_refused_with_the_typed_error(raw: bytes) -> None:
    with pytest.raises(MalformedEvidence):
        parse_release(raw, KEYS)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda s: st.lists(s) | st.dictionaries(st.text(max_size=5), s),
        max_leaves=6,
    )
)
@settings(deadline=None, max_examples=100)
def test_any_signed_sets_give_a_release_or_the_typed_error(value: Any) -> None:
    try:
        parse_release(release_file(payload(sets=[SETS[0] | {"values": value}])), KEYS)
    except MalformedEvidence:
        return


def test_a_policy_takes_the_sets_of_the_releases_that_it_names() -> None:
    own = f'[snp.sets.mine]\nmeasurement = "{"01" * 48}"\n'
    policy = parse_policy((POLICY + own).encode(), {"1.4.0.jws": release_file()})
    assert [one.name for one in policy.snp.sets] == ["mine", "8 vCPU"]
    assert [one.name for one in policy.tdx.sets] == ["c3-8"]
    assert [one.name for one in policy.azure.sets] == ["DC8"]
    assert policy.azure.snp.sets == ()
    assert policy.reference.releases == ("1.4.0.jws",)


def test_a_release_of_somebody_else_or_none_refuses_the_whole_policy() -> None:
    with pytest.raises(PolicyInvalid, match="was not supplied"):
        parse_policy(POLICY.encode())
    with pytest.raises(PolicyInvalid, match="not signed"):
        parse_policy(POLICY.encode(), {"1.4.0.jws": release_file(key=OTHER_KEY)})
    with pytest.raises(PolicyInvalid, match="not signed"):
        parse_policy(POLICY.replace(public_key(KEY).hex(), "00" * 32).encode(), {"1.4.0.jws": release_file()})


def test_a_release_below_the_minimum_number_refuses_the_whole_policy() -> None:
    assert parse_policy(POLICY.encode(), FILES).snp.sets
    with pytest.raises(PolicyInvalid, match="below minimum_release_number"):
        parse_policy(POLICY.replace("number = 7", "number = 8").encode(), FILES)


def test_whoever_names_releases_says_from_which_number_on() -> None:
    unbounded = POLICY.replace("minimum_release_number = 7\n", "")
    with pytest.raises(PolicyInvalid, match="releases need minimum_release_number"):
        parse_policy(unbounded.encode(), FILES)
    assert parse_policy(unbounded.replace('"1.4.0.jws"', "").encode()).snp.sets == ()
    assert parse_policy(POLICY.replace("number = 7", "number = 0").encode(), FILES).snp.sets


def test_a_policy_remembers_which_release_files_it_was_read_with() -> None:
    policy = parse_policy(POLICY.encode(), FILES)
    digest = hashlib.sha256(FILES["1.4.0.jws"]).digest()
    assert policy.reference.used == (UsedRelease("1.4.0.jws", digest, 7, "1.4.0", 1_795_000_000),)
    assert policy.reference.digests == {"1.4.0.jws": digest}
    assert BUILT_IN.reference.digests == {}


def test_a_filed_decision_names_the_release_files_of_its_policy() -> None:
    def inputs(rules: Policy | Baseline) -> dict[str, str]:
        judged = Subject(NOW, {"document": b"x"}, Collateral(), rules).decide([])
        return {name: value for name, value in judged.inputs.items() if name != "document"}

    digest = hashlib.sha256(FILES["1.4.0.jws"]).hexdigest()
    assert inputs(parse_policy(POLICY.encode(), FILES)) == {"release 1.4.0.jws": digest}
    assert inputs(BUILT_IN) == {}
    assert inputs(Baseline()) == {}


def test_two_releases_of_one_policy_are_told_apart_in_a_decision() -> None:
    # The policy's own digest is the same: only the release file was exchanged.
    other = {"1.4.0.jws": release_file(payload(sets=SETS[:1]))}
    first, second = (parse_policy(POLICY.encode(), files) for files in (FILES, other))
    assert first.sha256 == second.sha256
    assert first.reference.digests != second.reference.digests


def test_an_explanation_shows_each_release_and_marks_a_key_that_the_policy_adds() -> None:
    lines = explain_policy(parse_policy(POLICY.encode(), FILES)).splitlines()
    assert "  - takes reference values from 1.4.0.jws: release 1.4.0, number 7, of 2026-11-18" in lines
    assert "  - refuses releases with a number below 7" in lines
    key = public_key().hex()
    assert f"  ! accepts reference values that this key signed, which we did not ship: {key}" in lines


@pytest.mark.parametrize(("issued", "holds"), [(253_370_764_799, True), (253_370_764_800, False)])
def test_a_release_was_issued_before_the_end_of_the_calendar(issued: int, holds: bool) -> None:
    raw = release_file(payload(issued=issued))
    if holds:
        assert "of 9998-12-31" in explain_policy(parse_policy(POLICY.encode(), {"1.4.0.jws": raw}))
        return
    with pytest.raises(MalformedEvidence, match="issued"):
        parse_release(raw, KEYS)
