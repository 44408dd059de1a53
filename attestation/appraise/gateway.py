"""What the gateway says of itself and what it was told: bound manifest and configuration against a policy."""

from __future__ import annotations

from datetime import datetime

from attestation.appraise.rules import hexes, judged, listed, rule
from attestation.check import Check, Outcome
from attestation.errors import MalformedEvidence
from attestation.formats.manifest import Manifest
from attestation.policy.model import ConfigPolicy, EvidencePolicy, ManifestPolicy
from attestation.policy.providers import MINIMUM_PINS, PROVIDER_HOSTS
from attestation.policy.settings import ProviderSetting, Settings, read_settings

CLOCK_SKEW_SECONDS = 300
_MANIFEST = "docs/spec/policy.md#manifest"
_CONFIG = "docs/spec/policy.md#config"
_EVIDENCE = "docs/spec/policy.md#evidence"


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
        rule("manifest.phase", manifest.phase == phase, phase, manifest.phase, _MANIFEST),
        rule("manifest.service", any_service, listed(policy.services), manifest.service, _MANIFEST),
        _root_source(manifest.root_source, policy.root_sources),
        _rollback(manifest.rollback or "none", policy.rollback),
        _ledger_epoch(manifest.ledger_epoch, policy.minimum_ledger_epoch),
        rule("manifest.keys", has_keys, "the keys that this phase needs", _counted(manifest), _MANIFEST),
        rule("manifest.not_after", left > 0, "in the future", f"{left} s from now", _EVIDENCE),
        rule(
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
    return judged("manifest.root_source", outcome, listed(allowed), found, _MANIFEST)


def _rollback(found: str, allowed: frozenset[str] | None) -> Check:
    """Without protection the host may bring back an old ledger; who accepts that has to say so."""
    holds = found != "none" if allowed is None else found in allowed
    wanted = "any but none" if allowed is None else listed(allowed)
    return rule("manifest.rollback", holds, wanted, found, _MANIFEST)


def _ledger_epoch(found: int | None, minimum: int | None) -> Check:
    holds = minimum is None or (found is not None and found >= minimum)
    wanted = "any" if minimum is None else f"at least {minimum}"
    return rule("manifest.ledger_epoch", holds, wanted, "none" if found is None else str(found), _MANIFEST)


def appraise_config(raw: bytes, digest: bytes, policy: ConfigPolicy) -> list[Check]:
    """What the gateway was told: the exact bytes if the policy lists digests, and always the providers."""
    listed = policy.sha384 is None or digest in policy.sha384
    checks = [rule("config.digest", listed, hexes(policy.sha384), digest.hex(), _CONFIG)]
    try:
        settings = read_settings(raw)
    except MalformedEvidence as error:
        return [*checks, rule("config.readable", False, "casemate/config/1", str(error), _CONFIG)]
    checks += [
        rule("config.readable", True, "casemate/config/1", "casemate/config/1", _CONFIG),
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
    return judged("config.insecure_development", outcome, wanted, found, _CONFIG)


def _provider(provider: ProviderSetting, policy: ConfigPolicy) -> list[Check]:
    """Where prompts may go. A host that the policy names brings its pins; the shipped table wants WebPKI."""
    named = policy.providers
    hosts = PROVIDER_HOSTS if named is None else named.keys()
    if named is None:
        pins_hold, wanted = len(provider.pins) >= MINIMUM_PINS, f"at least {MINIMUM_PINS} pins"
        authority_holds = not provider.own_authority
    else:
        allowed = named.get(provider.host, frozenset())
        pins_hold, wanted = bool(provider.pins) and provider.pins <= allowed, hexes(allowed)
        authority_holds = True
    authority = "its own" if provider.own_authority else "WebPKI"
    pins = hexes(provider.pins)
    return [
        rule("config.provider.host", provider.host in hosts, listed(hosts), provider.host, _CONFIG),
        rule("config.provider.pins", pins_hold, f"{provider.host}: {wanted}", pins, _CONFIG),
        rule("config.provider.tier", provider.tier == "tls-pinned", "tls-pinned", provider.tier, _CONFIG),
        rule(
            "config.provider.authority",
            authority_holds,
            "WebPKI" if named is None else "any, its pins are named",
            authority,
            _CONFIG,
        ),
    ]


def _counted(manifest: Manifest) -> str:
    return f"{len(manifest.tls_spki_sha256)} TLS, {len(manifest.hpke_x25519)} HPKE"
