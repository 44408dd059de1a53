"""Azure's HCL report: what its bytes say, and which bytes are not one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from attestation.azure.hcl import HclKey, parse_hcl, parse_runtime_data
from attestation.errors import MalformedEvidence
from tests.fakes.tpm import HclFields, TpmWorld, hcl_pieces, runtime_data

HARDWARE = bytes(range(256)) * 4 + bytes(160)


@pytest.fixture(scope="module")
def tpm() -> TpmWorld:
    return TpmWorld.forge()


def written(tpm: TpmWorld, kind: int = 2, hardware: bytes = HARDWARE, **changes: Any) -> bytes:
    fields = HclFields(**changes)
    return b"".join(data for _, data in hcl_pieces(fields, kind, hardware, runtime_data(fields, tpm)))


def test_a_report_reads_as_it_was_written(tpm: TpmWorld) -> None:
    hcl = parse_hcl(written(tpm, hcl_version=1, user_data=b"\xab" * 8))
    expected = runtime_data(HclFields(user_data=b"\xab" * 8), tpm)
    assert (hcl.header_version, hcl.request_type, hcl.report_type, hcl.hash_type) == (1, 2, 2, 1)
    assert hcl.report_size == 0x4D4 + len(expected)
    assert hcl.hardware_report == HARDWARE
    assert hcl.runtime_data == expected
    assert hcl.runtime.user_data == b"\xab" * 8
    assert [key.kid for key in hcl.runtime.keys] == ["HCLAkPub", "HCLEkPub"]
    numbers = tpm.ak.public_key().public_numbers()
    assert hcl.runtime.keys[0] == HclKey("HCLAkPub", numbers.n, numbers.e)
    assert hcl.runtime.vm_configuration["secure-boot"] is True


def test_only_the_tdreport_of_the_area_is_the_hardware_report(tpm: TpmWorld) -> None:
    assert parse_hcl(written(tpm, 4, HARDWARE[:1024])).hardware_report == HARDWARE[:1024]
    with pytest.raises(MalformedEvidence, match="padding"):
        parse_hcl(written(tpm, 4, HARDWARE[:1024] + b"\x01"))


@pytest.mark.parametrize(("kind", "digest"), [(1, "sha256"), (2, "sha384"), (3, "sha512")])
def test_the_bound_report_data_is_the_digest_then_zeros(tpm: TpmWorld, kind: int, digest: str) -> None:
    hcl = parse_hcl(written(tpm, hash_type=kind))
    expected = hashlib.new(digest, hcl.runtime_data).digest()
    assert hcl.bound_report_data == expected + bytes(64 - len(expected))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"magic": b"HCLB"}, "version 1 or 2"),
        ({"hcl_version": 0}, "version 1 or 2"),
        ({"hcl_version": 3}, "version 1 or 2"),
        ({"request_type": 1}, "successful"),
        ({"hcl_status": 1}, "successful"),
        ({"hcl_reserved": bytes(11) + b"\x01"}, "successful"),
        ({"report_type": 3}, "unknown kind"),
        ({"hash_type": 0}, "unknown kind"),
        ({"hash_type": 4}, "unknown kind"),
        ({"data_version": 2}, "unknown kind"),
        ({"data_size": 0}, "contradict"),
        ({"hcl_report_size": 2600}, "contradict"),
        ({"runtime_size": 1, "data_size": 21}, "contradict"),
        ({"tail": b"{}"}, "padding"),
        ({"tail": b"\0\0\x01"}, "padding"),
    ],
)
def test_bytes_that_are_not_an_hcl_report_are_refused(
    tpm: TpmWorld, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(MalformedEvidence, match=reason):
        parse_hcl(written(tpm, **changes))


def test_a_length_that_runs_past_the_end_is_refused(tpm: TpmWorld) -> None:
    whole = written(tpm, file_size=0)
    parse_hcl(whole)
    for length in (0, 31, 0x4D3, 0x4D4, len(whole) - 1):
        with pytest.raises(MalformedEvidence):
            parse_hcl(whole[:length])
    with pytest.raises(MalformedEvidence, match="16384"):
        parse_hcl(whole.ljust(16 * 1024 + 1, b"\0"))


def no_list(value: dict[str, Any]) -> None:
    value["keys"] = {}


def nine_keys(value: dict[str, Any]) -> None:
    value["keys"] = value["keys"][:1] * 9


def text_key(value: dict[str, Any]) -> None:
    value["keys"].append("HCLAkPub")


def nameless_key(value: dict[str, Any]) -> None:
    del value["keys"][1]["kid"]


def no_modulus(value: dict[str, Any]) -> None:
    del value["keys"][0]["n"]


def empty_exponent(value: dict[str, Any]) -> None:
    value["keys"][0]["e"] = ""


def endless_modulus(value: dict[str, Any]) -> None:
    value["keys"][0]["n"] = "A" * 1368


def list_of_settings(value: dict[str, Any]) -> None:
    value["vm-configuration"] = []


def user_data_is_no_text(value: dict[str, Any]) -> None:
    value["user-data"] = 7


def user_data_is_no_hexadecimal(value: dict[str, Any]) -> None:
    value["user-data"] = "0g"


def user_data_with_a_space(value: dict[str, Any]) -> None:
    value["user-data"] = "00 0"


def user_data_is_too_long(value: dict[str, Any]) -> None:
    value["user-data"] = "00" * 65


@pytest.mark.parametrize(
    "edit",
    [
        *(no_list, nine_keys, text_key, nameless_key, no_modulus, empty_exponent, endless_modulus),
        *(list_of_settings, user_data_is_no_text, user_data_is_no_hexadecimal, user_data_is_too_long),
        user_data_with_a_space,
    ],
)
def test_runtime_data_of_another_shape_are_refused(
    tpm: TpmWorld, edit: Callable[[dict[str, Any]], None]
) -> None:
    with pytest.raises(MalformedEvidence):
        parse_hcl(written(tpm, runtime_edit=edit))


def test_user_data_may_be_written_in_capitals() -> None:
    assert parse_runtime_data(b'{"keys":[],"user-data":"00FF"}').user_data == b"\x00\xff"


def test_runtime_data_may_lack_configuration_and_user_data_and_have_members_we_do_not_know() -> None:
    read = parse_runtime_data(b'{"keys":[],"something-new":{"a":[1]}}')
    assert (read.keys, read.vm_configuration, read.user_data) == ((), {}, None)


def test_a_key_that_is_not_rsa_is_named_but_has_no_numbers() -> None:
    text = json.dumps({"keys": [{"kid": "HCLAkPub", "kty": "EC", "crv": "P-256", "n": "AQ", "e": "AQ"}]})
    assert parse_runtime_data(text.encode()).keys == (HclKey("HCLAkPub", 0, 0),)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{", b'{"keys":[],"keys":[]}', b'{"keys":[],"a":1.5}', b"\xff"]
)
def test_runtime_data_that_are_not_strict_json_are_refused(text: bytes) -> None:
    with pytest.raises(MalformedEvidence):
        parse_runtime_data(text)
