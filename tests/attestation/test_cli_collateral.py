"""`casemate collateral fetch` and `verify --online`, against our own service with real collateral."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from attestation.hardware import TdxEvidence
from attestation.raw_files import read_hardware
from tests.attestation.command_line import Desk, casemate
from tests.fakes.amd import World
from tests.fakes.evidence import Scene
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


@pytest.mark.parametrize(
    "option", [("--pccs", "garbage"), ("--pccs-ca", "FILE"), ("--cache", "DIR"), ("--keep", "DIR")]
)
@pytest.mark.parametrize("command", ["verify", "policy init"])
def test_options_for_asking_are_refused_where_nobody_is_asked(
    command: str, option: tuple[str, str], bare: Path
) -> None:
    if command == "policy init" and option[0] == "--keep":
        return
    files = {"FILE": str(bare / "quote.bin"), "DIR": str(bare / "new")}
    words = [files.get(word, word) for word in option]
    done = casemate(*command.split(), "--tee", "tdx", "--dir", bare, "--at", AT, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{option[0]} means nothing" in done.stderr
    assert "--online" in done.stderr
    assert not (bare / "new").exists()


def test_a_name_that_no_service_has_stops_it_before_anything_is_judged(bare: Path) -> None:
    done = casemate("verify", "--tee", "tdx", "--dir", bare, "--baseline", "--online", "--pccs", "garbage")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--pccs" in done.stderr


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
    done = casemate(*command, *asking(service, tmp_path), "--at", AT)
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


def test_a_night_without_a_network_does_not_look_like_fresh_collateral(
    evidence_dir: Path, tmp_path: Path
) -> None:
    """The evidence carries a whole set of its own, which ran out months ago."""
    out = tmp_path / "out"
    command = ("collateral", "fetch", "--tee", "tdx", "--dir", evidence_dir / CASE, "--out", out)
    done = casemate(*command, *NOBODY, "--cache", tmp_path / "cache")
    assert done.returncode == 2
    assert "nothing was written" in done.stderr
    assert not out.exists()


def test_what_a_service_holds_beyond_its_time_is_not_written(
    bare: Path, service: Pcs, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ("collateral", "fetch", "--tee", "tdx", "--dir", bare, "--out", out)
    done = casemate(*command, *asking(service, tmp_path))
    assert done.returncode == 2
    assert "not valid at that time" in done.stderr
    assert not out.exists()


def test_a_part_of_it_is_written_and_told_by_what_is_missing(
    bare: Path, service: Pcs, tmp_path: Path
) -> None:
    service.host.published.pop(next(target for target in service.host.published if "identity" in target))
    out = tmp_path / "out"
    command = ("collateral", "fetch", "--tee", "tdx", "--dir", bare, "--out", out, "--at", AT)
    done = casemate(*command, *asking(service, tmp_path))
    assert done.returncode == 2
    assert "missing: QE identity\n" in done.stderr
    assert (out / "tcb_info.json").is_file()
    assert not (out / "qe_identity.json").exists()


def test_a_simulated_machine_is_told_that_nothing_is_published_about_it(genoa: World, tmp_path: Path) -> None:
    document = Desk(Scene(genoa), tmp_path).document
    done = casemate("collateral", "fetch", document, "--out", tmp_path / "out", "--cache", tmp_path / "c")
    assert done.returncode == 2
    assert "simulated machine" in done.stderr
    assert "try again later" not in done.stderr


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


# Deciding again


def again(page: Path) -> list[str]:
    """The words of the command that a page names for deciding the same again."""
    found = re.search(r"<pre>(casemate verify [^<]+)</pre>", page.read_text())
    assert found is not None
    return shlex.split(html.unescape(found.group(1)))[1:]


def test_what_was_fetched_and_kept_decides_the_same_again_without_a_network(
    bare: Path, service: Pcs, tmp_path: Path
) -> None:
    keep, page, later = tmp_path / "kept", tmp_path / "page.html", tmp_path / "later.json"
    judged = ("verify", "--tee", "tdx", "--dir", bare, "--at", AT, "--baseline", "--json")
    options = ("--online", "--keep", keep, "--html", page, *asking(service, tmp_path))
    online = casemate(*judged, *options)
    assert online.returncode == 0, online.stderr
    command = again(page)
    assert command[-4:] == ["--collateral", str(keep), "--at", AT]
    later.write_text(casemate(*command, "--json").stdout)
    assert later.read_text() == online.stdout
    assert "COLLATERAL" not in page.read_text()


def test_what_is_supplied_beside_is_kept_too(bare: Path, service: Pcs, tmp_path: Path) -> None:
    beside, keep, page = tmp_path / "beside", tmp_path / "kept", tmp_path / "page.html"
    beside.mkdir()
    (beside / "crl.der").write_bytes(b"a list of AMD's, which is of no use here")
    judged = ("verify", "--tee", "tdx", "--dir", bare, "--at", AT, "--baseline", "--collateral", beside)
    options = ("--online", "--keep", keep, "--html", page, *asking(service, tmp_path))
    assert casemate(*judged, *options).returncode == 0
    assert (keep / "amd_crl.der").read_bytes() == (beside / "crl.der").read_bytes()
    assert casemate(*again(page)).returncode == 0


def test_what_was_fetched_and_not_kept_is_said_to_be_lost(bare: Path, service: Pcs, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    judged = ("verify", "--tee", "tdx", "--dir", bare, "--at", AT, "--baseline", "--html", page)
    done = casemate(*judged, "--online", *asking(service, tmp_path))
    assert done.returncode == 0
    assert "--keep DIR" in done.stderr
    assert "--keep DIR" in page.read_text()
    assert again(page)[-4:] == ["--collateral", "COLLATERAL", "--at", AT]


def test_nothing_is_lost_where_the_evidence_had_it_all(
    evidence_dir: Path, service: Pcs, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    judged = (
        "verify",
        "--tee",
        "tdx",
        "--dir",
        evidence_dir / CASE,
        "--at",
        AT,
        "--baseline",
        "--html",
        page,
    )
    done = casemate(*judged, "--online", *asking(service, tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "COLLATERAL" not in page.read_text()


def test_a_folder_that_keeps_one_decision_is_not_written_over_by_another(
    bare: Path, service: Pcs, tmp_path: Path
) -> None:
    keep = tmp_path / "kept"
    keep.mkdir()
    (keep / "tcb_info.json").write_bytes(b"{}")
    judged = ("verify", "--tee", "tdx", "--dir", bare, "--at", AT, "--baseline", "--online", "--keep", keep)
    done = casemate(*judged, *asking(service, tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "--keep" in done.stderr
    assert (keep / "tcb_info.json").read_bytes() == b"{}"
    assert service.host.asked == []
