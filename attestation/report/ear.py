"""An appraisal as an EAT Attestation Result (EAR), for relying parties that speak RATS.

Sources: draft-ietf-rats-ear-04 (claims and profile), draft-ietf-rats-ar4si-09 section 2.3 (numbers of the
trustworthiness vector). docs/spec/appraisal.md says which checks decide which claim.

An EAR never says more than the appraisal: only an accepted one affirms anything, a simulation is
contraindicated in every respect, and what was not looked at is left out.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Literal, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attestation.check import Check, Outcome, Stage
from attestation.model import Appraisal, Verdict
from attestation.report.explain import explain
from attestation.report.text import (
    LIMITS,
    as_plain,
    hardware_vouches,
    is_insecure,
    outcome_word,
    trust_class,
    vouched_weaknesses,
    worst,
    write_time,
)
from attestation.report.weaknesses import weaknesses

PROFILE = "tag:ietf.org,2026:rats/ear#04"
RULES_PROFILE = "tag:casemate,2026:appraisal/1"
MEDIA_TYPE = "application/eat+jwt"

Tier = Literal["none", "affirming", "warning", "contraindicated"]
Key: TypeAlias = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey

NO_CLAIM, AFFIRMED, BOOT_AFFIRMED, WEAK, CONTRAINDICATED, UNRECOGNISED, FORGED = 0, 2, 3, 32, 96, 97, 99
_APPRAISED = ("instance-identity", "configuration", "executables", "hardware", "runtime-opaque")
_MEASURED = frozenset({"snp.measurement", "tdx.measurement", "azure.measurement"})
_UNJUDGED = frozenset({"tdx.unjudged", "azure.unjudged"})
_ASKED = frozenset({"statement.nonce", "evidence.report_data"})
_SEALED = frozenset({"snp.debug", "tdx.debug", "baseline.debug"})
_STANDING = frozenset({"tdx.tcb.level", "tdx.module.identity", "snp.crl", "tdx.crl.root", "tdx.crl.pck"})
_NONCE_BYTES = range(8, 65)


def build_ear(
    appraisal: Appraisal, *, nonce: bytes | None, now: datetime, developer: str, build: str
) -> dict[str, Any]:
    """The claims set. `nonce`: what the verifier chose, 8 to 64 bytes, or None; `now`: an aware datetime.

    `developer` and `build` name this verifier (AR4SI section 2.2.2). ValueError for a nonce of another length
    or a time without zone.
    """
    if now.tzinfo is None:
        raise ValueError("now must carry a time zone")
    if nonce is not None and len(nonce) not in _NONCE_BYTES:
        raise ValueError("an EAR's nonce has 8 to 64 bytes")
    vector = trust_vector(appraisal)
    status = _status(appraisal, vector)
    claims: dict[str, Any] = {
        "eat_profile": PROFILE,
        "iat": int(now.timestamp()),
        "ear_verifier_id": {"developer": developer, "build": build},
        "ear_status": status,
        "submods": {_label(appraisal): _submodule(appraisal, vector, status, nonce)},
    }
    return claims if nonce is None else claims | {"eat_nonce": _base64url(nonce)}


def sign_ear(ear: Mapping[str, Any], key: Key) -> str:
    """A compact JWS: Ed25519 (`EdDSA`) or P-256 (`ES256`, RFC 6979); `kid` is the key's RFC 7638 thumbprint.

    ValueError for a key of another curve.
    """
    algorithm, jwk, sign = _signer(key)
    thumbprint = hashlib.sha256(json.dumps(jwk, sort_keys=True, separators=(",", ":")).encode()).digest()
    header = {"alg": algorithm, "kid": _base64url(thumbprint), "typ": "eat+jwt"}
    signed = ".".join(_base64url(json.dumps(part, separators=(",", ":")).encode()) for part in (header, ear))
    return f"{signed}.{_base64url(sign(signed.encode()))}"


def trust_vector(appraisal: Appraisal) -> dict[str, int]:
    """AR4SI claims by name. Affirming values exist only in an accepted appraisal of genuine hardware."""
    if is_insecure(appraisal):
        return dict.fromkeys(_APPRAISED, CONTRAINDICATED) | {"hardware": UNRECOGNISED}
    if any(_is_forged(check) for check in appraisal.failed):
        return dict.fromkeys(_APPRAISED, FORGED)
    claims = {
        "instance-identity": _instance(appraisal),
        "configuration": _by_layer(appraisal, ("gateway",), AFFIRMED),
        "executables": _executables(appraisal),
        "hardware": _by_class(appraisal, _hardware(appraisal)),
        "runtime-opaque": _of(appraisal, _SEALED, AFFIRMED),
    }
    if appraisal.verdict is Verdict.ACCEPTED:
        return claims
    return {name: value if value >= WEAK else NO_CLAIM for name, value in claims.items()}


def tier(value: int) -> Tier:
    """The tier of a standard value from 0 to 127 (AR4SI section 2.3.2)."""
    if value < AFFIRMED:
        return "none"
    if value < WEAK:
        return "affirming"
    return "warning" if value < CONTRAINDICATED else "contraindicated"


def _status(appraisal: Appraisal, vector: Mapping[str, int]) -> Tier:
    """Never better than the worst claim; affirming or warning only for an accepted appraisal, and no more
    than a warning if no policy was applied."""
    if is_insecure(appraisal):
        return "contraindicated"
    if appraisal.verdict is Verdict.UNDECIDED:
        return "none"
    found = tier(max(vector.values())) if appraisal.verdict is Verdict.ACCEPTED else "contraindicated"
    return "warning" if found == "affirming" and appraisal.rules == "baseline" else found


def _submodule(
    appraisal: Appraisal, vector: dict[str, int], status: Tier, nonce: bytes | None
) -> dict[str, Any]:
    """One appraisal record. Facts stand under the attester's name only if hardware vouches for them."""
    record: dict[str, Any] = {
        "eat_profile": RULES_PROFILE,
        "ear_status": status,
        "ear_trustworthiness_vector": vector,
        "ear_appraisal_policy_ids": [_policy_id(appraisal)],
        "ear_verifier_claims": {
            "verdict": appraisal.verdict.value,
            "insecure": is_insecure(appraisal),
            "trust_class": trust_class(appraisal),
            "rules": appraisal.rules,
            "decided_at": write_time(appraisal.decided_at),
            "evidence_sha256": None if appraisal.evidence_sha256 is None else appraisal.evidence_sha256.hex(),
            "inputs": dict(appraisal.inputs),
            "weaknesses": vouched_weaknesses(appraisal),
            "checks": _outcomes(appraisal.checks, insecure=is_insecure(appraisal)),
            "not_proven": list(LIMITS),
        },
    }
    if hardware_vouches(appraisal) and appraisal.facts:
        record["ear_attester_claims"] = as_plain(appraisal.facts)
    answered = any(c.id == "statement.nonce" and c.outcome is Outcome.PASS for c in appraisal.checks)
    return record | {"eat_nonce": _base64url(nonce)} if nonce is not None and answered else record


