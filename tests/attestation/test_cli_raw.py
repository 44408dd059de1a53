"""`casemate verify --tee --dir`: raw evidence out of a folder, real and forged, and what options refuse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from attestation.model import Collateral
from attestation.pins import write_pin
from attestation.raw_files import collateral_files
from tests.attestation.command_line import AT, Desk, casemate
from tests.fakes.amd import World
from tests.fakes.evidence import MEASUREMENT, Scene

GENUINE, GENUINE_AT = "snp-genoa-v5-vcek-oak", ("--at", "2025-09-06T17:21:41Z")
DATA = bytes(range(64))


@pytest.fixture
def forged(genoa: World, tmp_path: Path) -> Path:
    """A folder of raw evidence by a forged AMD."""
    return put(tmp_path / "forged", Scene(genoa))


@pytest.fixture
def rules(genoa: World, tmp_path: Path) -> Path:
    """A policy that names the forged root and what runs there."""
    pin = write_pin(genoa.hierarchy.ark.spki_sha256)
    path = tmp_path / "policy.toml"
    path.write_text(
        f'format = "casemate/policy/1"\ninsecure_development_root = "{pin}"\n'
        f'[snp]\nmeasurements = ["{MEASUREMENT.hex()}"]\nrequire_crl = false\n'
    )
    return path


def put(place: Path, scene: Scene) -> Path:
    """The scene's hardware as raw files."""
    place.mkdir()
    evidence = scene.sign(DATA).evidence
    files = collateral_files(Collateral(evidence.certificates)) | {"report.bin": evidence.report}
    for name, raw in files.items():
        (place / name).write_bytes(raw)
    return place


def raw(tee: str, place: Path, *more: str | Path) -> tuple[str | Path, ...]:
    """The arguments of the raw-evidence command."""
    return ("verify", "--tee", tee, "--dir", place, *more)


# real evidence


def test_a_genuine_report_meets_the_baseline_and_nothing_is_said_beside_it(evidence_dir: Path) -> None:
    done = casemate(*raw("sev-snp", evidence_dir / GENUINE, *GENUINE_AT, "--json", "--baseline"))
    value = json.loads(done.stdout)
    assert (done.returncode, value["verdict"], done.stderr) == (0, "accepted", "")
    assert value["facts"]["product"] == "Genoa"
    assert {check["id"] for check in value["checks"]} >= {"snp.signature", "baseline.debug"}


def test_without_a_choice_of_rules_the_built_in_policy_holds_and_refuses(evidence_dir: Path) -> None:
    done = casemate(*raw("sev-snp", evidence_dir / GENUINE, *GENUINE_AT, "--json"))
    value = json.loads(done.stdout)
    assert (done.returncode, value["verdict"]) == (1, "refused")
    failed = {check["id"] for check in value["checks"] if check["outcome"] == "fail"}
    assert "snp.measurement" in failed
    assert not any(check["id"].startswith("baseline.") for check in value["checks"])


def test_a_missing_certificate_leaves_it_undecided_and_says_where_to_get_it(evidence_dir: Path) -> None:
    place = evidence_dir / "snp-genoa-v5-tinfoil-no-vcek"
    done = casemate(*raw("sev-snp", place, "--at", "2026-11-21T00:00:00Z", "--baseline"))
    assert done.returncode == 2
    assert "UNDECIDED" in done.stdout
    assert "--online" in done.stderr
    assert "--collateral" in done.stderr


def test_a_folder_of_collateral_supplies_what_the_evidence_lacks(evidence_dir: Path, tmp_path: Path) -> None:
    shutil.copy(evidence_dir / GENUINE / "report.bin", tmp_path)
    bare = raw("sev-snp", tmp_path, *GENUINE_AT, "--baseline")
    assert casemate(*bare).returncode == 2
    assert casemate(*bare, "--collateral", evidence_dir / GENUINE).returncode == 0


def test_expired_collateral_is_told_with_a_way_out(evidence_dir: Path) -> None:
    place = evidence_dir / "tdx-v4-phala-uptodate"
    done = casemate(*raw("tdx", place, "--at", "2025-08-08T10:00:35Z", "--baseline"))
    assert done.returncode == 2
    assert "collateral fetch" in done.stderr
    assert "--at" in done.stderr


# folders that cannot be read


def test_a_folder_without_a_report_is_undecided_in_json_too(tmp_path: Path) -> None:
    done = casemate(*raw("sev-snp", tmp_path, "--json"))
    value = json.loads(done.stdout)
    assert (done.returncode, value["verdict"]) == (2, "undecided")
    assert [(c["id"], c["outcome"]) for c in value["checks"]] == [("evidence.parse", "undecided")]
    assert "report.bin" in value["checks"][0]["found"]
    assert "evidence.parse" in done.stderr
    assert (value["rules"], value["evidence_sha256"]) == ("built-in", None)
    baseline = casemate(*raw("sev-snp", tmp_path, "--json", "--baseline"))
    assert json.loads(baseline.stdout)["rules"] == "baseline"


def test_a_chain_that_is_no_pem_is_refused_in_json_too(forged: Path) -> None:
    (forged / "ca_chain.pem").write_bytes(b"not a chain")
    done = casemate(*raw("sev-snp", forged, "--json"))
    value = json.loads(done.stdout)
    assert (done.returncode, value["verdict"]) == (1, "refused")
    assert "ca_chain.pem" in value["checks"][0]["found"]
    assert done.stderr == ""


