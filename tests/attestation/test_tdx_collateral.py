"""TCB info and QE identity: what is signed is what is read, and nothing that Intel does not serve is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.errors import MalformedEvidence
from attestation.tdx.qe_identity import parse_qe_identity
from attestation.tdx.signed import MAX_JSON, member_object, member_objects, parse_signed
from attestation.tdx.tcb import STATUSES, SvnLevel, combine, parse_rating, rate_svn
from attestation.tdx.tcb_info import parse_tcb_info
from tests.fakes.intel_collateral import CollateralFields, qe_identity, tcb_info

SIGNATURE = "ab" * 64
UNSIGNED = CollateralFields()


def served(name: str, inner: object) -> bytes:
    """As the PCS would serve it, with a signature that nobody made."""
    return json.dumps({name: inner, "signature": SIGNATURE}, separators=(",", ":")).encode()


def info_with(change: Callable[[dict[str, Any]], object]) -> bytes:
    """TCB info with one thing changed."""
    inner = tcb_info(UNSIGNED)
    change(inner)
    return served("tcbInfo", inner)


def identity_with(change: Callable[[dict[str, Any]], object]) -> bytes:
    """A QE identity with one thing changed."""
    inner = qe_identity(UNSIGNED)
    change(inner)
    return served("enclaveIdentity", inner)


def put(*path: str | int, value: object) -> Callable[[dict[str, Any]], object]:
    """Set the member at `path`."""

    def change(inner: dict[str, Any]) -> None:
        place: Any = inner
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return change


def drop(*path: str | int) -> Callable[[dict[str, Any]], object]:
    """Remove the member at `path`."""

    def change(inner: dict[str, Any]) -> None:
        place: Any = inner
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    return change


# --- the envelope ------------------------------------------------------------------------------------------


def test_the_signed_bytes_are_those_that_were_served_whatever_their_spacing() -> None:
    inner = b'{ "id" : 1,\n "x": [ ] }'
    raw = b' {"tcbInfo" : ' + inner + b' , "signature":"' + b"ab" * 64 + b'" } \n'
    found = parse_signed(raw, "tcbInfo")
    assert (found.signed, found.signature) == (inner, b"\xab" * 64)
    assert found.members == {"id": 1, "x": []}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b'{"tcbInfo":{}}',
        b'{"tcbInfo":{},"signature":""}',
        b'{"tcbInfo":{},"signature":"%b"}' % (b"0" * 127),
        b'{"tcbInfo":{},"signature":"%b"}' % (b"g" * 128),
        b'{"tcbInfo":{},"signature":"%b"}' % (b"A" * 128),
        b'{"tcbInfo":{},"signature":"%b"}x' % (b"0" * 128),
        b'{"tcbInfo":[],"signature":"%b"}' % (b"0" * 128),
        b'{"enclaveIdentity":{},"signature":"%b"}' % (b"0" * 128),
        b'{"signature":"%b","tcbInfo":{}}' % (b"0" * 128),
        b'{"tcbInfo":{"a":1},"x":{},"signature":"%b"}' % (b"0" * 128),
        b'{"tcbInfo":{},"signature":"%b","tcbInfo":{},"signature":"%b"}' % (b"0" * 128, b"1" * 128),
        b'{"tcbInfo":{"a":1,"a":2},"signature":"%b"}' % (b"0" * 128),
        b'{"tcbInfo":{"a":1.5},"signature":"%b"}' % (b"0" * 128),
    ],
)
def test_anything_but_one_object_and_its_signature_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedEvidence):
        parse_signed(raw, "tcbInfo")


def test_collateral_of_absurd_size_is_not_even_read() -> None:
    with pytest.raises(MalformedEvidence, match="more than"):
        parse_signed(b" " * (MAX_JSON + 1), "tcbInfo")


def test_an_envelope_made_to_be_slow_is_refused_quickly() -> None:
    for filling in (b"}" * 200_000, b"} " * 100_000, b"}" + b" " * 200_000, b'},"signature":"' * 20_000):
        with pytest.raises(MalformedEvidence):
            parse_signed(b'{"tcbInfo":{' + filling, "tcbInfo")


@given(st.binary(max_size=300))
def test_any_bytes_are_malformed(raw: bytes) -> None:
    for parse in (parse_tcb_info, parse_qe_identity):
        with pytest.raises(MalformedEvidence):
            parse(raw)


# --- TCB info ----------------------------------------------------------------------------------------------


def test_tcb_info_is_read_whole() -> None:
    issued, until = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2026, 2, 1, 0, 0, 0, tzinfo=UTC)
    fields = CollateralFields(
        tcb_info_issued=issued,
        tcb_info_until=until,
        tcb_fmspc=b"\xab" * 6,
        tcb_pceid=b"\x01\x02",
        module_mrsigner=b"\x0b" * 48,
        module_isvsvn=6,
        platform_status="ConfigurationNeeded",
        platform_advisories=("INTEL-SA-1",),
    )
    inner = tcb_info(fields)
    inner["fmspc"] = inner["fmspc"].upper()
    info = parse_tcb_info(served("tcbInfo", inner))
    assert (info.issue_date, info.next_update, info.evaluation_number) == (issued, until, 20)
    assert (info.fmspc, info.pceid) == (b"\xab" * 6, b"\x01\x02")
    assert (info.module.id, info.module.mrsigner, info.module.levels) == (None, bytes(48), ())
    assert [identity.id for identity in info.identities] == ["TDX_03", "TDX_01"]
    identity = info.identities[1]
    assert identity.mrsigner == b"\x0b" * 48
    assert [(level.isvsvn, level.rating.status) for level in identity.levels] == [
        (6, "UpToDate"),
        (2, "OutOfDate"),
    ]
    assert [level.rating.status for level in info.levels] == ["ConfigurationNeeded", "OutOfDate"]
    assert info.levels[0].rating.advisory_ids == ("INTEL-SA-1",)
    assert (len(info.levels[0].sgx_components), len(info.levels[0].tdx_components)) == (16, 16)
    assert info.levels[0].pcesvn == 11


def test_tcb_info_from_before_module_identities_has_none() -> None:
    assert parse_tcb_info(info_with(drop("tdxModuleIdentities"))).identities == ()


@pytest.mark.parametrize(
    "change",
    [
        put("id", value="SGX"),
        put("version", value=2),
        put("tcbType", value=1),
        put("issueDate", value="2026-01-31T00:00:00"),
        put("issueDate", value="2026-02-30T00:00:00Z"),
        put("issueDate", value="\uff12026-01-31T00:00:00Z"),
        put("nextUpdate", value=5),
        put("fmspc", value="00806f0500"),
        put("fmspc", value=["00806f050000"]),
        put("fmspc", value="zz806f050000"),
        put("pceId", value="00"),
        put("tcbEvaluationDataNumber", value=-1),
        put("tcbEvaluationDataNumber", value=True),
        put("tdxModule", value=[]),
        put("tdxModule", "mrsigner", value="00"),
        put("tdxModule", "attributes", value="00" * 9),
        put("tdxModule", "attributesMask", value=None),
        put("tdxModuleIdentities", value={}),
        put("tdxModuleIdentities", value=["TDX_01"]),
        put("tdxModuleIdentities", 0, "id", value="TDX_01"),
        put("tdxModuleIdentities", 0, "id", value="\x1b[31m"),
        put("tdxModuleIdentities", 0, "tcbLevels", 0, "tcb", "isvsvn", value=0x10000),
        put("tcbLevels", value="none"),
        put("tcbLevels", 0, "tcb", value=1),
        put("tcbLevels", 0, "tcbStatus", value="Excellent"),
        put("tcbLevels", 0, "tcbDate", value="yesterday"),
        put("tcbLevels", 0, "advisoryIDs", value="INTEL-SA-1"),
        put("tcbLevels", 0, "advisoryIDs", value=[1]),
        put("tcbLevels", 0, "advisoryIDs", value=["x" * 201]),
        put("tcbLevels", 0, "tcb", "pcesvn", value=0x10000),
        put("tcbLevels", 0, "tcb", "sgxtcbcomponents", value=[{"svn": 1}] * 15),
        put("tcbLevels", 0, "tcb", "tdxtcbcomponents", value=[{"svn": 1}] * 17),
        put("tcbLevels", 0, "tcb", "tdxtcbcomponents", 3, value={"svn": 256}),
        put("tcbLevels", 0, "tcb", "tdxtcbcomponents", 3, value={}),
        *(drop(name) for name in tcb_info(UNSIGNED) if name != "tdxModuleIdentities"),
    ],
)
def test_tcb_info_that_is_not_what_intel_serves_is_malformed(
    change: Callable[[dict[str, Any]], object],
) -> None:
    with pytest.raises(MalformedEvidence):
        parse_tcb_info(info_with(change))


# --- QE identity -------------------------------------------------------------------------------------------


def test_a_qe_identity_is_read_whole() -> None:
    change = put("miscselect", value="01020304")
    identity = parse_qe_identity(identity_with(change))
    assert (identity.miscselect, identity.miscselect_mask) == (b"\x01\x02\x03\x04", b"\xff" * 4)
    assert (identity.isvprodid, identity.evaluation_number) == (2, 20)
    assert identity.attributes_mask == b"\xfb" + b"\xff" * 7 + bytes(8)
    assert [(level.isvsvn, level.rating.status) for level in identity.levels] == [(4, "UpToDate")]


@pytest.mark.parametrize(
    "change",
    [
        put("id", value="QE"),
        put("version", value=1),
        put("mrsigner", value="00" * 31),
        put("isvprodid", value=0x10000),
        put("attributes", value="11"),
        *(drop(name) for name in qe_identity(UNSIGNED)),
    ],
)
def test_a_qe_identity_that_is_not_what_intel_serves_is_malformed(
    change: Callable[[dict[str, Any]], object],
) -> None:
    with pytest.raises(MalformedEvidence):
        parse_qe_identity(identity_with(change))


def test_members_of_the_wrong_kind_are_malformed() -> None:
    for read in (member_object, member_objects):
        with pytest.raises(MalformedEvidence):
            read({"x": 1}, "x")


# --- statuses ----------------------------------------------------------------------------------------------

# Intel combines a platform's status with that of the module or quoting enclave so (quote verification
# library, convergence of TCB statuses); anything else than these three leaves the platform's status.
_WITH_OUT_OF_DATE = {
    "UpToDate": "OutOfDate",
    "SWHardeningNeeded": "OutOfDate",
    "ConfigurationNeeded": "OutOfDateConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded": "OutOfDateConfigurationNeeded",
    "OutOfDate": "OutOfDate",
    "OutOfDateConfigurationNeeded": "OutOfDateConfigurationNeeded",
    "Revoked": "Revoked",
}


def test_statuses_combine_as_intel_combines_them() -> None:
    assert set(_WITH_OUT_OF_DATE) == set(STATUSES)
    for status, worse in _WITH_OUT_OF_DATE.items():
        assert combine([status]) == status
        assert combine([status, "UpToDate"]) == status
        assert combine([status, "OutOfDate"]) == worse
        assert combine([status, "Revoked"]) == "Revoked"
    assert combine(["SWHardeningNeeded", "ConfigurationNeeded"]) == "ConfigurationAndSWHardeningNeeded"


def test_the_order_of_statuses_never_matters_and_none_gets_better() -> None:
    for one, other, third in product(STATUSES, repeat=3):
        assert combine([one, other, third]) == combine([third, one, other])
        assert combine([one, other, third]) == combine([combine([one, other]), third])
        if combine([one, other]) == "UpToDate":
            assert one == other == "UpToDate"


def test_the_first_level_that_is_reached_rates() -> None:
    def level(svn: int, status: str) -> SvnLevel:
        return SvnLevel(svn, parse_rating({"tcbStatus": status, "tcbDate": "2026-01-01T00:00:00Z"}))

    levels = [level(6, "UpToDate"), level(4, "OutOfDate"), level(2, "Revoked")]
    found = [rate_svn(levels, svn) for svn in (7, 6, 5, 3, 1)]
    assert [rating and rating.status for rating in found] == [
        "UpToDate",
        "UpToDate",
        "OutOfDate",
        "Revoked",
        None,
    ]