def _outcomes(checks: Iterable[Check], *, insecure: bool) -> dict[str, str]:
    """Outcome by id. A rule that was applied several times, as to each provider, has its worst."""
    by_id: dict[str, list[Check]] = {}
    for check in checks:
        by_id.setdefault(check.id, []).append(check)
    return {check_id: outcome_word(worst(made), insecure=insecure) for check_id, made in by_id.items()}


def _label(appraisal: Appraisal) -> str:
    """The trust class, so that a rule for one can't be met by the other."""
    ids = {check.id for check in appraisal.checks}
    if any(name.startswith("azure.") for name in ids):
        return "paravisor-vtpm"
    return "direct-boot" if any(name.startswith(("snp.", "tdx.")) for name in ids) else "unreadable"


def _policy_id(appraisal: Appraisal) -> str:
    """RFC 6920 name of the policy's exact bytes, or of the rules that hold without a policy."""
    digest = appraisal.policy_sha256
    return f"ni:///sha-256;{_base64url(digest)}" if digest else f"{RULES_PROFILE}/{appraisal.rules}"


def _by_class(appraisal: Appraisal, hardware: int) -> int:
    """Behind a paravisor the hardware did not measure the guest itself: a warning at best."""
    below = hardware == AFFIRMED and _label(appraisal) == "paravisor-vtpm"
    return WEAK if below else hardware


def _hardware(appraisal: Appraisal) -> int:
    """Genuine hardware may have known weaknesses that a policy lives with: then a warning, never less."""
    value = _by_layer(appraisal, ("hardware", "vtpm", "machine", "baseline", "opinion"), AFFIRMED)
    return WEAK if value == AFFIRMED and weaknesses(appraisal) else value


def _executables(appraisal: Appraisal) -> int:
    """What was started, if all of it was compared. Software that is not on the list is contraindicated."""
    measured = any(check.id in _MEASURED for check in appraisal.checks)
    left_out = any(check.id in _UNJUDGED and check.outcome is Outcome.NOTED for check in appraisal.checks)
    compared = measured and not left_out
    return _by_layer(appraisal, ("software", "eventlog"), BOOT_AFFIRMED if compared else NO_CLAIM)


def _instance(appraisal: Appraisal) -> int:
    """This very instance: it answered the verifier's question, with keys that hardware vouches for."""
    asked = any(check.id in _ASKED and check.outcome is Outcome.PASS for check in appraisal.checks)
    value = _by_layer(appraisal, ("question",), AFFIRMED if asked else NO_CLAIM)
    return FORGED if value == CONTRAINDICATED else value


def _by_layer(appraisal: Appraisal, layers: tuple[str, ...], good: int) -> int:
    names = {check.id for check in appraisal.checks if explain(check.id).layer in layers}
    return _of(appraisal, names, good)


def _of(appraisal: Appraisal, ids: frozenset[str] | set[str], good: int) -> int:
    """One claim from some checks: a failure contraindicates, no check at all claims nothing.

    A gap needs no case of its own: with one nothing is accepted, and then nothing is affirmed.
    """
    outcomes = {check.outcome for check in appraisal.checks if check.id in ids}
    if Outcome.FAIL in outcomes:
        return CONTRAINDICATED
    return good if Outcome.PASS in outcomes else NO_CLAIM


def _is_forged(check: Check) -> bool:
    """Whether a signature, a chain or what hangs on them failed, and not merely the machine's standing."""
    failed = check.stage is Stage.AUTHENTICATE and check.outcome is Outcome.FAIL
    return failed and check.id not in _STANDING


def _signer(key: Key) -> tuple[str, dict[str, str], Callable[[bytes], bytes]]:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return "EdDSA", {"crv": "Ed25519", "kty": "OKP", "x": _base64url(public)}, key.sign
    if not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("an EAR is signed with Ed25519 or P-256")
    numbers = key.public_key().public_numbers()
    x, y = (_base64url(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))

    def sign(data: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(SHA256(), deterministic_signing=True)))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    return "ES256", {"crv": "P-256", "kty": "EC", "x": x, "y": y}, sign


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