@pytest.mark.parametrize("tee", ["sev-snp", "tdx", "azure-snp", "azure-tdx"])
def test_bytes_that_are_no_evidence_are_refused_for_every_platform(tee: str, tmp_path: Path) -> None:
    for name in ("report.bin", "quote.bin", "hcl_report.bin"):
        (tmp_path / name).write_bytes(b"not evidence")
    done = casemate(*raw(tee, tmp_path, "--baseline", "--json"))
    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (1, "refused")


def test_an_unreadable_folder_of_collateral_stops_it_before_a_verdict(forged: Path, tmp_path: Path) -> None:
    done = casemate(*raw("sev-snp", forged, "--collateral", tmp_path / "absent"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "--collateral" in done.stderr


# policies, report data


def test_a_development_root_never_reads_as_a_pass(forged: Path, rules: Path) -> None:
    command = raw("sev-snp", forged, *AT, "--policy", rules, "--report-data", DATA.hex())
    done = casemate(*command, "--json")
    value = json.loads(done.stdout)
    assert (done.returncode, value["verdict"], value["insecure"]) == (3, "accepted-insecure", True)
    text = casemate(*command)
    assert "ACCEPTED-INSECURE" in text.stdout
    assert "ACCEPTED:" not in text.stdout


def test_a_development_root_is_no_root_for_the_baseline(forged: Path) -> None:
    done = casemate(*raw("sev-snp", forged, *AT, "--baseline"))
    assert done.returncode == 1
    assert "snp.chain.root" in done.stdout


def test_other_report_data_is_refused_and_none_at_all_is_undecided(forged: Path, rules: Path) -> None:
    command = raw("sev-snp", forged, *AT, "--policy", rules)
    other = casemate(*command, "--report-data", "00" * 64, "--json")
    failed = [check["id"] for check in json.loads(other.stdout)["checks"] if check["outcome"] == "fail"]
    assert (other.returncode, failed) == (1, ["evidence.report_data"])
    unasked = casemate(*command)
    assert unasked.returncode == 2
    assert "--report-data" in unasked.stderr


# options


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ((), "--tee"),
        (("--tee", "sev-snp"), "--dir"),
        (("--dir", "FOLDER"), "--tee"),
        (("--tee", "sgx", "--dir", "FOLDER"), "--tee"),
        (("FILE", "--tee", "sev-snp", "--dir", "FOLDER"), "--tee"),
        (("FILE", "--baseline"), "--baseline"),
        (("FILE", "--policy", "POLICY", "--report-data", "00" * 64), "--report-data"),
        (("--tee", "sev-snp", "--dir", "FOLDER", "--baseline", "--policy", "POLICY"), "--baseline"),
        (("--tee", "sev-snp", "--dir", "FOLDER", "--nonce", "00" * 32), "--nonce"),
        (("--tee", "sev-snp", "--dir", "FOLDER", "--save", "FILE"), "--save"),
        (("--tee", "sev-snp", "--dir", "FOLDER", "--report-data", "xy"), "--report-data"),
        (("--tee", "sev-snp", "--dir", "FOLDER", "--report-data", ""), "--report-data"),
        (("--tee", "sev-snp", "--dir", "FOLDER", "--report-data", "00" * 65), "--report-data"),
        (("--tee", "sev-snp", "--dir", "FOLDER", "--at", "soon"), "--at"),
        (("--tee", "sev-snp", "--dir", "FOLDER", "--json", "--ear", "-"), "--ear"),
        (("--tee", "sev-snp", "--dir", "FOLDER", "--ear-key", "FILE"), "--ear"),
        (("--tee", "sev-snp", "--dir", "FOLDER", "--ear", "-", "--ear-key", "FILE"), "--ear-key"),
        (("--tee", "sev-snp", "--dir", "FOLDER", "--ear", "-", "--ear-key", "CURVE"), "--ear-key"),
    ],
)
def test_options_that_do_not_fit_exit_2_and_name_one(
    options: tuple[str, ...], named: str, forged: Path, rules: Path, tmp_path: Path
) -> None:
    curve = tmp_path / "curve.pem"
    curve.write_bytes(other_curve())
    files = {"FOLDER": forged, "FILE": forged / "report.bin", "POLICY": rules, "CURVE": curve}
    done = casemate("verify", *[files.get(word, word) for word in options])
    assert done.returncode == 2
    assert named in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def other_curve() -> bytes:
    """A private key of a curve that no EAR is signed with."""
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return ec.generate_private_key(ec.SECP384R1()).private_bytes(pem, form, serialization.NoEncryption())


def test_a_raw_report_in_place_of_a_document_is_told_how_to_be_named(forged: Path, rules: Path) -> None:
    done = casemate("verify", forged / "report.bin", "--policy", rules)
    assert done.returncode == 1
    assert "--tee" in done.stderr


def test_a_saved_document_without_a_nonce_is_told_to_name_one(genoa: World, tmp_path: Path) -> None:
    desk = Desk(Scene(genoa), tmp_path)
    done = casemate("verify", desk.document, "--policy", desk.policy(), *AT)
    assert done.returncode == 2
    assert "--nonce" in done.stderr
    assert "statement.nonce" in done.stdout
