"""Four findings that an audit of a comparable system published (Trail of Bits, 2026), as regression tests.

TOB-WAPI-13: configuration was loaded after measurement. TOB-WAPI-17: the host's tables were not measured.
TOB-WAPI-8: patch levels were taken from what the report says of itself, not from the certificate. TOB-WAPI-7:
no nonce of the client's was in the evidence, so that old evidence with stolen keys could be replayed.
The launcher's side of the first (no environment reaches a process) is in tests/enclave/test_launcher.py.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from attestation.formats.manifest import encode_manifest, manifest_sha384
from attestation.formats.statement import build_statement
from attestation.model import Collateral, Verdict
from attestation.policy.model import BUILT_IN, Policy, ReferenceSet, TdxPolicy
from attestation.verify import verify_hardware
from tests.fakes.amd import NOW, World
from tests.fakes.documents import Gateway, azure_gateway, gateway_on, snp_gateway, tdx_gateway
from tests.fakes.evidence import NONCE, config, manifest, provider
from tests.fakes.intel import IntelWorld, spki_sha256
from tests.fakes.intel_layout import SVNS, TdFields
from tests.fakes.tpm import PCRS, TpmWorld, azure_snp

EVIL = config(provider(host="collector.example"))


# --- TOB-WAPI-13: what the gateway was told is bound before anybody is served -----------------------------


def _told(gateway: Gateway, settings: bytes, *, as_far_as: int) -> bytes:
    """The document with other configuration bytes, and with that many digests above them made to fit."""
    encoded = encode_manifest(manifest(settings))
    document = gateway.with_payload("config", settings)
    if as_far_as >= 1:
        document = replace(gateway, document=document).with_payload("manifest", encoded)
    if as_far_as >= 2:
        statement = build_statement("attestation", NONCE, manifest_sha384(encoded))
        document = replace(gateway, document=document).with_payload("statement", statement)
    return document


@pytest.mark.parametrize("platform", ["snp", "tdx", "azure"])
@pytest.mark.parametrize(
    ("as_far_as", "check"),
    [(0, "manifest.config"), (1, "statement.manifest"), (2, "statement.report_data")],
)
def test_configuration_that_was_not_there_at_measurement_is_refused_at_the_first_digest_that_tells(
    genoa: World, intel: IntelWorld, tpm: TpmWorld, platform: str, as_far_as: int, check: str
) -> None:
    gateways = {
        "snp": lambda: snp_gateway(genoa),
        "tdx": lambda: tdx_gateway(intel),
        "azure": lambda: azure_gateway(genoa, tpm),
    }
    gateway = gateways[platform]()
    assert gateway.objections() == {}
    assert gateway.objections(_told(gateway, EVIL, as_far_as=as_far_as)) == {check: "fail"}


@pytest.mark.parametrize(
    ("settings", "check"),
    [
        (EVIL, "config.provider.host"),
        (config(provider(pins=())), "config.provider.pins"),
        (config(provider(tier="tls-webpki")), "config.provider.tier"),
        (config(extra='\n[insecure_development]\nadmin_key_sha256 = "00"\n'), "config.insecure_development"),
        (b"LD_PRELOAD=/evil.so\n", "config.readable"),
    ],
)
def test_a_genuine_image_that_was_told_something_else_is_refused_though_its_measurement_matches(
    genoa: World, settings: bytes, check: str
) -> None:
    """Measured and bound is not yet acceptable: the bytes themselves are appraised."""
    honest = snp_gateway(genoa)
    crls = (genoa.crl(),)
    told = gateway_on(
        lambda root: genoa.issue(report_data=root, crls=crls).evidence, honest.policy, settings=settings
    )
    appraisal = told.appraise()
    assert appraisal.verdict is Verdict.REFUSED
    assert check in {failed.id for failed in appraisal.failed}
    assert "snp.measurement" not in {failed.id for failed in appraisal.failed}


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"host_data": b"\1" * 32}, "snp.host_data"),
        ({"id_key_digest": b"\1" * 48}, "snp.id_key"),
        ({"author_key_digest": b"\1" * 48}, "snp.author_key"),
    ],
)
def test_launch_data_of_the_hosts_choice_is_refused_unless_a_policy_names_it(
    genoa: World, changes: dict[str, bytes], check: str
) -> None:
    assert snp_gateway(genoa, **changes).objections() == {check: "fail"}


@pytest.mark.parametrize(
    ("field", "check"),
    [
        ("mrconfigid", "tdx.config_id"),
        ("mrowner", "tdx.owner"),
        ("mrownerconfig", "tdx.owner_config"),
        ("mrservicetd", "tdx.service_td"),
    ],
)
def test_the_same_holds_for_what_a_host_may_give_a_td(intel: IntelWorld, field: str, check: str) -> None:
    assert tdx_gateway(intel, **{field: b"\1" * 48}).objections() == {check: "fail"}


# --- TOB-WAPI-17: tables of the host's are measured, and no register is left unlooked at ------------------


@pytest.mark.parametrize("register", range(4))
def test_other_tables_under_the_same_firmware_are_refused(intel: IntelWorld, register: int) -> None:
    """ACPI tables end up in RTMR0, what they make firmware and kernel load in the others; MRTD stays."""
    rtmrs = list(TdFields().rtmrs)
    rtmrs[register] = hashlib.sha384(b"other tables").digest()
    assert tdx_gateway(intel, rtmrs=tuple(rtmrs)).objections() == {"tdx.measurement": "fail"}


def test_a_register_that_no_policy_states_has_to_be_zero_and_is_never_just_ignored(
    intel: IntelWorld,
) -> None:
    gateway = tdx_gateway(intel)
    only_firmware = TdxPolicy(sets=(ReferenceSet("firmware", {"mrtd": TdFields().mrtd}),))
    careless = replace(gateway, policy=replace(gateway.policy, tdx=only_firmware))
    assert careless.objections() == {"tdx.measurement": "fail"}
    zeros = tdx_gateway(intel, rtmrs=(bytes(48),) * 4)
    assert replace(zeros, policy=careless.policy).objections() == {}


@pytest.mark.parametrize("pcr", range(16))
def test_the_same_holds_for_every_pcr_below_a_paravisor(genoa: World, tpm: TpmWorld, pcr: int) -> None:
    pcrs = [*PCRS]
    pcrs[pcr] = hashlib.sha256(b"other tables").digest()
    assert azure_gateway(genoa, tpm, pcrs=tuple(pcrs)).objections() == {"azure.measurement": "fail"}


def test_pcrs_that_a_quote_leaves_out_are_not_taken_from_the_list_beside_it(
    genoa: World, tpm: TpmWorld
) -> None:
    left_out = ((0x000B, tuple(index for index in range(24) if index != 1)),)
    assert azure_gateway(genoa, tpm, pcr_banks=left_out).objections() == {"azure.measurement": "undecided"}


def _log(*events: dict[str, Any]) -> tuple[bytes, bytes]:
    """A log of RTMR0, and the value it leads to."""
    register = bytes(48)
    for event in events:
        register = hashlib.sha384(register + bytes.fromhex(event["digest"])).digest()
    return json.dumps(events).encode(), register


def _event(name: str, payload: bytes) -> dict[str, Any]:
    """A runtime event, whose digest is over its type, name and payload."""
    measured = (0x08000001).to_bytes(4, "little") + b":" + name.encode() + b":" + payload
    digest = hashlib.sha384(measured).hexdigest()
    return {
        "imr": 0,
        "event_type": 0x08000001,
        "digest": digest,
        "event": name,
        "event_payload": payload.hex(),
    }


@pytest.mark.parametrize("lie", ["payload", "left out", "reordered", "digest", "none"])
def test_a_log_that_tells_other_tables_than_were_measured_is_refused(intel: IntelWorld, lie: str) -> None:
    first, second = _event("acpi", b"the tables"), _event("kernel", b"the kernel")
    log, register = _log(first, second)
    told = {
        "none": log,
        "payload": _log(first | {"event_payload": b"honest tables".hex()}, second)[0],
        "left out": _log(second)[0],
        "reordered": _log(second, first)[0],
        "digest": _log(_event("acpi", b"honest tables"), second)[0],
    }[lie]
    signed = intel.issue(rtmrs=(register, bytes(48), bytes(48), bytes(48)))
    registers = {"mrtd": TdFields().mrtd, "rtmr0": register}
    policy = Policy(
        tdx=TdxPolicy(sets=(ReferenceSet("guest", registers),)),
        insecure_development_root=spki_sha256(intel.root),
    )
    evidence = replace(signed.evidence, dstack_log=told)
    appraisal = verify_hardware(evidence, Collateral(), policy, now=NOW, report_data=signed.td.report_data)
    against = {check.id for check in appraisal.failed}
    wanted = {"none": set(), "payload": {"eventlog.digests"}}.get(lie, {"eventlog.replay"})
    assert against == wanted
    assert (appraisal.verdict is Verdict.ACCEPTED_INSECURE) is (lie == "none")


# --- TOB-WAPI-8: patch levels come from the certificate ---------------------------------------------------


def _tcb(world: World, **levels: int) -> bytes:
    """Raw TCB of Genoa's order with some components changed."""
    raw = bytearray(world.fields().reported_tcb_raw)
    places = {"bootloader": 0, "tee": 1, "snp": 6, "microcode": 7}
    for name, level in levels.items():
        raw[places[name]] = level
    return bytes(raw)


