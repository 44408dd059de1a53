"""Quotes, TD reports and TDREPORTs byte by byte, on forged bytes whose every field differs."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.errors import MalformedEvidence
from attestation.tdx.abi import (
    MAX_QUOTE,
    SgxReport,
    TdReport,
    parse_quote,
    parse_sgx_report,
    parse_td_attributes,
    parse_td_report,
    parse_tdreport,
)
from tests.fakes.intel import IntelWorld
from tests.fakes.intel_layout import TdFields, tdreport

_EXTENDED = {"version": 5, "body_type": 4}


def distinct(*sizes: int) -> list[bytes]:
    """Fields of the sizes that are wanted, each filled with a byte of its own."""
    return [bytes([number]) * size for number, size in enumerate(sizes, 1)]


def test_every_field_of_the_longest_report_stands_where_intel_puts_it() -> None:
    sizes = (16, 48, 48, 8, 8, 8, *[48] * 8, 64, 16, 48, 1, 32, 48, 48, 8, 16, 16, 12, 48, 8)
    parts = distinct(*sizes)
    report = parse_td_report(b"".join(parts))
    flat: list[bytes] = []
    for field in fields(report)[1:]:
        value = getattr(report, field.name)
        match field.name:
            case "rtmrs":
                flat += value
            case "td_attributes":
                flat.append(value.raw)
            case "vmid":
                flat.append(bytes([value]))
            case _:
                flat.append(value)
    assert flat == parts


@pytest.mark.parametrize(("size", "absent"), [(584, 12), (648, 10), (885, 0)])
def test_what_a_shorter_report_does_not_have_is_none(size: int, absent: int) -> None:
    report = parse_td_report(bytes(size))
    assert [getattr(report, field.name) for field in fields(report)].count(None) == absent


@pytest.mark.parametrize("size", [0, 583, 585, 647, 649, 884, 886])
def test_a_report_of_any_other_length_is_malformed(size: int) -> None:
    with pytest.raises(MalformedEvidence, match="TD report"):
        parse_td_report(bytes(size))


@pytest.mark.parametrize(
    ("bit", "name"),
    [
        (0, "debug"),
        (27, "lass"),
        (28, "sept_ve_disable"),
        (29, "migratable"),
        (30, "pks"),
        (31, "kl"),
        (63, "perfmon"),
    ],
)
def test_one_attribute_bit_sets_one_flag(bit: int, name: str) -> None:
    attributes = parse_td_attributes((1 << bit).to_bytes(8, "little"))
    flags = {
        field.name: getattr(attributes, field.name) for field in fields(attributes) if field.name != "raw"
    }
    assert {flag for flag, value in flags.items() if value} == {name}


def test_attribute_bits_without_a_name_are_kept_apart() -> None:
    assert parse_td_attributes(b"\xfe" + bytes(7)).other_tud == 0xFE
    assert parse_td_attributes(b"\0\x01" + bytes(6)).reserved == 1 << 8
    assert parse_td_attributes(b"\xff" * 8).reserved == (1 << 63) - (1 << 32) + (1 << 27) - (1 << 8)
    with pytest.raises(MalformedEvidence):
        parse_td_attributes(bytes(7))


def test_a_quote_tells_header_body_and_who_signed(intel: IntelWorld) -> None:
    signed = intel.issue(user_data=b"\x05" * 20, auth_data=b"\x06" * 40, padding=bytes(9), **_EXTENDED)
    quote = parse_quote(signed.quote)
    assert (quote.version, quote.att_key_type, quote.tee_type, quote.body_type) == (5, 2, 0x81, 4)
    assert (quote.body_offset, quote.user_data, quote.trailing) == (54, b"\x05" * 20, bytes(9))
    assert isinstance(quote.body, TdReport)
    assert quote.signed == signed.quote[: 54 + 885]
    signature, regions = quote.signature, signed.regions
    assert (signature.cert_type, signature.inner_cert_type) == (6, 5)
    assert signature.qe_auth_data == b"\x06" * 40
    for found, region in (
        (signature.quote_signature, "signature"),
        (signature.attestation_key, "attestation_key"),
        (signature.qe_report.raw, "qe.report"),
        (signature.qe_report_signature, "qe.signature"),
        (signature.cert_data, "chain"),
    ):
        assert found == signed.quote[slice(*regions[region])]


def test_a_quote_of_version_4_has_no_body_type(intel: IntelWorld) -> None:
    quote = parse_quote(intel.issue().quote)
    assert (quote.version, quote.body_type, quote.body_offset) == (4, None, 48)


def test_an_sgx_quote_is_read_in_all_three_versions(intel: IntelWorld) -> None:
    td = intel.issue()
    start, body = td.regions["signature"][0], td.regions["body.report_data"][1]
    header, enclave = td.quote[8:48], bytes(range(256)) + bytes(128)
    version_4 = b"\x04\0\x02\0" + bytes(4) + header + enclave + td.quote[body:]
    version_5 = b"\x05\0\x02\0" + bytes(4) + header + b"\x01\0\x80\x01\0\0" + enclave + td.quote[body:]
    unwrapped = td.quote[start : start + 128] + td.quote[start + 134 :]
    version_3 = (
        b"\x03\0\x02\0" + bytes(4) + header + enclave + len(unwrapped).to_bytes(4, "little") + unwrapped
    )
    for raw, body_type, cert_type in ((version_3, None, None), (version_4, None, 6), (version_5, 1, 6)):
        quote = parse_quote(raw)
        assert isinstance(quote.body, SgxReport)
        assert quote.body.mrenclave == enclave[64:96]
        assert quote.body.mrsigner == enclave[128:160]
        assert (quote.body_type, quote.signature.cert_type) == (body_type, cert_type)
    with pytest.raises(MalformedEvidence, match="TEE type 0x81"):
        parse_quote(version_3[:4] + b"\x81\0\0\0" + version_3[8:])


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": 6},
        {"key_type": 3},
        {"tee_type": 0x80},
        {"version": 5, "body_type": 5},
        {"version": 5, "body_type": 3, "body_size": 584},
        {"version": 5, "body_type": 3, "tee_type": 0},
    ],
)
def test_a_quote_of_an_unknown_kind_is_malformed(intel: IntelWorld, wrong: dict[str, int]) -> None:
    with pytest.raises(MalformedEvidence, match=r"not known|do not belong"):
        parse_quote(intel.issue(**wrong).quote)


def test_an_sgx_report_has_one_length() -> None:
    with pytest.raises(MalformedEvidence, match="SGX report"):
        parse_sgx_report(bytes(383))


def test_a_quote_of_absurd_size_is_not_even_read() -> None:
    with pytest.raises(MalformedEvidence, match="more than"):
        parse_quote(bytes(MAX_QUOTE + 1))


def test_a_quote_cut_anywhere_is_malformed(intel: IntelWorld) -> None:
    raw = intel.issue().quote
    for end in (*range(0, 1300), *range(1300, len(raw), 97), len(raw) - 1):
        with pytest.raises(MalformedEvidence):
            parse_quote(raw[:end])


@given(st.binary(max_size=6000))
def test_any_bytes_are_a_quote_or_malformed(raw: bytes) -> None:
    for parse in (parse_quote, parse_tdreport, parse_td_report, parse_sgx_report):
        with pytest.raises(MalformedEvidence):
            parse(raw)


@settings(deadline=None)
@given(data=st.data())
def test_a_quote_damaged_anywhere_is_read_whole_or_malformed(data: st.DataObject, intel: IntelWorld) -> None:
    raw = bytearray(intel.issue(**_EXTENDED).quote)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        quote = parse_quote(bytes(raw))
    except MalformedEvidence:
        return
    assert len(quote.signed) + 4 + quote.signature.size + len(quote.trailing) == len(raw)


def test_a_tdreport_has_the_fields_of_the_quote_that_is_made_from_it() -> None:
    parts = distinct(16, 48, 48, 8, *[48] * 8, 64, 16, 48)
    tee_tcb_svn, mrseam, signer, seam_attributes, *measured, report_data, svn2, servicetd = parts
    mrtd, mrconfigid, mrowner, mrownerconfig, *rtmrs = measured
    td = TdFields(
        tee_tcb_svn=tee_tcb_svn,
        mrseam=mrseam,
        mrsignerseam=signer,
        seam_attributes=seam_attributes,
        td_attributes=0x8000_0000_1000_0000,
        xfam=0x1122334455667788,
        mrtd=mrtd,
        mrconfigid=mrconfigid,
        mrowner=mrowner,
        mrownerconfig=mrownerconfig,
        rtmrs=tuple(rtmrs),
        report_data=report_data,
        tee_tcb_svn2=svn2,
        mrservicetd=servicetd,
    )
    report = parse_tdreport(tdreport(td))
    assert b"".join((report.tee_tcb_svn, report.mrseam, report.mrsignerseam, report.seam_attributes)) == (
        tee_tcb_svn + mrseam + signer + seam_attributes
    )
    assert (report.td_attributes.perfmon, report.td_attributes.sept_ve_disable) == (True, True)
    assert report.xfam == td.xfam.to_bytes(8, "little")
    assert [report.mrtd, report.mrconfigid, report.mrowner, report.mrownerconfig] == measured[:4]
    assert list(report.rtmrs) == rtmrs
    assert (report.report_data, report.tee_tcb_svn2, report.mrservicetd) == (report_data, svn2, servicetd)
    assert report.vmid is None


@pytest.mark.parametrize("place", [0, 4, 15, 192, 223, 495, 511])
def test_a_tdreport_of_another_type_or_with_reserved_bytes_set_is_malformed(place: int) -> None:
    raw = bytearray(tdreport(TdFields()))
    raw[place] ^= 1
    with pytest.raises(MalformedEvidence, match=r"type 0x81|reserved"):
        parse_tdreport(bytes(raw))


@pytest.mark.parametrize("place", [32, 80, 264, 384, 512, 912, 1023])
def test_a_tdreport_whose_digests_are_not_of_its_parts_is_malformed(place: int) -> None:
    raw = bytearray(tdreport(TdFields()))
    raw[place] ^= 1
    with pytest.raises(MalformedEvidence, match="digests"):
        parse_tdreport(bytes(raw))
