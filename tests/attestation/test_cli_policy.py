"""`casemate policy init` and `explain`: drafts from authentic evidence only, and policies in plain words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from attestation.formats.document import build_document
from attestation.pins import write_pin
from tests.attestation.command_line import AT, FRESH, Desk, casemate
from tests.fakes.amd import World
from tests.fakes.evidence import MEASUREMENT, Scene


@pytest.fixture
def desk(genoa: World, tmp_path: Path) -> Desk:
    """A desk with everything right, for a development gateway."""
    return Desk(Scene(genoa), tmp_path)


def root(desk: Desk) -> tuple[str, str]:
    """The option that names the desk's simulated root."""
    return "--insecure-development-root", write_pin(desk.scene.world.hierarchy.ark.spki_sha256)


def test_a_draft_is_refused_until_every_mark_is_gone_and_then_accepts_what_it_was_drafted_from(
    desk: Desk,
) -> None:
    document = desk.document
    done = casemate("policy", "init", document, *AT, *FRESH, *root(desk))
    assert done.returncode == 0, done.stderr
    assert MEASUREMENT.hex() in done.stdout
    assert "unconfirmed" in done.stderr
    draft = desk.write("draft.toml", done.stdout.encode())
    refused = casemate("verify", document, "--policy", draft, *AT, *FRESH)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "unconfirmed" in refused.stderr
    confirmed = desk.write("confirmed.toml", done.stdout.replace("unconfirmed", "compared").encode())
    accepted = casemate("verify", document, "--policy", confirmed, *AT, *FRESH)
    assert accepted.returncode == 3, accepted.stdout


def test_a_draft_needs_no_nonce_for_a_saved_document(desk: Desk) -> None:
    assert casemate("policy", "init", desk.document, *AT, *root(desk)).returncode == 0


def test_nothing_is_drafted_from_a_simulation_that_nobody_named(desk: Desk) -> None:
    done = casemate("policy", "init", desk.document, *AT, *FRESH)
    assert (done.returncode, done.stdout) == (1, "")
    assert "snp.chain.root" in done.stderr


def test_nothing_is_drafted_from_evidence_for_another_question(desk: Desk) -> None:
    done = casemate("policy", "init", desk.document, *AT, "--nonce", "00" * 32, *root(desk))
    assert (done.returncode, done.stdout) == (1, "")
    assert "statement.nonce" in done.stderr


def test_nothing_is_drafted_from_a_configuration_that_was_not_attested(desk: Desk) -> None:
    genuine = desk.scene.evidence()
    swapped = build_document(replace(genuine, config=genuine.config + b"# more\n"), insecure=True)
    done = casemate("policy", "init", desk.write("swapped.json", swapped), *AT, *FRESH, *root(desk))
    assert (done.returncode, done.stdout) == (1, "")


