"""Every real TDX and SGX quote that was collected, against facts and verdicts computed elsewhere.

The same cases go to dcap-qvl, another verifier; where it says something else, `DISAGREES` tells why.
"""

from __future__ import annotations

import base64
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import dcap_qvl
import pytest

from attestation.check import Check, Outcome
from attestation.model import Facts, TdxCollateral
from attestation.tdx.abi import TdReport, parse_quote, parse_tdreport
from attestation.tdx.roots import INTEL_ROOTS
from attestation.tdx.verify import TdxClaims, authenticate_quote
from attestation.x509 import load_certificate, load_crl, spki_digest
from tests.conftest import find_evidence

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
_AT_COLLECTION = {"at": "2026-11-21T00:00:00Z"}
_ABOUT_THE_CASE = ("at", "oracle_dcap_qvl")
_ACCEPTABLE = ("UpToDate", "SWHardeningNeeded")
_NEED_COLLATERAL = (
    "tdx.qe.identity",
    "tdx.crl.",
    "tdx.tcb_info.",
    "tdx.qe_identity.",
    "tdx.module.identity",
    "tdx.tcb.",
)


def _tdx_cases() -> list[dict[str, Any]]:
    """Every case with a quote, Azure's among them."""
    place = find_evidence()
    if place is None:
        return []
    cases = json.loads((place / "MANIFEST.json").read_text())["cases"]
    return [case for case in cases if (place / case["id"] / "quote.bin").is_file()]


def _evaluations() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Every case at every time for which the manifest says what holds; without such a time, at collection."""
    return [
        (case, evaluation)
        for case in _CASES
        for evaluation in case["expected"].get("evaluations") or [_AT_COLLECTION]
    ]


_CASES = _tdx_cases()
_NONE: dict[str, Any] = {"id": "no collection"}
every_case = pytest.mark.parametrize("case", _CASES or [_NONE], ids=lambda case: case["id"])
every_evaluation = pytest.mark.parametrize(
    ("case", "evaluation"),
    _evaluations() or [(_NONE, _NONE)],
    ids=lambda value: value.get("id") or value.get("at"),
)


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    return path.read_bytes() if path.is_file() else b""


def _chain(folder: Path, name: str) -> tuple[bytes, ...]:
    return tuple(base64.b64decode(body) for body in _PEM.findall(_read(folder, name).decode()))


def collateral_of(folder: Path) -> TdxCollateral:
    """What the folder holds."""
    signers = _chain(folder, "tcb_signing_chain.pem")
    return TdxCollateral(
        tcb_info=_read(folder, "tcb_info.json"),
        tcb_info_chain=signers,
        qe_identity=_read(folder, "qe_identity.json"),
        qe_identity_chain=signers,
        pck_crl=_read(folder, "pck_crl.der"),
        pck_crl_chain=_chain(folder, "pck_crl_issuer_chain.pem"),
        root_crl=_read(folder, "root_ca_crl.der"),
    )


def judge(folder: Path, at: str, quote: bytes | None = None) -> tuple[list[Check], TdxClaims | None, Facts]:
    """Authenticate a case's quote, or another in its place."""
    return authenticate_quote(
        parse_quote(quote or _read(folder, "quote.bin")),
        collateral_of(folder),
        roots=INTEL_ROOTS,
        development_root=None,
        now=datetime.fromisoformat(at),
    )


def objecting(checks: list[Check], outcome: Outcome) -> set[str]:
    """Ids of the checks with this outcome."""
    return {check.id for check in checks if check.outcome is outcome}


def test_the_collection_has_the_seventeen_quotes_that_this_suite_was_written_for(evidence_dir: Path) -> None:
    assert evidence_dir.is_dir()
    assert len(_CASES) == 17
    assert len(_evaluations()) == 31


@every_evaluation
def test_every_fact_is_the_one_that_others_read(
    evidence_dir: Path, case: dict[str, Any], evaluation: dict[str, Any]
) -> None:
    _, _, facts = judge(evidence_dir / case["id"], evaluation["at"])
    expected = case["expected"]
    wanted = expected["facts"] | {name: expected[name] for name in expected if name.startswith("pck_not_")}
    wanted |= {name: value for name, value in evaluation.items() if name not in _ABOUT_THE_CASE}
    assert {name: facts.get(name, "absent") for name in wanted} == wanted
    pck = facts["pck"]
    assert isinstance(pck, dict)
    assert expected.get("pck", {}).items() <= pck.items()


