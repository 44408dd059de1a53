"""Read a policy: TOML bytes in, one frozen value out. Specification: docs/spec/policy.md.

Pure: release files that the policy names are handed in as bytes, by the names that the policy uses.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeVar

from attestation.errors import MalformedEvidence, PolicyInvalid
from attestation.formats.manifest import ROOT_SOURCES
from attestation.members import MAX_SAFE_INTEGER
from attestation.model import Tcb
from attestation.pins import read_pin
from attestation.policy.model import (
    FORMAT,
    MAX_CRL_AGE_SECONDS,
    PCR_REGISTERS,
    PRODUCTS,
    SHIPPED_TCB_FLOORS,
    SNP_REGISTERS,
    TD_ATTRIBUTES,
    TDX_REGISTERS,
    TDX_STATUSES,
    TEES,
    TRUST_CLASSES,
    AzurePolicy,
    ConfigPolicy,
    EvidencePolicy,
    MaaPolicy,
    ManifestPolicy,
    Operator,
    Policy,
    ReferencePolicy,
    ReferenceSet,
    SnpPolicy,
    TdxPolicy,
    UsedRelease,
)
from attestation.policy.release import PLATFORMS, RELEASE_KEYS, Release, parse_release
from attestation.policy.settings import parse_toml
from attestation.policy.table import (
    Table,
    between,
    boolean,
    hex_of,
    hex_set,
    issuers,
    label,
    providers,
    subset,
    text,
    texts,
)

MAX_AGE_SECONDS = 31_622_400
NO_FILES: Mapping[str, bytes] = MappingProxyType({})
_COUNT = between(0, MAX_SAFE_INTEGER)
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def parse_policy(raw: bytes, files: Mapping[str, bytes] = NO_FILES) -> Policy:
    """Read a policy. Raises PolicyInvalid for unknown keys, wrong types, unconfirmed lines.

    `files`: the release files that `[reference]` names, by that name; one that is missing, or not signed by a
    key that is known, refuses the whole policy.
    """
    if b"unconfirmed" in raw.lower():
        raise PolicyInvalid(
            "policy: a line is still marked unconfirmed",
            hint="check each such value against its source, then remove the mark",
        )
    try:
        policy = _policy(raw)
        releases = _releases(policy.reference, files)
        return with_releases(_with_used(policy, releases, files), releases)
    except MalformedEvidence as error:
        raise PolicyInvalid(f"policy refused: {error}", hint="see docs/spec/policy.md") from error


def with_releases(policy: Policy, releases: tuple[Release, ...]) -> Policy:
    """Add the reference values of releases to those that the policy itself states."""
    found = {
        platform: tuple(entry.set for one in releases for entry in one.sets if entry.platform == platform)
        for platform in PLATFORMS
    }
    azure = policy.azure
    return replace(
        policy,
        snp=replace(policy.snp, sets=policy.snp.sets + found["sev-snp"]),
        tdx=replace(policy.tdx, sets=policy.tdx.sets + found["tdx"]),
        azure=replace(azure, sets=azure.sets + found["azure"]),
    )


def _with_used(policy: Policy, releases: tuple[Release, ...], files: Mapping[str, bytes]) -> Policy:
    """Remember which files were read, so that a decision can name them."""
    used = tuple(
        UsedRelease(name, hashlib.sha256(files[name]).digest(), one.number, one.release, one.issued)
        for name, one in zip(policy.reference.releases, releases, strict=True)
    )
    return replace(policy, reference=replace(policy.reference, used=used))


def _policy(raw: bytes) -> Policy:
    table = Table("policy", parse_toml(raw))
    if table.take("format", text, "") != FORMAT:
        raise MalformedEvidence(f"format must be {FORMAT}")
    default = Policy()
    policy = Policy(
        version=table.take("version", _COUNT, None),
        tees=table.take("tees", subset(TEES), default.tees),
        trust_classes=table.take("trust_classes", subset(TRUST_CLASSES), default.trust_classes),
        snp=_snp(table.table("snp")),
        tdx=_tdx(table.table("tdx")),
        azure=_azure(table.table("azure")),
        operators=tuple(_operator(name, entry) for name, entry in table.tables("operators")),
        manifest=_manifest(table.table("manifest")),
        config=_config(table.table("config")),
        evidence=_evidence(table.table("evidence")),
        reference=_reference(table.table("reference")),
        insecure_development_root=table.take("insecure_development_root", read_pin, None),
        sha256=hashlib.sha256(raw).digest(),
    )
    table.end()
    return policy


def _releases(reference: ReferencePolicy, files: Mapping[str, bytes]) -> tuple[Release, ...]:
    missing = [name for name in reference.releases if name not in files]
    if missing:
        raise MalformedEvidence(f"[reference] the release file {missing[0]!r} was not supplied")
    keys = reference.release_keys | frozenset(RELEASE_KEYS)
    releases = tuple(parse_release(files[name], keys) for name in reference.releases)
    minimum = reference.minimum_release_number
    if releases and minimum is None:
        raise MalformedEvidence("[reference] releases need minimum_release_number: old ones are signed too")
    for release in releases:
        if release.number < (minimum or 0):
            raise MalformedEvidence(f"[reference] release {release.number} is below minimum_release_number")
    return releases


_Reader = Callable[[object], Any]
D = TypeVar(
    "D", SnpPolicy, TdxPolicy, AzurePolicy, MaaPolicy, Operator, ManifestPolicy, ConfigPolicy, EvidencePolicy
)


def _take_all(table: Table, default: D, readers: Mapping[str, _Reader]) -> D:
    """Read the fields that stand under their own names; those that are not set keep their strict value."""
    found = {name: table.take(name, read, getattr(default, name)) for name, read in readers.items()}
    table.end()
    return replace(default, **found)


_SNP: Mapping[str, _Reader] = MappingProxyType(
    {
        "measurements": hex_set(48),
        "products": subset(PRODUCTS),
        "vmpl": between(0, 3),
        "signing_keys": subset(frozenset({"vcek", "vlek"})),
        "minimum_guest_svn": between(0, 2**32 - 1),
        "id_key_digests": hex_set(48),
        "author_key_digests": hex_set(48),
        "host_data": hex_set(32),
        "family_ids": hex_set(16),
        "image_ids": hex_set(16),
    }
    | dict.fromkeys(
        (
            "trust_id_key",
            "allow_smt",
            "allow_migration",
            "allow_cxl",
            "allow_tio",
            "allow_provisional_firmware",
            "require_alias_check",
            "require_ecc",
            "require_crl",
            "require_single_socket",
            "require_aes_256_xts",
            "require_rapl_disabled",
            "require_ciphertext_hiding",
            "require_page_swap_disabled",
            "require_tsme",
        ),
        boolean,
    )
)
_TDX: Mapping[str, _Reader] = MappingProxyType(
    {
        "unjudged_registers": subset(frozenset(TDX_REGISTERS[1:])),
        "mrseams": hex_set(48),
        "xfams": hex_set(8),
        "mrconfigids": hex_set(48),
        "mrowners": hex_set(48),
        "mrownerconfigs": hex_set(48),
        "mrservicetds": hex_set(48),
        "statuses": subset(TDX_STATUSES),
        "advisories": texts,
        "minimum_evaluation_number": _COUNT,
        "allow_attributes": subset(TD_ATTRIBUTES),
        "allow_migration": boolean,
        "allow_smt": boolean,
        "require_sept_ve_disable": boolean,
    }
)
_AZURE: Mapping[str, _Reader] = MappingProxyType(
    {
        "unjudged_registers": subset(frozenset(PCR_REGISTERS)),
        "require_secure_boot": boolean,
        "require_console_disabled": boolean,
    }
)
_MAA: Mapping[str, _Reader] = MappingProxyType({"issuers": issuers, "required": boolean})
_OPERATOR: Mapping[str, _Reader] = MappingProxyType(
    {
        "chip_ids": hex_set(64),
        "csp_ids": texts,
        "ppids": hex_set(16),
        "platform_instance_ids": hex_set(16),
    }
)
_MANIFEST: Mapping[str, _Reader] = MappingProxyType(
    {
        "services": texts,
        "root_sources": subset(ROOT_SOURCES),
        "rollback": texts,
        "minimum_ledger_epoch": _COUNT,
    }
)
_CONFIG: Mapping[str, _Reader] = MappingProxyType(
    {"sha384": hex_set(48), "providers": providers, "insecure_development": boolean}
)
_EVIDENCE: Mapping[str, _Reader] = MappingProxyType(
    {
        "accept_without_nonce": boolean,
        "max_age_seconds": between(1, MAX_AGE_SECONDS),
        "max_collateral_age_seconds": between(1, MAX_AGE_SECONDS),
        "max_crl_age_seconds": between(1, MAX_CRL_AGE_SECONDS),
    }
)


def _snp(table: Table) -> SnpPolicy:
    special = SnpPolicy(
        sets=_sets(table, SNP_REGISTERS, 48),
        minimum_tcb=table.take("minimum_tcb", _floors, SnpPolicy().minimum_tcb),
        minimum_abi=table.take("minimum_abi", _abi, SnpPolicy().minimum_abi),
        required_mitigations=table.take(
            "required_mitigations", _mitigations, SnpPolicy().required_mitigations
        ),
    )
    found = _take_all(table, special, _SNP)
    if found.trust_id_key and (found.family_ids is None or found.image_ids is None):
        raise MalformedEvidence(
            f"[{table.where}] trust_id_key needs family_ids and image_ids: which product?"
        )
    return found


def _tdx(table: Table) -> TdxPolicy:
    return _take_all(table, TdxPolicy(sets=_sets(table, TDX_REGISTERS, 48)), _TDX)


def _azure(table: Table) -> AzurePolicy:
    special = AzurePolicy(
        sets=_sets(table, PCR_REGISTERS, 32),
        snp=_snp(table.table("snp")),
        tdx=_tdx(table.table("tdx")),
        maa=_take_all(table.table("maa"), MaaPolicy(), _MAA),
    )
    if special.maa.required and not special.maa.issuers:
        raise MalformedEvidence("[azure.maa] required, but no issuer is named")
    found = _take_all(table, special, _AZURE)
    if found.unjudged_registers == frozenset(PCR_REGISTERS):
        raise MalformedEvidence("[azure] unjudged_registers names every PCR: nothing would be judged")
    return found


def _operator(name: str, table: Table) -> Operator:
    found = _take_all(table, Operator(name), _OPERATOR)
    if found == Operator(name):
        raise MalformedEvidence(f"[operators.{name}] names no machine and no provider")
    return found


def _manifest(table: Table) -> ManifestPolicy:
    return _take_all(table, ManifestPolicy(), _MANIFEST)


def _config(table: Table) -> ConfigPolicy:
    return _take_all(table, ConfigPolicy(), _CONFIG)


def _evidence(table: Table) -> EvidencePolicy:
    return _take_all(table, EvidencePolicy(), _EVIDENCE)


def _reference(table: Table) -> ReferencePolicy:
    found = ReferencePolicy(
        releases=table.take("releases", _names, ()),
        release_keys=table.take("release_keys", hex_set(32), frozenset()),
        minimum_release_number=table.take("minimum_release_number", _COUNT, None),
    )
    table.end()
    return found


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise MalformedEvidence("must be a list of file names")
    names = tuple(label(name) for name in value)
    if not all(_PLAIN_NAME.fullmatch(name) for name in names):
        raise MalformedEvidence("a file has a plain name, without a folder")
    return names


def _sets(table: Table, registers: tuple[str, ...], length: int) -> tuple[ReferenceSet, ...]:
    """Every set states at least its first register, without which the others say nothing."""
    found = []
    for name, entry in table.tables("sets"):
        values = {register: entry.take(register, hex_of(length), b"") for register in registers}
        entry.end()
        if not values[registers[0]]:
            raise MalformedEvidence(f"[{entry.where}] must state {registers[0]}")
        found.append(ReferenceSet(name, {register: value for register, value in values.items() if value}))
    return tuple(found)


def _floors(value: object) -> Mapping[str, Tcb]:
    """Stated products replace the shipped floor of that product; the others keep theirs."""
    table = Table("minimum_tcb", value)
    floors = {
        product: table.take(product, _floor(product), SHIPPED_TCB_FLOORS[product])
        for product in sorted(PRODUCTS)
    }
    table.end()
    return floors


def _floor(product: str) -> Callable[[object], Tcb]:
    """Every component has to be stated: an omitted one would silently be zero."""
    names = ["bootloader", "tee", "snp", "microcode", *(["fmc"] if product == "Turin" else [])]

    def read(value: object) -> Tcb:
        table = Table(f"minimum_tcb.{product}", value)
        levels = {name: table.take(name, between(0, 255), -1) for name in names}
        table.end()
        if -1 in levels.values():
            raise MalformedEvidence(f"must state all of {', '.join(names)}")
        return Tcb(**levels)

    return read


def _mitigations(value: object) -> Mapping[str, int]:
    table = Table("required_mitigations", value)
    masks = {product: table.take(product, between(0, 2**64 - 1), 0) for product in sorted(PRODUCTS)}
    table.end()
    return {product: mask for product, mask in masks.items() if mask}


def _abi(value: object) -> tuple[int, int]:
    """`major.minor`, as AMD writes the firmware ABI that a guest may demand."""
    major, dot, minor = text(value).partition(".")
    if not dot or not all(part.isascii() and part.isdecimal() and len(part) <= 3 for part in (major, minor)):
        raise MalformedEvidence("must read major.minor")
    found = int(major), int(minor)
    if max(found) > 255:
        raise MalformedEvidence("must read major.minor, each at most 255")
    return found