def test_bytes_that_are_no_document_are_refused(desk: Desk) -> None:
    done = casemate("policy", "init", desk.write("x.json", b"{}"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot be read" in done.stderr


def test_a_draft_from_raw_evidence_names_what_runs_there(evidence_dir: Path, tmp_path: Path) -> None:
    place = evidence_dir / "snp-genoa-v5-vcek-oak"
    done = casemate("policy", "init", "--tee", "sev-snp", "--dir", place, "--at", "2025-09-06T17:21:41Z")
    assert done.returncode == 0, done.stderr
    draft = tmp_path / "draft.toml"
    draft.write_text(done.stdout.replace("unconfirmed", "compared"))
    more = ("--at", "2025-09-06T17:21:41Z", "--policy", draft)
    judged = casemate("verify", "--tee", "sev-snp", "--dir", place, *more)
    assert judged.returncode == 2, judged.stdout
    assert "evidence.report_data" in judged.stderr


@pytest.mark.parametrize(
    ("tee", "case", "at"),
    [
        ("sev-snp", "snp-turin-v5-vcek-aci", "2026-03-07T01:04:33Z"),
        ("tdx", "tdx-v5-google-2026", "2026-02-14T00:17:59Z"),
        ("azure-snp", "az-snp-genoa", "2025-02-23T02:21:48Z"),
        ("azure-tdx", "az-tdx-v0", "2026-02-11T09:25:52Z"),
    ],
)
def test_a_confirmed_draft_accepts_real_evidence_of_its_platform_and_no_other_data(
    tee: str, case: str, at: str, evidence_dir: Path, tmp_path: Path
) -> None:
    raw = ("--tee", tee, "--dir", evidence_dir / case, "--at", at)
    drafted = casemate("policy", "init", *raw)
    assert drafted.returncode == 0, drafted.stderr
    policy = tmp_path / "policy.toml"
    policy.write_text(drafted.stdout.replace("unconfirmed", "compared"))
    facts = json.loads(casemate("verify", *raw, "--baseline", "--json").stdout)["facts"]
    tpm = facts.get("azure", {}).get("tpm_quote", {})
    data = tpm.get("extra_data_hex") or facts["report_data"]
    accepted = casemate("verify", *raw, "--policy", policy, "--report-data", data)
    assert accepted.returncode == 0, accepted.stdout
    other = casemate("verify", *raw, "--policy", policy, "--report-data", "ff" * 64)
    assert other.returncode == 1
    assert "evidence.report_data" in other.stdout


def test_missing_collateral_leaves_nothing_to_draft_from(evidence_dir: Path) -> None:
    place = evidence_dir / "snp-genoa-v5-tinfoil-no-vcek"
    done = casemate("policy", "init", "--tee", "sev-snp", "--dir", place)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--online" in done.stderr


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ((), "--tee"),
        (("FILE", "--tee", "tdx"), "--tee"),
        (("FILE", "--insecure-development-root", "sha256/abc"), "--insecure-development-root"),
    ],
)
def test_options_that_do_not_fit_exit_2(options: tuple[str, ...], named: str, desk: Desk) -> None:
    words = [str(desk.document) if word == "FILE" else word for word in options]
    done = casemate("policy", "init", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert named in done.stderr


# explain


def test_the_built_in_policy_is_explained_when_none_is_named() -> None:
    done = casemate("policy", "explain")
    assert done.returncode == 0
    assert "built-in policy" in done.stdout
    assert "Milan" in done.stdout


def test_a_policy_is_explained_with_its_weaknesses_marked(desk: Desk) -> None:
    owned = f'[snp]\nproducts = ["Milan"]\n[operators.mine]\nchip_ids = ["{"00" * 64}"]\n'
    done = casemate("policy", "explain", desk.policy(owned))
    assert done.returncode == 0
    assert any(line.strip().startswith("!") and "Milan" in line for line in done.stdout.splitlines())
    assert "INSECURE" in done.stdout


def test_a_draft_is_explained_as_a_draft(desk: Desk) -> None:
    draft = desk.write("draft.toml", b'format = "casemate/policy/1"\ntees = ["tdx"]  # Unconfirmed\n')
    done = casemate("policy", "explain", draft)
    assert done.returncode == 0
    assert done.stdout.startswith("A DRAFT: 1 ")


@pytest.mark.parametrize("raw", [b"", b"not toml [", b'format = "casemate/policy/1"\nunknown = 1\n', b"\xff"])
def test_what_is_no_policy_exits_2_with_a_reason(raw: bytes, desk: Desk) -> None:
    done = casemate("policy", "explain", desk.write("broken.toml", raw))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("casemate: policy")


def test_a_policy_of_a_megabyte_is_the_longest_that_is_read(desk: Desk) -> None:
    long = desk.write("long.toml", b'format = "casemate/policy/1"\n#' + b"x" * (1024 * 1024))
    done = casemate("policy", "explain", long)
    assert done.returncode == 2
    assert "longer than" in done.stderr


def test_release_files_are_read_beside_the_policy_and_nowhere_else(desk: Desk) -> None:
    text = 'format = "casemate/policy/1"\n[reference]\nreleases = ["{}"]\n'
    policy = desk.write("policy.toml", text.format("release.jws").encode())
    missing = casemate("policy", "explain", policy)
    assert missing.returncode == 2
    assert "release.jws" in missing.stderr
    desk.write("release.jws", b"not a release")
    unsigned = casemate("policy", "explain", policy)
    assert unsigned.returncode == 2
    assert "cannot read" not in unsigned.stderr
    elsewhere = desk.write("policy.toml", text.format("../release.jws").encode())
    outside = casemate("policy", "explain", elsewhere)
    assert outside.returncode == 2
    assert "cannot read" not in outside.stderr  # nobody tried
