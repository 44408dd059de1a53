"""Any bytes at all: a report or malformed evidence; extensions or malformed evidence; nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.errors import MalformedEvidence
from attestation.model import Tcb
from attestation.snp.abi import (
    PRODUCTS,
    REPORT_SIZE,
    Cpuid,
    Report,
    decode_tcb,
    encode_tcb,
    parse_report,
    product_of_cpuid,
)
from attestation.snp.kds import AMD_ARC, cert_chain_url, crl_url, parse_extension_values, vcek_url
from enclave.tee import dev

TCB = Tcb(10, 0, 25, 219)
_levels = st.integers(0, 255)


@given(st.binary(max_size=REPORT_SIZE + 8) | st.binary(min_size=REPORT_SIZE, max_size=REPORT_SIZE))
def test_any_bytes_are_a_report_or_malformed(raw: bytes) -> None:
    try:
        assert isinstance(parse_report(raw), Report)
    except MalformedEvidence:
        return


@given(st.sampled_from([2, 3, 4, 5]), st.binary(min_size=REPORT_SIZE - 4, max_size=REPORT_SIZE - 4))
def test_any_body_of_a_known_version_is_a_report_unless_its_signing_key_is_reserved(
    version: int, body: bytes
) -> None:
    raw = version.to_bytes(4, "little") + body
    if raw[0x48] >> 2 & 7 in (0, 1, 7):
        assert parse_report(raw).raw == raw
    else:
        with pytest.raises(MalformedEvidence):
            parse_report(raw)


@pytest.mark.parametrize("size", [0, REPORT_SIZE - 1, REPORT_SIZE + 1, 4096])
def test_a_report_has_exactly_1184_bytes(size: int) -> None:
    with pytest.raises(MalformedEvidence):
        parse_report((b"\x05\0\0\0" + bytes(size))[:size])


@pytest.mark.parametrize("version", [0, 1, 6, 0x0500_0000])
def test_an_unknown_report_version_is_refused(version: int) -> None:
    with pytest.raises(MalformedEvidence):
        parse_report(version.to_bytes(4, "little") + bytes(REPORT_SIZE - 4))


def test_every_field_that_is_written_is_read_back() -> None:
    fields = dev.ReportFields(
        bytes(range(64)),
        guest_svn=0x10009,
        vmpl=0xFFFF_FFFF,
        family_id=b"f" * 16,
        image_id=b"i" * 16,
        current_tcb_raw=b"current!",
        platform_info=0x80,
        flags=0b101,
        host_data=b"h" * 32,
        id_key_digest=b"k" * 48,
        author_key_digest=b"a" * 48,
        report_id=b"r" * 32,
        report_id_ma=b"m" * 32,
        reported_tcb_raw=b"reported",
        chip_id=b"c" * 64,
        committed_tcb_raw=b"commited",
        current_version=(1, 2, 3),
        committed_version=(4, 5, 6),
        launch_tcb_raw=b"launched",
        launch_mit_vector=7,
        current_mit_vector=2**63,
    )
    report = parse_report(dev.sign_report(dev.encode_report(fields), _key()))
    for name in ("guest_svn", "vmpl", "family_id", "image_id", "host_data", "id_key_digest", "chip_id"):
        assert getattr(report, name) == getattr(fields, name)
    for name in ("author_key_digest", "report_id", "report_id_ma", "report_data", "measurement"):
        assert getattr(report, name) == getattr(fields, name)
    for name in ("current", "reported", "committed", "launch"):
        assert getattr(report, f"{name}_tcb_raw") == getattr(fields, f"{name}_tcb_raw")
    assert (report.current_version, report.committed_version) == ((1, 2, 3), (4, 5, 6))
    assert (report.launch_mit_vector, report.current_mit_vector) == (7, 2**63)
    assert (report.author_key_en, report.mask_chip_key, report.signing_key) == (True, False, "vlek")
    assert report.platform_info.tio_en


def _key() -> dev.ec.EllipticCurvePrivateKey:
    return dev.ec.generate_private_key(dev.ec.SECP384R1())


_POLICY_BITS = {
    16: "smt",
    18: "migrate_ma",
    19: "debug",
    20: "single_socket",
    21: "cxl_allow",
    22: "mem_aes_256_xts",
    23: "rapl_dis",
    24: "ciphertext_hiding",
    25: "page_swap_disable",
}


@pytest.mark.parametrize("bit", list(_POLICY_BITS))
def test_each_policy_bit_means_what_the_abi_says(bit: int) -> None:
    fields = dev.ReportFields(bytes(64), policy=1 << bit)
    policy = parse_report(dev.encode_report(fields) + bytes(512)).policy
    assert {name for name in _POLICY_BITS.values() if getattr(policy, name)} == {_POLICY_BITS[bit]}


@given(st.sampled_from(PRODUCTS), st.builds(Tcb, _levels, _levels, _levels, _levels, fmc=_levels))
def test_a_tcb_survives_its_eight_bytes(product: str, tcb: Tcb) -> None:
    tcb = tcb if product == "Turin" else replace(tcb, fmc=None)
    assert decode_tcb(encode_tcb(tcb, product), product) == tcb


def test_turin_orders_its_tcb_differently_from_milan_and_genoa() -> None:
    raw = bytes([1, 2, 3, 4, 5, 6, 7, 8])
    assert decode_tcb(raw, "Turin") == Tcb(2, 3, 4, 8, fmc=1)
    assert decode_tcb(raw, "Milan") == decode_tcb(raw, "Genoa") == Tcb(1, 2, 7, 8)


@pytest.mark.parametrize(
    ("family", "model", "product"),
    [
        (0x19, 0x00, "Milan"),
        (0x19, 0x0F, "Milan"),
        (0x19, 0x10, "Genoa"),
        (0x19, 0x1F, "Genoa"),
        (0x19, 0x20, None),
        (0x19, 0xA0, "Genoa"),
        (0x19, 0xAF, "Genoa"),
        (0x19, 0xB0, None),
        (0x1A, 0x02, "Turin"),
        (0x1A, 0x50, None),
        (0x17, 0x31, None),
        (0, 0, None),
    ],
)
def test_a_processor_is_known_or_nothing(family: int, model: int, product: str | None) -> None:
    assert product_of_cpuid(Cpuid(family, model, 0)) == product


# --- AMD's certificate extensions -------------------------------------------------------------------------

_OIDS = [f"{AMD_ARC}.{suffix}" for suffix in ("1", "2", "4", "5", *(f"3.{n}" for n in range(1, 10)))]


@given(st.dictionaries(st.sampled_from(_OIDS), st.binary(max_size=80)))
def test_any_extension_bytes_are_read_or_malformed(values: dict[str, bytes]) -> None:
    try:
        parse_extension_values(values)
    except MalformedEvidence:
        return


@given(st.sampled_from(_OIDS), st.binary(max_size=70), st.sampled_from(["Genoa", "Turin"]))
def test_any_bytes_in_one_extension_of_a_good_certificate_are_read_or_malformed(
    oid: str, value: bytes, product: str
) -> None:
    try:
        read = parse_extension_values(_extensions(product) | {oid: value})
    except MalformedEvidence:
        return
    assert all(0 <= level <= 255 for level in (read.tcb.bootloader, read.tcb.tee, read.tcb.snp))
    assert read.hwid is not None
    assert len(read.hwid) == (8 if product == "Turin" else 64)


def _extensions(product: str) -> dict[str, bytes]:
    turin = product == "Turin"
    tcb = replace(TCB, fmc=1) if turin else TCB
    return dev.vek_extensions(product, tcb, hwid=bytes(range(8 if turin else 64)))


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b"\x02", b"\x02\x00", b"\x02\x01\xdb", b"\x02\x02\x00\x01", b"\x02\x02\x01\x00"),
        *(b"\x02\x01\x01\x00", b"\x02\x81\x01\x01", b"\x04\x01\x01", b"\x02\x02\x01"),
        b"\x02\x03\x00\x00\xdb",
    ],
)
def test_a_patch_level_is_a_minimal_der_integer_of_one_byte(value: bytes) -> None:
    with pytest.raises(MalformedEvidence):
        parse_extension_values(_extensions("Genoa") | {f"{AMD_ARC}.3.8": value})


def test_a_patch_level_above_127_has_a_leading_zero_byte() -> None:
    read = parse_extension_values(_extensions("Genoa") | {f"{AMD_ARC}.3.8": b"\x02\x02\x00\xdb"})
    assert read.tcb.microcode == 219


@pytest.mark.parametrize("product", ["Genoa", "Turin"])
def test_a_hardware_id_is_read_raw_or_wrapped_and_only_in_its_products_length(product: str) -> None:
    hwid = bytes(range(8 if product == "Turin" else 64))
    oid = f"{AMD_ARC}.4"
    for value in (hwid, dev.der(0x04, hwid)):
        assert parse_extension_values(_extensions(product) | {oid: value}).hwid == hwid
    for value in (hwid[:-1], hwid + b"\0", dev.der(0x04, hwid[:-1]), dev.der(0x05, hwid), b""):
        with pytest.raises(MalformedEvidence):
            parse_extension_values(_extensions(product) | {oid: value})


def test_an_fmc_level_belongs_to_turin_and_to_turin_only() -> None:
    oid = f"{AMD_ARC}.3.9"
    with pytest.raises(MalformedEvidence):
        parse_extension_values(_extensions("Genoa") | {oid: dev.der_integer(0)})
    turin = _extensions("Turin")
    del turin[oid]
    with pytest.raises(MalformedEvidence):
        parse_extension_values(turin)


@pytest.mark.parametrize("name", ["Rome", "", "Milan\0", "milan", "Genoaa"])
def test_an_unknown_product_name_is_refused(name: str) -> None:
    with pytest.raises(MalformedEvidence):
        parse_extension_values(_extensions("Genoa") | {f"{AMD_ARC}.2": dev.der_ia5(name)})


def test_key_distribution_has_a_chain_and_a_list_per_product_and_kind_and_no_others() -> None:
    assert cert_chain_url("Genoa", "vcek") == "https://kdsintf.amd.com/vcek/v1/Genoa/cert_chain"
    assert crl_url("Turin", "vlek") == "https://kdsintf.amd.com/vlek/v1/Turin/crl"
    for refused in (
        lambda: cert_chain_url("../..", "vcek"),
        lambda: crl_url("Genoa", "none"),
        lambda: vcek_url("Rome", bytes(64), TCB),
    ):
        with pytest.raises(MalformedEvidence):
            refused()


@pytest.mark.parametrize(
    ("raw", "product"),
    [(bytes(7), "Genoa"), (bytes(9), "Turin"), (b"", "Milan"), (bytes(8), "Rome"), (bytes(8), "")],
)
def test_a_tcb_of_another_length_or_product_is_refused(raw: bytes, product: str) -> None:
    with pytest.raises(MalformedEvidence):
        decode_tcb(raw, product)


def test_no_tcb_is_written_for_an_unknown_product() -> None:
    with pytest.raises(MalformedEvidence):
        encode_tcb(TCB, "Rome")