@pytest.mark.parametrize("component", ["bootloader", "tee", "snp", "microcode"])
def test_a_report_that_claims_a_higher_level_than_its_certificate_is_refused(
    genoa: World, component: str
) -> None:
    """The signature is good: a key of old firmware signs whatever that firmware writes."""
    claimed = _tcb(genoa, **{component: 200})
    assert genoa.issue(reported_tcb_raw=claimed).outcomes() == {"snp.vek.tcb": "fail"}


def test_current_committed_and_launch_levels_do_not_lift_what_the_certificate_says(genoa: World) -> None:
    """An old key, honestly reported, with everything else claimed as new: the floor is on the old one."""
    old = replace(genoa.tcb, snp=1, microcode=1)
    claims_new = {
        name: _tcb(genoa, snp=200, microcode=200)
        for name in ("current_tcb_raw", "committed_tcb_raw", "launch_tcb_raw")
    }
    gateway = snp_gateway(
        genoa, vek=genoa.vcek(tcb=old), reported_tcb_raw=_tcb(genoa, snp=1, microcode=1), **claims_new
    )
    assert gateway.objections() == {"snp.tcb.reported": "fail"}


def test_what_a_tds_quoting_enclave_says_of_its_processor_does_not_lift_the_certificates_level(
    intel: IntelWorld,
) -> None:
    """CPUSVN stands in the enclave's report too; the level is looked up with the PCK certificate's."""
    old = (2,) * 4 + (0,) * 12
    assert old < SVNS
    boast = {"qe_cpu_svn": b"\xff" * 16, "initial_cpu_svn": b"\xff" * 16}
    assert tdx_gateway(intel, svns=old, pcesvn=5, **boast).objections()["tdx.tcb.status"] == "fail"
    assert tdx_gateway(intel, svns=(0,) * 16, pcesvn=0, **boast).objections() == {"tdx.tcb.level": "fail"}


