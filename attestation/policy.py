"""What a relying party accepts: TOML in, one frozen value out. Specification: docs/spec/policy.md.

Nothing is skipped by omission: a field that is not set has a strict value here, never "don't care". There is
no field that accepts a debug guest. Values of one field are alternatives; fields all have to hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from attestation.errors import MalformedEvidence, PolicyInvalid
from attestation.manifest import ROOT_SOURCES
from attestation.members import hex_value
from attestation.model import Tcb
from attestation.pins import read_pin
from attestation.settings import host_of, parse_toml

T = TypeVar("T")

FORMAT = "casemate/policy/1"
PRODUCTS = frozenset({"Milan", "Genoa", "Turin"})

# The lowest levels seen in public reports of patched fleets in 2026, not a reading of AMD's bulletins: those
# change, so a policy for production states its own. Milan has a floor but is in no default: its root seed has
# been extracted (arXiv 2605.12990), and no level helps against that.
SHIPPED_TCB_FLOORS: Mapping[str, Tcb] = MappingProxyType(
    {
        "Milan": Tcb(bootloader=4, tee=0, snp=24, microcode=219),
        "Genoa": Tcb(bootloader=10, tee=0, snp=23, microcode=84),
        "Turin": Tcb(fmc=1, bootloader=1, tee=1, snp=4, microcode=81),
    }
)


@dataclass(frozen=True, slots=True)
class SnpPolicy:
    """What runs, and on which AMD platform. Digests are raw bytes: 48 (measurement, key digests), 32, 64.

    An empty `id_key_digests`, `author_key_digests` or `host_data` demands zeros: launch data that the policy
    does not name is not accepted. `chip_ids` None accepts any chip, because a chip says nothing about trust
    until someone has looked where it stands. VLEK reports need `csp_ids`.
    """

    measurements: frozenset[bytes] = frozenset()
    products: frozenset[str] = frozenset({"Genoa", "Turin"})
    vmpl: int = 0
    signing_keys: frozenset[str] = frozenset({"vcek"})
    minimum_tcb: Mapping[str, Tcb] = field(default_factory=lambda: SHIPPED_TCB_FLOORS)
    id_key_digests: frozenset[bytes] = frozenset()
    author_key_digests: frozenset[bytes] = frozenset()
    host_data: frozenset[bytes] = frozenset()
    chip_ids: frozenset[bytes] | None = None
    csp_ids: frozenset[str] = frozenset()
    allow_smt: bool = True
    allow_migration: bool = False
    require_alias_check: bool = True
    require_crl: bool = False


@dataclass(frozen=True, slots=True)
class ManifestPolicy:
    """`services` None accepts any label (labels are not trust); root sources have to be named."""

    services: frozenset[str] | None = None
    root_sources: frozenset[str] = frozenset({"hardware"})


@dataclass(frozen=True, slots=True)
class ConfigPolicy:
    """What the gateway may have been told. `providers`: `host[:port]` to pins; None: the shipped table."""

    sha384: frozenset[bytes] | None = None
    providers: Mapping[str, frozenset[bytes]] | None = None
    insecure_development: bool = False


@dataclass(frozen=True, slots=True)
class EvidencePolicy:
    """Age. Without a nonce nothing proves it; `max_age_seconds` bounds how long a manifest may claim."""

    accept_without_nonce: bool = False
    max_age_seconds: int = 90_000


@dataclass(frozen=True, slots=True)
class Policy:
    """The whole policy. `insecure_development_root`: SHA-256 of one simulated root's SPKI, or None."""

    snp: SnpPolicy = field(default_factory=SnpPolicy)
    manifest: ManifestPolicy = field(default_factory=ManifestPolicy)
    config: ConfigPolicy = field(default_factory=ConfigPolicy)
    evidence: EvidencePolicy = field(default_factory=EvidencePolicy)
    insecure_development_root: bytes | None = None


def parse_policy(raw: bytes) -> Policy:
    """Read a policy. Raises PolicyInvalid for unknown keys, wrong types, unconfirmed lines."""
    if b"unconfirmed" in raw.lower():
        raise PolicyInvalid(
            "policy: a line is still marked unconfirmed",
            hint="check each such value against its source, then remove the mark",
        )
    try:
        table = _Table("policy", parse_toml(raw))
        if table.take("format", _text, "") != FORMAT:
            raise MalformedEvidence(f"format must be {FORMAT}")
        policy = Policy(
            insecure_development_root=table.take("insecure_development_root", read_pin, None),
            snp=_snp(table.table("snp")),
            manifest=_manifest(table.table("manifest")),
            config=_config(table.table("config")),
            evidence=_evidence(table.table("evidence")),
        )
        table.end()
    except MalformedEvidence as error:
        raise PolicyInvalid(f"policy refused: {error}", hint="see docs/spec/policy.md") from error
    return policy


