"""Whole documents on every platform: one story, and nobody's words in another's mouth."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from attestation import authenticate
from attestation.appraise.baseline import Baseline
from attestation.formats.document import Evidence, Inclusion, build_document
from attestation.formats.manifest import encode_manifest, manifest_sha384
from attestation.formats.merkle import inclusion_paths, leaf_hash
from attestation.formats.statement import build_statement
from attestation.hardware import Hardware, SnpEvidence, TdxEvidence, VtpmEvidence
from attestation.model import Appraisal, Collateral, TdxCollateral, Verdict
from attestation.policy.model import AzurePolicy, Policy, ReferenceSet, SnpPolicy, TdxPolicy
from attestation.verify import verify, verify_hardware
from tests.fakes.amd import NOW, World
from tests.fakes.evidence import NONCE, config, manifest
from tests.fakes.intel import IntelWorld
from tests.fakes.intel_layout import TdFields
from tests.fakes.tpm import PCRS, TpmWorld, azure_snp, azure_tdx

SNP_MEASUREMENT = b"\x31" * 48
TD = TdFields()
TD_SET = ReferenceSet("forged", {"mrtd": TD.mrtd} | {f"rtmr{i}": TD.rtmrs[i] for i in range(4)})
PCR_SET = ReferenceSet("forged", {f"pcr{i}": PCRS[i] for i in range(16)})
SNP = SnpPolicy(measurements=frozenset({SNP_MEASUREMENT}))
TDX = TdxPolicy(sets=(TD_SET,))
POLICY = Policy(
    tees=frozenset({"sev-snp", "tdx", "azure-snp", "azure-tdx"}),
    trust_classes=frozenset({"direct-boot", "paravisor-vtpm"}),
    snp=SNP,
    tdx=TDX,
    azure=AzurePolicy(sets=(PCR_SET,), snp=SNP, tdx=TDX),
)
PLATFORMS = ("sev-snp", "tdx", "azure-snp", "azure-tdx")


@dataclass(frozen=True, slots=True)
class Machines:
    """One forged machine of every platform, whose vendors' roots are pinned."""

    amd: World
    crl: bytes
    intel: IntelWorld
    tpm: TpmWorld

    def sign(self, platform: str, root: bytes) -> Hardware:
        """The platform's evidence over a Merkle root, made as the platform makes it."""
        asked = hashlib.sha256(root).digest()
        snp = {"measurement": SNP_MEASUREMENT, "crls": (self.crl,)}
        if platform == "sev-snp":
            return self.amd.issue(report_data=root, **snp).evidence
        if platform == "tdx":
            return self.intel.issue(report_data=root).evidence
        if platform == "azure-snp":
            return azure_snp(self.amd, self.tpm, extra_data=asked, **snp).evidence
        return azure_tdx(self.intel, self.tpm, extra_data=asked).evidence


@pytest.fixture
def machines(genoa: World, intel: IntelWorld, tpm: TpmWorld, monkeypatch: pytest.MonkeyPatch) -> Machines:
    """The pins are the vendors': a forgery is accepted only if a test replaces the tables themselves."""
    monkeypatch.setattr(authenticate, "AMD_ROOTS", genoa.roots)
    monkeypatch.setattr(authenticate, "INTEL_ROOTS", intel.roots)
    return Machines(genoa, genoa.crl(), intel, tpm)


def document(sign: Callable[[bytes], Hardware], *, nonce: bytes = NONCE) -> Evidence:
    """The parts of a document over one statement."""
    encoded = encode_manifest(manifest(config()))
    statement = build_statement("attestation", nonce, manifest_sha384(encoded))
    root, paths = inclusion_paths([leaf_hash(statement)])
    return Evidence(statement, Inclusion(0, 1, paths[0]), encoded, config(), sign(root))


def judge(evidence: Evidence, policy: Policy = POLICY, collateral: Collateral | None = None) -> Appraisal:
    raw = build_document(evidence, insecure=False)
    return verify(raw, collateral or Collateral(), policy, nonce=NONCE, now=NOW)


def objections(appraisal: Appraisal) -> dict[str, str]:
    return {check.id: check.outcome.value for check in appraisal.failed}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_one_policy_accepts_the_same_gateway_on_every_platform_that_it_names(
    machines: Machines, platform: str
) -> None:
    appraisal = judge(document(lambda root: machines.sign(platform, root)))
    assert objections(appraisal) == {}
    assert (appraisal.verdict, appraisal.authentic) == (Verdict.ACCEPTED, True)
    direct = "paravisor-vtpm" if platform.startswith("azure") else "direct-boot"
    assert appraisal.facts["trust_class"] == direct
    assert (appraisal.decided_at, appraisal.policy_sha256) == (NOW, b"")


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_built_in_policy_takes_no_paravisor_for_a_direct_boot_and_names_no_measurement(
    machines: Machines, platform: str
) -> None:
    appraisal = judge(document(lambda root: machines.sign(platform, root)), Policy())
    found = objections(appraisal)
    assert appraisal.verdict is Verdict.REFUSED
    assert {"snp.measurement", "tdx.measurement"} & found.keys()
    assert ("platform.trust_class" in found) is platform.startswith("azure")
    assert ("platform.tee" in found) is platform.startswith("azure")