def test_an_old_platforms_level_is_not_lifted_by_its_certificates_other_spelling(intel: IntelWorld) -> None:
    """The certificate states the same sixteen levels twice, as numbers and as CPUSVN bytes."""
    signed = intel.issue(svns=(0,) * 16, pcesvn=0, cpu_svn=b"\xff" * 16)
    policy = tdx_gateway(intel).policy
    appraisal = verify_hardware(
        signed.evidence, Collateral(), policy, now=NOW, report_data=signed.td.report_data
    )
    assert appraisal.verdict is Verdict.REFUSED


# --- TOB-WAPI-7: the client's own nonce is in what hardware signed ----------------------------------------


@pytest.fixture(params=["snp", "tdx", "azure"])
def gateway(request: pytest.FixtureRequest, genoa: World, intel: IntelWorld, tpm: TpmWorld) -> Gateway:
    """A gateway that was asked with NONCE."""
    if request.param == "azure":
        return azure_gateway(genoa, tpm)
    return snp_gateway(genoa) if request.param == "snp" else tdx_gateway(intel)


def test_evidence_made_for_another_nonce_is_refused(gateway: Gateway) -> None:
    assert gateway.objections(nonce=bytes(32)) == {"statement.nonce": "fail"}


def test_without_a_nonce_of_ones_own_nothing_is_accepted(gateway: Gateway) -> None:
    appraisal = gateway.appraise(nonce=None)
    assert appraisal.verdict is Verdict.UNDECIDED
    assert [check.id for check in appraisal.failed] == ["statement.nonce"]


