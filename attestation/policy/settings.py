"""What the gateway was told, as its verifier reads it: from the attested bytes, independently of the server.

Only what can move a prompt or open a door is read (providers, their pins and authorities, the development
table, the chosen TEE); prices, limits and plans may change freely. A table or a provider field that this
version does not know is refused, because it may be such a door. Specification: docs/spec/policy.md.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass

from attestation.errors import MalformedEvidence
from attestation.pins import read_pin

FORMAT = "casemate/config/1"
MAX_BYTES = 1024 * 1024
MAX_DOTS = 64
MAX_ALL_DOTS = 8192

TABLES = frozenset(
    {
        "format",
        "service",
        "providers",
        "models",
        "server",
        "limits",
        "platform",
        "storage",
        "insecure_development",
    }
)
PROVIDER_FIELDS = frozenset(
    {"url", "pins", "tier", "credential", "ca_pem", "retention", "training", "region"}
)
PLATFORM_FIELDS = frozenset({"tee", "report_interval_seconds"})

# Stricter than RFC 3986 on purpose: no user info, query, escape or upper case, so that no HTTP client can
# read another host out of the same text.
_URL = re.compile(
    r"https://([a-z0-9][a-z0-9.-]*|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?(?:/[A-Za-z0-9._~/-]*)?"
)
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")


@dataclass(frozen=True, slots=True)
class ProviderSetting:
    """One upstream: `host` is `name` or `name:port` if the port is not 443; pins are 32 bytes each."""

    name: str
    host: str
    pins: frozenset[bytes]
    tier: str
    own_authority: bool


@dataclass(frozen=True, slots=True)
class Settings:
    """The part of a configuration that decides where prompts go and whether development doors are open."""

    providers: tuple[ProviderSetting, ...]
    insecure_development: bool


def read_settings(raw: bytes) -> Settings:
    """Read attested configuration bytes. Raises MalformedEvidence for what cannot be read completely."""
    table = parse_toml(raw)
    if table.get("format") != FORMAT:
        raise MalformedEvidence(f"config: format is not {FORMAT}")
    if not table.keys() <= TABLES:
        raise MalformedEvidence("config: a table that this verifier does not know")
    providers = table.get("providers")
    if not isinstance(providers, dict):
        raise MalformedEvidence("config: providers must be a table")
    simulated = _simulated_tee(table.get("platform", {}))
    return Settings(
        providers=tuple(_provider(name, entry) for name, entry in providers.items()),
        insecure_development="insecure_development" in table or simulated,
    )


def parse_toml(raw: bytes) -> dict[str, object]:
    """Parse TOML from a stranger. Raises MalformedEvidence, also for nesting that exhausts the parser.

    `tomllib` keeps every prefix of a dotted key, so one long line, or many, could take all memory: dots are
    counted first, wherever they stand.
    """
    if len(raw) > MAX_BYTES:
        raise MalformedEvidence("TOML: longer than 1 MiB")
    if raw.count(b".") > MAX_ALL_DOTS or any(line.count(b".") > MAX_DOTS for line in raw.splitlines()):
        raise MalformedEvidence(f"TOML: more than {MAX_DOTS} dots in a line or {MAX_ALL_DOTS} in all")
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise MalformedEvidence("TOML: cannot be parsed") from error


def host_of(url: object) -> str:
    """Return `host` or `host:port` of an https URL; the port is left out if it is 443."""
    match = _URL.fullmatch(url) if isinstance(url, str) else None
    if match is None:
        raise MalformedEvidence(
            "config: a provider url must be https://host[:port][/path] in plain lower case"
        )
    host, port = match.group(1), int(match.group(2) or 443)
    if host.endswith((".", "-")) or port > 65_535:
        raise MalformedEvidence("config: a provider url names an impossible host or port")
    return host if port == 443 else f"{host}:{port}"


def _provider(name: str, entry: object) -> ProviderSetting:
    if _NAME.fullmatch(name) is None or not isinstance(entry, dict):
        raise MalformedEvidence("config: every provider is a table with a plain name")
    if not entry.keys() <= PROVIDER_FIELDS:
        raise MalformedEvidence("config: a provider field that this verifier does not know")
    pins, tier, ca_pem = entry.get("pins"), entry.get("tier", "tls-pinned"), entry.get("ca_pem", "")
    if not isinstance(pins, list) or not isinstance(tier, str) or not isinstance(ca_pem, str):
        raise MalformedEvidence("config: a provider needs pins (a list), tier and ca_pem (texts)")
    return ProviderSetting(
        name=name,
        host=host_of(entry.get("url")),
        pins=frozenset(read_pin(pin) for pin in pins),
        tier=tier if _NAME.fullmatch(tier) else "unreadable",
        own_authority=ca_pem != "",
    )


def _simulated_tee(platform: object) -> bool:
    if not isinstance(platform, Mapping) or not platform.keys() <= PLATFORM_FIELDS:
        raise MalformedEvidence("config: a platform field that this verifier does not know")
    tee = platform.get("tee", "auto")
    if tee not in ("auto", "insecure-development"):
        raise MalformedEvidence("config: platform.tee is neither auto nor insecure-development")
    return bool(tee == "insecure-development")
