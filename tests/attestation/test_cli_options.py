"""What options mean, and that one which means nothing stops the command instead of being swallowed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer

from attestation.commands.common import time_of
from attestation.report.text import write_time
from tests.attestation.command_line import AT, FRESH, Desk, casemate
from tests.fakes.amd import World
from tests.fakes.evidence import Scene

GENUINE = "snp-genoa-v5-vcek-oak"


@pytest.fixture
def desk(genoa: World, tmp_path: Path) -> Desk:
    """A desk with everything right."""
    return Desk(Scene(genoa), tmp_path)


# --at


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-06-30T23:59:59Z", "2026-06-30T23:59:59Z"),
        ("2026-06-30t23:59:59z", "2026-06-30T23:59:59Z"),
        ("2026-06-30T23:59:59", "2026-06-30T23:59:59Z"),
        ("2026-06-30T23:59:59+02:00", "2026-06-30T21:59:59Z"),
        ("2026-06-30T23:59:59-00:00", "2026-06-30T23:59:59Z"),
        ("2026-06-30T23:59:59.5Z", "2026-06-30T23:59:59.500000Z"),
        ("2026-06-30T23:59:59.123456789", "2026-06-30T23:59:59.123456Z"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        ("9998-12-31T23:59:59Z", "9998-12-31T23:59:59Z"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"),
    ],
)
def test_a_time_of_rfc_3339_is_taken_and_written_so_that_it_is_taken_again(text: str, meant: str) -> None:
    moment = time_of(text)
    assert (moment.tzinfo, write_time(moment)) == (UTC, meant)
    assert time_of(meant) == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-03-07",
        "2026-W10-6",
        "20260307T020507Z",
        "2026-03-07 02:05:07Z",
        "2026-03-07T02:05Z",
        "2026-03-07T02:05:07.Z",
        "2026-03-07T02:05:07,5Z",
        "2026-03-07T02:05:07+0100",
        "2026-03-07T02:05:07+24:00",
        "2026-03-07T02:05:07+01:60",
        "2026-03-07T02:05:07Z\n",
        "2026-03-07T24:00:00Z",
        "2026-03-07T23:59:60Z",
        "2026-02-29T00:00:00Z",
        "\uff12026-03-07T02:05:07Z",
        "0000-01-01T00:00:00Z",
        "0500-06-30T23:59:59Z",
        "0001-01-01T00:00:00+14:00",
        "1970-01-01T00:00:00+00:01",
        "9999-01-01T00:00:00Z",
        "9999-12-31T23:59:59-14:00",
    ],
)
def test_anything_else_is_no_time_and_exits_2(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught:
        time_of(text)
    assert caught.value.exit_code == 2
    assert "--at is not an RFC 3339 time" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-03-07"])
def test_a_time_beyond_the_calendar_is_no_refusal_of_the_evidence(text: str, evidence_dir: Path) -> None:
    raw = ("--tee", "sev-snp", "--dir", evidence_dir / GENUINE, "--baseline", "--json")
    done = casemate("verify", *raw, "--at", text)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_without_a_time_it_is_this_second_which_can_be_written_in_full() -> None:
    assert time_of(None).microsecond == 0
    assert abs((datetime.now(UTC) - time_of(None)).total_seconds()) < 60


def test_the_time_that_decided_is_written_with_its_fraction(evidence_dir: Path) -> None:
    raw = ("--tee", "sev-snp", "--dir", evidence_dir / GENUINE, "--baseline", "--json")
    done = casemate("verify", *raw, "--at", "2025-09-06T19:21:41.25+02:00")
    assert json.loads(done.stdout)["decided_at"] == "2025-09-06T17:21:41.250000Z"


# Options for another kind of evidence

RAW = ("--tee", "sev-snp", "--dir", "FOLDER")
FETCH = ("collateral", "fetch")


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (("verify", "FILE", "--policy", "POLICY", "--save", "NEW"), "--save"),
        (("verify", "FILE", "--policy", "POLICY", "--ca", "FILE"), "--ca"),
        (("verify", *RAW, "--baseline", "--ca", "FILE"), "--ca"),
        (("verify", *RAW, "--baseline", "--save", "NEW"), "--save"),
        (("verify", *RAW, "--baseline", "--nonce", "00" * 32), "--nonce"),
        (("verify", "https://127.0.0.1:1", "--policy", "POLICY", "--baseline"), "--baseline"),
        (("policy", "init", *RAW, "--nonce", "00"), "--nonce"),
        (("policy", "init", *RAW, "--ca", "FILE"), "--ca"),
        (("policy", "init", "FILE", "--ca", "FILE"), "--ca"),
        ((*FETCH, "FILE", "--out", "NEW", "--ca", "FILE"), "--ca"),
        ((*FETCH, *RAW, "--out", "NEW", "--ca", "FILE"), "--ca"),
    ],
)
def test_an_option_for_another_kind_of_evidence_exits_2(
    command: tuple[str, ...], named: str, desk: Desk, evidence_dir: Path
) -> None:
    files = {
        "FILE": desk.document,
        "FOLDER": evidence_dir / GENUINE,
        "NEW": desk.folder / "new",
        "POLICY": desk.policy(),
    }
    done = casemate(*[files.get(word, word) for word in command])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"casemate: {named} ")
    assert not (desk.folder / "new").exists()


def test_options_that_fit_are_no_obstacle(desk: Desk) -> None:
    done = casemate("verify", desk.document, "--policy", desk.policy(), *AT, *FRESH)
    assert done.returncode == 3


# --report-data


@pytest.mark.parametrize(
    ("tee", "size", "code"),
    [
        ("sev-snp", 2, 2),
        ("sev-snp", 63, 2),
        ("tdx", 2, 2),
        ("tdx", 65, 2),
        ("azure-snp", 0, 2),
        ("azure-tdx", 65, 2),
        ("azure-snp", 1, 1),
        ("azure-snp", 64, 1),
        ("sev-snp", 64, 1),
    ],
)
def test_report_data_of_a_size_that_no_such_hardware_signs_is_a_slip_of_the_hand(
    tee: str, size: int, code: int, evidence_dir: Path
) -> None:
    cases = {"sev-snp": GENUINE, "tdx": "tdx-v5-google-2026", "azure-snp": "az-snp-genoa"}
    place = evidence_dir / cases.get(tee, "az-tdx-v0")
    done = casemate("verify", "--tee", tee, "--dir", place, "--report-data", "ab" * size)
    assert done.returncode == code
    assert ("--report-data" in done.stderr) is (code == 2)
    assert (done.stdout == "") is (code == 2)


# What to do next


@pytest.mark.parametrize("place", ["absent", "file"])
def test_a_name_that_is_no_folder_is_told_what_a_folder_is_for(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"report")
    done = casemate("verify", "--tee", "sev-snp", "--dir", tmp_path / place)
    assert done.returncode == 2
    assert "name the folder that holds the evidence files" in done.stderr
    assert "into the folder" not in done.stderr


def test_a_missing_report_is_told_where_it_belongs(tmp_path: Path) -> None:
    done = casemate("verify", "--tee", "sev-snp", "--dir", tmp_path)
    assert "put report.bin into the folder" in done.stderr


def test_a_root_that_is_not_the_vendors_is_told_how_a_development_root_is_named(desk: Desk) -> None:
    done = casemate("policy", "init", desk.document, *AT, *FRESH)
    assert done.returncode == 1
    assert "--insecure-development-root" in done.stderr


def test_a_release_file_that_is_not_there_is_told_with_who_named_it(desk: Desk) -> None:
    policy = desk.policy('[reference]\nreleases = ["none.jws"]\n')
    done = casemate("verify", desk.document, "--policy", policy, *AT, *FRESH)
    assert (done.returncode, done.stdout) == (2, "")
    assert "the policy names the release file none.jws" in done.stderr
    assert "hint: put it into" in done.stderr


def test_an_unknown_kind_of_hardware_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    done = casemate("verify", "--tee", "sgx", "--dir", tmp_path)
    assert done.returncode == 2
    assert "Usage: casemate verify" in done.stderr
    assert "Value error" not in done.stderr
    assert all(name in done.stderr for name in ("sev-snp", "tdx", "azure-snp", "azure-tdx"))


def test_no_policy_is_drafted_for_a_guest_whose_pcr_values_nobody_supplied(evidence_dir: Path) -> None:
    place = evidence_dir / "az-snp-milan-hcl2048"
    assert not (place / "tpm_pcrs.json").exists()
    done = casemate("policy", "init", "--tee", "azure-snp", "--dir", place, "--at", "2023-02-23T17:58:26Z")
    assert (done.returncode, done.stdout) == (2, "")
    assert "tpm_pcrs.json" in done.stderr


@pytest.mark.parametrize(("text", "code"), [(b"", 2), (b'format = "casemate/policy/1"\n', 1)])
def test_a_policy_of_its_format_line_alone_refuses_and_an_empty_file_is_none(
    text: bytes, code: int, desk: Desk, evidence_dir: Path
) -> None:
    raw = ("--tee", "sev-snp", "--dir", evidence_dir / GENUINE, "--at", "2025-09-06T17:21:41Z")
    done = casemate("verify", *raw, "--policy", desk.write("bare.toml", text))
    assert done.returncode == code
    assert ("REFUSED" in done.stdout) is (code == 1)