def test_old_evidence_with_the_new_nonce_written_over_it_is_not_bound(gateway: Gateway) -> None:
    fresh = bytes(reversed(NONCE[:16])) + b"\x01" * 16
    digest = manifest_sha384(gateway.payload("manifest"))
    forged = gateway.with_payload("statement", build_statement("attestation", fresh, digest))
    assert gateway.objections(forged, nonce=fresh) == {"statement.report_data": "fail"}


def test_evidence_that_answers_no_nonce_does_not_answer_ours(genoa: World) -> None:
    gateway = snp_gateway(genoa)
    digest = manifest_sha384(gateway.payload("manifest"))
    unasked = gateway.with_payload("statement", build_statement("attestation", None, digest))
    assert gateway.objections(unasked)["statement.nonce"] == "fail"


def test_evidence_of_one_connection_is_refused_on_another(gateway: Gateway) -> None:
    assert gateway.objections(purpose="session", exporter=b"\7" * 32) == {
        "statement.purpose": "fail",
        "statement.exporter": "fail",
    }


def test_a_stolen_key_that_the_evidence_does_not_name_is_refused(gateway: Gateway) -> None:
    against = gateway.objections(connection_spki_sha256=hashlib.sha256(b"stolen").digest())
    assert against == {"connection.key": "fail"}


def test_bare_evidence_without_the_bytes_it_was_asked_for_is_undecided(
    genoa: World, intel: IntelWorld, tpm: TpmWorld
) -> None:
    """The raw-evidence command too: without --report-data nobody knows whose evidence this is, or how old."""
    cases = [
        (genoa.issue().evidence, genoa.hierarchy.ark.spki_sha256),
        (intel.issue().evidence, spki_sha256(intel.root)),
        (azure_snp(genoa, tpm).evidence, genoa.hierarchy.ark.spki_sha256),
    ]
    for evidence, root in cases:
        policy = replace(BUILT_IN, insecure_development_root=root)
        unasked = verify_hardware(evidence, Collateral(), policy, now=NOW)
        assert "evidence.report_data" in {check.id for check in unasked.failed}
        other = verify_hardware(evidence, Collateral(), policy, now=NOW, report_data=b"\1" * 64)
        found = {check.id: check.outcome.value for check in other.failed}
        assert found["evidence.report_data"] == "fail"


def test_the_tpms_old_quote_does_not_answer_a_new_nonce(genoa: World, tpm: TpmWorld) -> None:
    """The report below is made at boot and may be replayed; the quote is what has to be fresh."""
    old, new = azure_gateway(genoa, tpm), azure_gateway(genoa, tpm, service="restarted")
    replayed = new.with_payload("tpm-quote", old.payload("tpm-quote"))
    assert new.objections() == {}
    assert new.objections(replayed) == {"statement.report_data": "fail"}