class _Table:
    """A TOML table that is read key by key; what nobody took is an unknown key."""

    __slots__ = ("_left", "_where")

    def __init__(self, where: str, value: object) -> None:
        if not isinstance(value, dict):
            raise MalformedEvidence(f"{where} must be a table")
        self._where = where
        self._left: dict[str, object] = dict(value)

    def take(self, key: str, read: Callable[[object], T], default: T) -> T:
        """Read one key, or return its strict default if it is not set."""
        if key not in self._left:
            return default
        try:
            return read(self._left.pop(key))
        except MalformedEvidence as error:
            raise MalformedEvidence(f"[{self._where}] {key}: {error}") from error

    def table(self, key: str) -> _Table:
        """Open a table below this one; an absent one reads like an empty one."""
        return _Table(key, self._left.pop(key, {}))

    def end(self) -> None:
        """Refuse what was not read. TOML keys are safe to name: a policy is the reader's own file."""
        if self._left:
            raise MalformedEvidence(f"[{self._where}] unknown key {sorted(self._left)[0]!r}")


def _snp(table: _Table) -> SnpPolicy:
    default = SnpPolicy()
    policy = SnpPolicy(
        measurements=table.take("measurements", _hex_set(48), default.measurements),
        products=table.take("products", _subset(PRODUCTS), default.products),
        vmpl=table.take("vmpl", _between(0, 3), default.vmpl),
        signing_keys=table.take("signing_keys", _subset(frozenset({"vcek", "vlek"})), default.signing_keys),
        minimum_tcb=table.take("minimum_tcb", _floors, default.minimum_tcb),
        id_key_digests=table.take("id_key_digests", _hex_set(48), default.id_key_digests),
        author_key_digests=table.take("author_key_digests", _hex_set(48), default.author_key_digests),
        host_data=table.take("host_data", _hex_set(32), default.host_data),
        chip_ids=table.take("chip_ids", _hex_set(64), default.chip_ids),
        csp_ids=table.take("csp_ids", _texts, default.csp_ids),
        allow_smt=table.take("allow_smt", _boolean, default.allow_smt),
        allow_migration=table.take("allow_migration", _boolean, default.allow_migration),
        require_alias_check=table.take("require_alias_check", _boolean, default.require_alias_check),
        require_crl=table.take("require_crl", _boolean, default.require_crl),
    )
    table.end()
    return policy


def _manifest(table: _Table) -> ManifestPolicy:
    default = ManifestPolicy()
    policy = ManifestPolicy(
        services=table.take("services", _texts, default.services),
        root_sources=table.take("root_sources", _subset(ROOT_SOURCES), default.root_sources),
    )
    table.end()
    return policy


def _config(table: _Table) -> ConfigPolicy:
    default = ConfigPolicy()
    policy = ConfigPolicy(
        sha384=table.take("sha384", _hex_set(48), default.sha384),
        providers=table.take("providers", _providers, default.providers),
        insecure_development=table.take("insecure_development", _boolean, default.insecure_development),
    )
    table.end()
    return policy


def _evidence(table: _Table) -> EvidencePolicy:
    default = EvidencePolicy()
    policy = EvidencePolicy(
        accept_without_nonce=table.take("accept_without_nonce", _boolean, default.accept_without_nonce),
        max_age_seconds=table.take("max_age_seconds", _between(1, 31_622_400), default.max_age_seconds),
    )
    table.end()
    return policy


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise MalformedEvidence("must be a text")
    return value


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise MalformedEvidence("must be true or false")
    return value


def _between(low: int, high: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            raise MalformedEvidence(f"must be an integer from {low} to {high}")
        return value

    return read


def _texts(value: object) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise MalformedEvidence("must be a list of texts")
    return frozenset(value)


def _subset(allowed: frozenset[str]) -> Callable[[object], frozenset[str]]:
    def read(value: object) -> frozenset[str]:
        found = _texts(value)
        if not found <= allowed:
            raise MalformedEvidence(f"must be among {', '.join(sorted(allowed))}")
        return found

    return read


def _hex_set(length: int) -> Callable[[object], frozenset[bytes]]:
    def read(value: object) -> frozenset[bytes]:
        if not isinstance(value, list):
            raise MalformedEvidence("must be a list")
        return frozenset(hex_value(item, length, "every entry") for item in value)

    return read


def _providers(value: object) -> dict[str, frozenset[bytes]]:
    if not isinstance(value, dict):
        raise MalformedEvidence("must be a table of host = [pins]")
    found: dict[str, frozenset[bytes]] = {}
    for host, pins in value.items():
        if host_of(f"https://{host}") != host:
            raise MalformedEvidence("every host is written host or host:port, without 443")
        if not isinstance(pins, list) or not pins:
            raise MalformedEvidence("every host needs a list of at least one pin")
        found[host] = frozenset(read_pin(pin) for pin in pins)
    return found


def _floors(value: object) -> dict[str, Tcb]:
    """Stated products replace the shipped floor of that product; the others keep theirs."""
    table = _Table("snp.minimum_tcb", value)
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
        table = _Table(f"snp.minimum_tcb.{product}", value)
        levels = {name: table.take(name, _between(0, 255), -1) for name in names}
        table.end()
        if -1 in levels.values():
            raise MalformedEvidence(f"must state all of {', '.join(names)}")
        return Tcb(**levels)

    return read