@every_evaluation
def test_every_quote_gets_the_verdict_that_the_manifest_derives(
    evidence_dir: Path, case: dict[str, Any], evaluation: dict[str, Any]
) -> None:
    """`strict_accept`: authentic, collateral valid, status good, no debugging, no service TD."""
    checks, claims, _ = judge(evidence_dir / case["id"], evaluation["at"])
    failed = objecting(checks, Outcome.FAIL)
    accepted = (
        claims is not None
        and claims.status in _ACCEPTABLE
        and not claims.body.td_attributes.debug
        and not any(claims.body.mrservicetd or b"")
    )
    holds = evaluation.get("collateral_valid", False)
    azure = case["tee"].startswith("azure")  # there, more than the quote decides
    assert accepted == (
        holds and evaluation["tcb_status"] in _ACCEPTABLE and not case["id"].endswith("debug")
    )
    assert azure or accepted == (case["expected"]["strict_accept"] and holds)
    if evaluation.get("error") == "collateral expired":
        assert failed == set()


@every_case
def test_the_layer_that_refuses_is_the_one_that_the_manifest_names(
    evidence_dir: Path, case: dict[str, Any]
) -> None:
    """Signatures and the chain hold in all; only the root, the kind of quote or the TCB may be wrong."""
    expected = case["expected"]
    evaluation = (expected.get("evaluations") or [_AT_COLLECTION])[0]
    checks, _, _ = judge(evidence_dir / case["id"], evaluation["at"])
    wanted = set()
    if not expected["pck_chain_root_is_intel"]:
        wanted |= {"tdx.pck.root"}
    if case["tee"] == "sgx":
        wanted |= {"tdx.quote.tee", "tdx.quote.header"}
    if str(evaluation.get("tcb_status")).startswith("TcbNotSupported"):
        wanted |= {"tdx.tcb.level"}
    assert objecting(checks, Outcome.FAIL) == wanted
    undecided = objecting(checks, Outcome.UNDECIDED)
    if "collateral_valid" in evaluation:
        assert undecided == set()
    else:
        needing = {check.id for check in checks if check.id.startswith(_NEED_COLLATERAL)}
        no_td = {"tdx.module.running"} if case["tee"] == "sgx" else set()
        assert undecided == needing | no_td
        assert len(needing) == 10


def test_the_two_authentic_quotes_with_a_module_updated_since_launch_are_told_apart(
    evidence_dir: Path,
) -> None:
    checks, _, facts = judge(evidence_dir / "tdx-v5-google-2026", "2026-02-14T00:17:59Z")
    found = next(check for check in checks if check.id == "tdx.module.running")
    assert (found.outcome, found.found.count("0d0104")) == (Outcome.PASS, 1)
    assert (facts["tee_tcb_svn"], facts["tee_tcb_svn2"]) == ("0b0104" + "00" * 13, "0d0104" + "00" * 13)


def test_claims_repeat_what_the_collateral_says(evidence_dir: Path) -> None:
    _, claims, _ = judge(evidence_dir / "az-tdx-v0", "2026-02-11T09:25:52Z")
    assert claims is not None
    assert (claims.status, claims.platform_status) == ("OutOfDate", "OutOfDate")
    assert (claims.module_status, claims.qe_status) == ("OutOfDate", "UpToDate")
    assert claims.advisory_ids[0] == "INTEL-SA-00960"
    assert (claims.evaluation_number, claims.pck.pcesvn, claims.insecure) == (18, 11, False)
    assert claims.collateral_issued.isoformat() == "2026-01-27T09:01:45+00:00"
    assert claims.root_spki_sha256 in INTEL_ROOTS


def test_one_evaluation_of_the_oldest_piece_counts(evidence_dir: Path) -> None:
    """In this case TCB info is of evaluation 20, and the QE identity still of 19."""
    _, _, facts = judge(evidence_dir / "tdx-v4-dstack-example-2024", "2026-08-28T05:21:24Z")
    assert (facts["tcb_eval_number"], facts["qe_eval_number"]) == (20, 19)