@pytest.mark.parametrize("platform", PLATFORMS)
def test_refuses_evidence_over_another_statement(machines: Machines, platform: str) -> None:
    other = machines.sign(platform, bytes(64))
    assert objections(judge(document(lambda _: other))) == {"statement.report_data": "fail"}


@pytest.mark.parametrize("platform", ["azure-snp", "azure-tdx"])
def test_a_tpm_that_signed_the_whole_root_said_something_else(machines: Machines, platform: str) -> None:
    """One form only: what is signed on a virtual TPM is SHA-256 of the root (ADR 0010)."""

    def sign(root: bytes) -> Hardware:
        if platform == "azure-tdx":
            return azure_tdx(machines.intel, machines.tpm, extra_data=root).evidence
        return azure_snp(
            machines.amd, machines.tpm, extra_data=root, measurement=SNP_MEASUREMENT, crls=(machines.crl,)
        ).evidence

    assert objections(judge(document(sign))) == {"statement.report_data": "fail"}


def test_collateral_may_come_from_the_verifier_and_then_replaces_the_evidences_own(
    machines: Machines,
) -> None:
    evidence = document(lambda root: machines.sign("tdx", root))
    assert isinstance(evidence.hardware, TdxEvidence)
    bare = replace(evidence, hardware=replace(evidence.hardware, collateral=TdxCollateral()))
    assert judge(bare).verdict is Verdict.UNDECIDED
    supplied = Collateral(tdx=evidence.hardware.collateral)
    assert judge(bare, collateral=supplied).verdict is Verdict.ACCEPTED
    outdated = machines.intel.issue(platform_status="OutOfDate").collateral
    newer = judge(evidence, collateral=Collateral(tdx=outdated))
    assert objections(newer) == {"tdx.tcb.status": "fail"}


def test_a_missing_revocation_list_leaves_it_undecided_until_the_verifier_supplies_one(
    machines: Machines,
) -> None:
    evidence = document(lambda root: machines.sign("sev-snp", root))
    assert isinstance(evidence.hardware, SnpEvidence)
    bare = replace(evidence, hardware=replace(evidence.hardware, crls=()))
    assert objections(judge(bare)) == {"snp.crl.present": "undecided"}
    assert judge(bare, collateral=Collateral(crls=(machines.crl,))).verdict is Verdict.ACCEPTED


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_root_that_a_policy_names_for_development_is_insecure_on_every_platform(
    genoa: World, intel: IntelWorld, tpm: TpmWorld, platform: str
) -> None:
    machines = Machines(genoa, genoa.crl(), intel, tpm)
    evidence = document(lambda root: machines.sign(platform, root))
    (intel_root,) = intel.roots
    named = genoa.hierarchy.ark.spki_sha256 if platform.endswith("snp") else intel_root
    appraisal = judge(evidence, replace(POLICY, insecure_development_root=named))
    assert (objections(appraisal), appraisal.verdict) == ({}, Verdict.ACCEPTED_INSECURE)
    assert "insecure" in str(appraisal.facts["source"])
    assert judge(evidence).verdict is Verdict.REFUSED


def test_an_event_log_beside_the_quote_has_to_lead_to_its_registers(machines: Machines) -> None:
    evidence = document(lambda root: machines.sign("tdx", root))
    assert isinstance(evidence.hardware, TdxEvidence)
    empty = replace(evidence, hardware=replace(evidence.hardware, dstack_log=b"[]"))
    appraisal = judge(empty)
    assert appraisal.verdict is not Verdict.ACCEPTED
    assert (appraisal.authentic, appraisal.manifest) == (False, None)
    assert {check.id for check in appraisal.failed} <= {"eventlog.parse", "eventlog.replay"}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_bare_evidence_is_bound_to_the_bytes_that_the_verifier_chose(
    machines: Machines, platform: str
) -> None:
    root = bytes(range(64))
    hardware = machines.sign(platform, root)
    signed = hashlib.sha256(root).digest() if isinstance(hardware, VtpmEvidence) else root

    def asked(report_data: bytes | None) -> dict[str, str]:
        found = verify_hardware(hardware, Collateral(), POLICY, now=NOW, report_data=report_data)
        assert (found.verdict is Verdict.ACCEPTED) is (not found.failed)
        return objections(found)

    assert asked(signed) == {}
    assert asked(signed[:-1] + b"\xff") == {"evidence.report_data": "fail"}
    assert asked(None) == {"evidence.report_data": "undecided"}
    no_nonce = replace(POLICY, evidence=replace(POLICY.evidence, accept_without_nonce=True))
    assert verify_hardware(hardware, Collateral(), no_nonce, now=NOW).verdict is Verdict.ACCEPTED


