"""`casemate collateral fetch` and `verify --online`, against our own service with real collateral."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from attestation.hardware import TdxEvidence
from attestation.raw_files import read_hardware
from tests.attestation.command_line import casemate
from tests.fakes.pcs import Pcs
from tests.fakes.vendor_host import running

CASE, AT = "tdx-v5-google-2026", "2026-02-14T00:17:59Z"
NOBODY = ("--pccs", "https://localhost:1")


@pytest.fixture
def bare(evidence_dir: Path, tmp_path: Path) -> Path:
    """A folder with a real quote and nothing else."""
    place = tmp_path / "bare"
    place.mkdir()
    shutil.copy(evidence_dir / CASE / "quote.bin", place)
    return place


@pytest.fixture
def service(evidence_dir: Path) -> Iterator[Pcs]:
    """A PCCS with that quote's real collateral."""
    evidence = read_hardware("tdx", evidence_dir / CASE)
    assert isinstance(evidence, TdxEvidence)
    cases = json.loads((evidence_dir / "MANIFEST.json").read_text())["cases"]
    fmspc = next(case["expected"]["pck"]["fmspc"] for case in cases if case["id"] == CASE)
    pccs = Pcs.forge(is_pccs=True)
    pccs.publish(evidence.collateral, fmspc, prefix="")
    with running(pccs.host):
        yield pccs


def asking(service: Pcs, folder: Path) -> tuple[str | Path, ...]:
    """Options that ask this service, and keep nothing anywhere else."""
    authority = folder / "service.pem"
    authority.write_text(service.host.ca)
    return "--pccs", service.host.url, "--pccs-ca", authority, "--cache", folder / "cache"


def test_online_fetches_what_a_bare_quote_lacks(bare: Path, service: Pcs, tmp_path: Path) -> None:
    judged = ("verify", "--tee", "tdx", "--dir", bare, "--at", AT, "--baseline")
    assert casemate(*judged).returncode == 2
    done = casemate(*judged, "--online", *asking(service, tmp_path), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["facts"]["tcb_status"] == "UpToDate"
    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0


def test_nothing_is_asked_without_the_option(bare: Path, service: Pcs, tmp_path: Path) -> None:
    options = asking(service, tmp_path)
    casemate("verify", "--tee", "tdx", "--dir", bare, "--at", AT, "--baseline", *options)
    assert service.host.asked == []


def test_a_service_that_does_not_answer_leaves_it_undecided_and_is_told(bare: Path, tmp_path: Path) -> None:
    judged = ("verify", "--tee", "tdx", "--dir", bare, "--at", AT, "--baseline", "--json")
    done = casemate(*judged, "--online", *NOBODY, "--cache", tmp_path / "cache")
    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (2, "undecided")
    assert "localhost:1" in done.stderr


def test_fetched_files_are_what_verify_takes_without_a_network(
    bare: Path, service: Pcs, tmp_path: Path
) -> None:
    out = tmp_path / "collateral"
    command = ("collateral", "fetch", "--tee", "tdx", "--dir", bare, "--out", out)
    done = casemate(*command, *asking(service, tmp_path))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert {path.name for path in out.iterdir()} >= {"tcb_info.json", "qe_identity.json", "pck_crl.der"}
    judged = ("verify", "--tee", "tdx", "--dir", bare, "--at", AT, "--baseline", "--collateral", out)
    assert casemate(*judged).returncode == 0


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ((), "--out"),
        (("--out", "OUT", *NOBODY), "nothing was written"),
        (("--out", "OUT", "--pccs", "http://localhost:1"), "https"),
        (("--out", "OUT", "TARGET", *NOBODY), "either"),
    ],
)
def test_a_fetch_that_yields_nothing_exits_2_and_writes_nothing(
    more: tuple[str, ...], named: str, bare: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = [str(out) if word == "OUT" else word for word in more]
    done = casemate("collateral", "fetch", "--tee", "tdx", "--dir", bare, "--cache", tmp_path / "c", *words)
    assert done.returncode == 2
    assert named in done.stderr
    assert not out.exists()
    assert "Traceback" not in done.stderr


def test_evidence_that_cannot_be_read_is_told_and_fetches_nothing(bare: Path, tmp_path: Path) -> None:
    (bare / "quote.bin").write_bytes(b"not a quote")
    command = ("collateral", "fetch", "--tee", "tdx", "--dir", bare, "--out", tmp_path / "out")
    done = casemate(*command, *NOBODY, "--cache", tmp_path / "cache")
    assert done.returncode == 2
    assert "cannot be read" in done.stderr


def test_a_cache_that_others_can_write_to_is_not_used(bare: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    command = ("collateral", "fetch", "--tee", "tdx", "--dir", bare, "--out", tmp_path / "out")
    done = casemate(*command, *NOBODY, "--cache", cache)
    assert done.returncode == 2
    assert "0700" in done.stderr


def test_what_is_fetched_replaces_a_set_of_intels_that_does_not_fit(
    bare: Path, service: Pcs, tmp_path: Path, evidence_dir: Path
) -> None:
    other = evidence_dir / "tdx-v4-phala-uptodate"
    judged = ("verify", "--tee", "tdx", "--dir", bare, "--at", AT, "--baseline", "--collateral", other)
    assert casemate(*judged).returncode != 0
    assert casemate(*judged, "--online", *asking(service, tmp_path)).returncode == 0


def test_a_folder_that_suffices_leaves_nothing_to_ask(
    bare: Path, service: Pcs, tmp_path: Path, evidence_dir: Path
) -> None:
    judged = ("verify", "--tee", "tdx", "--dir", bare, "--at", AT, "--baseline")
    supplied = ("--collateral", evidence_dir / CASE)
    assert casemate(*judged, *supplied, "--online", *asking(service, tmp_path)).returncode == 0
    assert service.host.asked == []
