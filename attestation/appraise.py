"""Is it acceptable? Authentic claims, bound manifest and configuration against one policy.

Every rule makes exactly one check, whether it passes or not, so that a report shows what was looked at.
Specification, with every check id: docs/spec/policy.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from attestation.check import Check, Outcome, Stage
from attestation.errors import MalformedEvidence
from attestation.manifest import Manifest
from attestation.model import Tcb
from attestation.policy import ConfigPolicy, EvidencePolicy, ManifestPolicy, SnpPolicy
from attestation.provider_table import MINIMUM_PINS, PROVIDER_HOSTS
from attestation.settings import ProviderSetting, Settings, read_settings
from attestation.snp.abi import Report
from attestation.snp.verify import SnpClaims

CLOCK_SKEW_SECONDS = 300
_SNP = "docs/spec/policy.md#snp"
_MANIFEST = "docs/spec/policy.md#manifest"
_CONFIG = "docs/spec/policy.md#config"
_EVIDENCE = "docs/spec/policy.md#evidence"
_NO_AGENT = b"\xff" * 32


def appraise_snp(claims: SnpClaims, policy: SnpPolicy) -> list[Check]:
    """What runs, how it was launched, and on which hardware and firmware (AMD 56860, table 23)."""
    return [
        *_launch(claims.report, policy),
        *_platform(claims, policy),
        *_named_launch_data(claims.report, policy),
        *_location(claims, policy),
    ]


def _launch(report: Report, policy: SnpPolicy) -> list[Check]:
    guest = report.policy
    moves = guest.migrate_ma or report.report_id_ma != _NO_AGENT
    return [
        _rule("snp.debug", not guest.debug, "off", _on(guest.debug), _SNP),
        _member("snp.measurement", report.measurement, policy.measurements, _SNP),
        _rule("snp.vmpl", report.vmpl == policy.vmpl, str(policy.vmpl), str(report.vmpl), _SNP),
        _rule(
            "snp.migration",
            policy.allow_migration or not moves,
            "any" if policy.allow_migration else "off, no migration agent",
            "possible" if moves else "off, no migration agent",
            _SNP,
        ),
        _rule(
            "snp.smt",
            policy.allow_smt or not guest.smt,
            "any" if policy.allow_smt else "off",
            _on(guest.smt),
            _SNP,
        ),
    ]


def _platform(claims: SnpClaims, policy: SnpPolicy) -> list[Check]:
    """Floors stand on REPORTED and COMMITTED levels: firmware can be rolled back down to the latter."""
    aliased = claims.report.platform_info.alias_check_complete
    floor = policy.minimum_tcb.get(claims.product)
    return [
        _rule(
            "snp.product.allowed",
            claims.product in policy.products,
            _list(policy.products),
            claims.product,
            _SNP,
        ),
        _tcb("snp.tcb.reported", claims.reported_tcb, floor),
        _tcb("snp.tcb.committed", claims.committed_tcb, floor),
        _rule(
            "snp.alias_check",
            aliased or not policy.require_alias_check,
            "complete" if policy.require_alias_check else "any",
            "complete" if aliased else "not done",
            f"{_SNP}; AMD-SB-3015",
        ),
    ]


def _named_launch_data(report: Report, policy: SnpPolicy) -> list[Check]:
    """Launch data that no policy names has to be absent, which is all zeros."""
    return [
        _member("snp.id_key", report.id_key_digest, policy.id_key_digests or {bytes(48)}, _SNP),
        _member("snp.author_key", report.author_key_digest, policy.author_key_digests or {bytes(48)}, _SNP),
        _member("snp.host_data", report.host_data, policy.host_data or {bytes(32)}, _SNP),
    ]


def _location(claims: SnpClaims, policy: SnpPolicy) -> list[Check]:
    report = claims.report
    csp = claims.csp_id or "none"
    csp_wanted = _list(policy.csp_ids) if report.signing_key == "vlek" else "none"
    key, chip = report.signing_key, report.chip_id
    enforced = claims.crl_this_update
    crl = Outcome.PASS if enforced is not None or not policy.require_crl else Outcome.UNDECIDED
    return [
        _rule("snp.signing_key", key in policy.signing_keys, _list(policy.signing_keys), key, _SNP),
        _rule(
            "snp.chip.allowed",
            policy.chip_ids is None or chip in policy.chip_ids,
            _hexes(policy.chip_ids),
            chip.hex(),
            _SNP,
        ),
        _rule("snp.csp.allowed", key != "vlek" or csp in policy.csp_ids, csp_wanted, csp, _SNP),
        Check(
            "snp.crl.present",
            Stage.APPRAISE,
            crl,
            "enforced" if policy.require_crl else "any",
            "none supplied" if enforced is None else f"made {enforced.isoformat()}",
            _SNP,
        ),
    ]


def appraise_manifest(
    manifest: Manifest, policy: ManifestPolicy, age: EvidencePolicy, *, purpose: str, now: datetime
) -> list[Check]:
    """Phase, labels, root source, keys and life of the manifest."""
    phase = "provisioning" if purpose == "provision" else "serving"
    has_keys = bool(manifest.hpke_x25519) and (phase == "provisioning" or bool(manifest.tls_spki_sha256))
    left = manifest.not_after - int(now.timestamp())
    limit = age.max_age_seconds
    any_service = policy.services is None or manifest.service in policy.services
    return [
        _rule("manifest.phase", manifest.phase == phase, phase, manifest.phase, _MANIFEST),
        _rule("manifest.service", any_service, _list(policy.services), manifest.service, _MANIFEST),
        _root_source(manifest.root_source, policy.root_sources),
        _rule("manifest.keys", has_keys, "the keys that this phase needs", _counted(manifest), _MANIFEST),
        _rule("manifest.not_after", left > 0, "in the future", f"{left} s from now", _EVIDENCE),
        _rule(
            "manifest.max_age",
            left <= limit + CLOCK_SKEW_SECONDS,
            f"at most {limit} s from now",
            f"{left} s from now",
            _EVIDENCE,
        ),
    ]


def _root_source(found: str, allowed: frozenset[str]) -> Check:
    insecure = found == "insecure-development"
    outcome = Outcome.FAIL if found not in allowed else Outcome.INSECURE if insecure else Outcome.PASS
    return Check("manifest.root_source", Stage.APPRAISE, outcome, _list(allowed), found, _MANIFEST)


def appraise_config(raw: bytes, digest: bytes, policy: ConfigPolicy) -> list[Check]:
    """What the gateway was told: the exact bytes if the policy lists digests, and always the providers."""
    listed = policy.sha384 is None or digest in policy.sha384
    checks = [_rule("config.digest", listed, _hexes(policy.sha384), digest.hex(), _CONFIG)]
    try:
        settings = read_settings(raw)
    except MalformedEvidence as error:
        return [*checks, _rule("config.readable", False, "casemate/config/1", str(error), _CONFIG)]
    checks += [
        _rule("config.readable", True, "casemate/config/1", "casemate/config/1", _CONFIG),
        _development(settings, policy),
    ]
    for provider in settings.providers:
        checks += _provider(provider, policy)
    return checks


def _development(settings: Settings, policy: ConfigPolicy) -> Check:
    is_open = settings.insecure_development
    outcome = (
        Outcome.PASS if not is_open else Outcome.INSECURE if policy.insecure_development else Outcome.FAIL
    )
    wanted = "absent, though the policy allows it" if policy.insecure_development else "absent"
    found = "present" if is_open else "absent"
    return Check("config.insecure_development", Stage.APPRAISE, outcome, wanted, found, _CONFIG)


def _provider(provider: ProviderSetting, policy: ConfigPolicy) -> list[Check]:
    """Where prompts may go. A host that the policy names brings its pins; the shipped table wants WebPKI."""
    named = policy.providers
    hosts = PROVIDER_HOSTS if named is None else named.keys()
    if named is None:
        pins_hold, wanted = len(provider.pins) >= MINIMUM_PINS, f"at least {MINIMUM_PINS} pins"
        authority_holds = not provider.own_authority
    else:
        allowed = named.get(provider.host, frozenset())
        pins_hold, wanted = bool(provider.pins) and provider.pins <= allowed, _hexes(allowed)
        authority_holds = True
    authority = "its own" if provider.own_authority else "WebPKI"
    pins = _hexes(provider.pins)
    return [
        _rule("config.provider.host", provider.host in hosts, _list(hosts), provider.host, _CONFIG),
        _rule("config.provider.pins", pins_hold, f"{provider.host}: {wanted}", pins, _CONFIG),
        _rule("config.provider.tier", provider.tier == "tls-pinned", "tls-pinned", provider.tier, _CONFIG),
        _rule(
            "config.provider.authority",
            authority_holds,
            "WebPKI" if named is None else "any, its pins are named",
            authority,
            _CONFIG,
        ),
    ]


def _rule(check_id: str, holds: bool, expected: str, found: str, reference: str) -> Check:
    return Check(
        check_id, Stage.APPRAISE, Outcome.PASS if holds else Outcome.FAIL, expected, found, reference
    )


def _member(check_id: str, found: bytes, allowed: Iterable[bytes], reference: str) -> Check:
    listed = frozenset(allowed)
    return _rule(check_id, found in listed, _hexes(listed), found.hex(), reference)


def _tcb(check_id: str, found: Tcb, floor: Tcb | None) -> Check:
    """A product without a floor is refused: there is no level that nobody thought about."""
    holds = floor is not None and found.at_least(floor)
    return _rule(check_id, holds, "no floor known" if floor is None else _levels(floor), _levels(found), _SNP)


def _levels(tcb: Tcb) -> str:
    levels = f"bootloader {tcb.bootloader}, tee {tcb.tee}, snp {tcb.snp}, microcode {tcb.microcode}"
    return levels if tcb.fmc is None else f"fmc {tcb.fmc}, {levels}"


def _counted(manifest: Manifest) -> str:
    return f"{len(manifest.tls_spki_sha256)} TLS, {len(manifest.hpke_x25519)} HPKE"


def _on(value: bool) -> str:
    return "on" if value else "off"


def _list(values: Iterable[str] | None) -> str:
    return "any" if values is None else ", ".join(sorted(values)) or "none named"


def _hexes(values: Iterable[bytes] | None) -> str:
    return _list(None if values is None else (value.hex() for value in values))