def stripped(evidence: Evidence) -> Evidence:
    """The document without what its vendor certified."""
    bare = (
        {"certificates": ()}
        if isinstance(evidence.hardware, SnpEvidence)
        else {"collateral": TdxCollateral()}
    )
    if isinstance(evidence.hardware, VtpmEvidence):
        bare = {"certificates": (), "collateral": TdxCollateral()}
    return replace(evidence, hardware=replace(evidence.hardware, **bare))


@pytest.mark.parametrize("platform", PLATFORMS)
def test_in_a_document_too_a_definite_failure_beats_missing_material(
    machines: Machines, platform: str
) -> None:
    bare = stripped(document(lambda root: machines.sign(platform, root)))
    assert judge(bare).verdict is Verdict.UNDECIDED
    other_config = replace(bare, config=bare.config + b"\n")
    assert failures(judge(other_config)) == {"manifest.config"}
    other_nonce = document(lambda root: machines.sign(platform, root), nonce=b"\x07" * 32)
    assert failures(judge(stripped(other_nonce))) == {"statement.nonce"}
    elsewhere = machines.sign(platform, bytes(64))
    assert failures(judge(stripped(document(lambda _: elsewhere)))) == {"statement.report_data"}
    assert failures(judge(bare, Policy())) >= {
        f"{platform.removeprefix('azure-').removeprefix('sev-')}.measurement"
    }


def test_a_missing_tpm_quote_contradicts_nothing(machines: Machines) -> None:
    evidence = document(lambda root: machines.sign("azure-snp", root))
    for lost in ({"tpm_quote": b""}, {"tpm_quote": b"junk"}):
        bare = replace(evidence, hardware=replace(evidence.hardware, **lost))
        assert "statement.report_data" not in failures(judge(bare))


def failures(appraisal: Appraisal) -> set[str]:
    return {check_id for check_id, outcome in objections(appraisal).items() if outcome == "fail"}


def test_everything_that_went_in_is_named_by_digest(machines: Machines) -> None:
    evidence = document(lambda root: machines.sign("sev-snp", root))
    raw = build_document(evidence, insecure=False)
    judged = judge(evidence, collateral=Collateral(crls=(machines.crl,)))
    assert judged.inputs["document"] == hashlib.sha256(raw).hexdigest()
    assert judged.inputs.keys() == {"document", "supplied snp-crls"}
    assert judged.evidence_sha256 == hashlib.sha256(raw).digest()
    assert judged.rules == "built-in"
    named = replace(POLICY, sha256=b"\x05" * 32)
    assert (judge(evidence, named).rules, judge(evidence, named).policy_sha256) == ("policy", b"\x05" * 32)


def test_bare_evidence_has_one_digest_that_every_part_changes(machines: Machines) -> None:
    hardware = machines.sign("azure-tdx", bytes(64))
    assert isinstance(hardware, VtpmEvidence)

    def digest(**changes: bytes) -> bytes | None:
        found = verify_hardware(replace(hardware, **changes), Collateral(), Baseline(), now=NOW)
        assert found.rules == "baseline"
        return found.evidence_sha256

    changed = {
        digest(**{name: b"x"})
        for name in ("hcl_report", "td_quote", "tpm_pcrs", "tpm_signature", "maa_token")
    }
    assert len(changed | {digest()}) == 6
    inputs = verify_hardware(hardware, Collateral(tdx=hardware.collateral), Baseline(), now=NOW).inputs
    assert inputs.keys() == {
        "hcl-report",
        "tpm-quote",
        "tdx-quote",
        "tdx-collateral",
        "supplied tdx-collateral",
    }
    assert inputs["tdx-quote"] == hashlib.sha256(hardware.td_quote).hexdigest()


@pytest.mark.parametrize("raw", [b"", b"\0" * 1184, b"HCLA"])
def test_bare_evidence_that_cannot_be_read_is_refused(raw: bytes) -> None:
    for hardware in (SnpEvidence(raw), TdxEvidence(raw), VtpmEvidence("azure-snp", raw)):
        appraisal = verify_hardware(hardware, Collateral(), Policy(), now=NOW)
        assert objections(appraisal) == {"evidence.parse": "fail"}