def test_the_pinned_root_is_the_collected_one(evidence_dir: Path) -> None:
    collected = _chain(evidence_dir / "roots", "intel-sgx-root-ca.pem")
    assert {spki_digest(load_certificate(der)) for der in collected} == set(INTEL_ROOTS)


def test_real_revocation_lists_are_read_and_their_entries_found(evidence_dir: Path) -> None:
    crls = json.loads(_read(evidence_dir / "roots", "ROOTS.json"))["crls"]
    for entry in crls:
        crl = load_crl((evidence_dir / entry["path"]).read_bytes())
        assert len(crl) == entry["revoked_count"]
        for revoked in entry["revoked"]:
            assert crl.get_revoked_certificate_by_serial_number(int(revoked["serial"], 16)) is not None


@pytest.mark.parametrize("name", ["az-tdx-v0", "az-tdx-openpcc-dcesv5"])
def test_a_real_tdreport_says_what_its_quote_says(evidence_dir: Path, name: str) -> None:
    report = parse_tdreport(_read(evidence_dir / name, "td_report.bin"))
    body = parse_quote(_read(evidence_dir / name, "quote.bin")).body
    assert isinstance(body, TdReport)
    shared = ("mrtd", "rtmrs", "report_data", "td_attributes", "xfam", "mrseam", "tee_tcb_svn", "mrowner")
    assert [getattr(report, field) for field in shared] == [getattr(body, field) for field in shared]


# --- another verifier --------------------------------------------------------------------------------------

# Where dcap-qvl refuses what we find authentic. It mixes policy into authentication: attributes of the TD are
# claims here, and the policy refuses them (debugging always, SEPT_VE_DISABLE unless it says otherwise).
DISAGREES = {
    "az-tdx-v0": "SEPT_VE_DISABLE is not enabled",
    "az-tdx-openpcc-dcesv5": "SEPT_VE_DISABLE is not enabled",
    "tdx-v4-debug": "Debug mode is enabled",
}


def ask_dcap_qvl(folder: Path, at: str, quote: bytes | None = None) -> tuple[str, list[str]]:
    """Its status and advisories. Raises ValueError if it refuses."""
    collateral = dcap_qvl.QuoteCollateralV3.from_json(_read(folder, "collateral.json").decode())
    seconds = int(datetime.fromisoformat(at).timestamp())
    report = dcap_qvl.verify(quote or _read(folder, "quote.bin"), collateral, seconds)
    return str(report.status), sorted(report.advisory_ids)


@every_evaluation
def test_another_verifier_agrees_or_its_disagreement_is_explained(
    evidence_dir: Path, case: dict[str, Any], evaluation: dict[str, Any]
) -> None:
    folder = evidence_dir / case["id"]
    _, claims, _ = judge(folder, evaluation["at"])
    if "collateral_valid" not in evaluation:
        assert claims is None  # and there is nothing that dcap-qvl could be asked with
    elif claims is not None and case["id"] not in DISAGREES:
        assert ask_dcap_qvl(folder, evaluation["at"]) == (claims.status, list(claims.advisory_ids))
    else:
        said = DISAGREES[case["id"]] if claims is not None else "Verification failed"
        with pytest.raises(ValueError, match=said):
            ask_dcap_qvl(folder, evaluation["at"])


def test_another_verifier_lets_an_unsigned_field_lie_and_we_do_not(evidence_dir: Path) -> None:
    """The outer certification type stands outside every signature: 6 says what follows, 5 would be a lie."""
    folder, at = evidence_dir / "tdx-v4-gcp-flashbots", "2026-02-11T09:25:52Z"
    quote = bytearray(_read(folder, "quote.bin"))
    place = 48 + 584 + 4 + 128
    assert quote[place] == 6
    quote[place] = 5
    assert ask_dcap_qvl(folder, at, bytes(quote))[0] == "UpToDate"
    checks, claims, _ = judge(folder, at, bytes(quote))
    assert claims is None
    assert objecting(checks, Outcome.FAIL) == {"tdx.quote.header"}
