"""One TOML file, unknown keys refused, exact bytes attested. No secrets, no prompts, no customers in it."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

FORMAT = "casemate/config/1"


class _Table(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every table: frozen, closed."""


class Server(_Table, frozen=True):
    """Where to listen, with how many workers (0: everything in one process)."""

    listen: str = "0.0.0.0:8443"
    workers: int = 1
    hostnames: tuple[str, ...] = ("localhost",)


class Limits(_Table, frozen=True):
    """Bounds on what a client may send; bytes and seconds."""

    body_bytes: int = 20_000_000
    messages: int = 10_000
    nesting: int = 64
    header_bytes: int = 32_768
    header_seconds: float = 10.0
    body_silence_seconds: float = 15.0
    body_seconds: float = 300.0
    inflight_body_bytes: int = 64_000_000
    first_event_seconds: float = 8.0
    response_seconds: float = 600.0
    write_stall_seconds: float = 60.0
    connections: int = 4_096


class Platform(_Table, frozen=True):
    """Which TEE to use, and how often its device may be asked for a report."""

    tee: Literal["auto", "insecure-development"] = "auto"
    report_interval_seconds: float = 0.1


class Storage(_Table, frozen=True):
    """Directory for ledger.db and keyring; relative paths are relative to the configuration file."""

    directory: str = "data"


class Provider(_Table, frozen=True):
    """An upstream: address, pins (`sha256/<base64>` of an SPKI), and what it says about retention."""

    url: str
    pins: tuple[str, ...]
    tier: Literal["tls-pinned"] = "tls-pinned"
    credential: str = ""
    ca_pem: str = ""
    retention: str = "unknown"
    training: str = "unknown"
    region: str = "unknown"


class Model(_Table, frozen=True):
    """A catalogue entry. Prices are integer nano-dollars per million tokens."""

    provider: str
    input_nano_per_million: int
    output_nano_per_million: int
    cached_input_nano_per_million: int | None = None
    upstream_model: str = ""
    context_tokens: int = 8_192
    max_output_tokens: int = 4_096
    first_event_seconds: float | None = None
    created: int = 0


class Development(_Table, frozen=True):
    """Presence of this table makes the gateway insecure and loud about it."""

    admin_key_sha256: str


class Config(_Table, frozen=True):
    """The whole file."""

    format: Literal["casemate/config/1"]
    service: str
    providers: dict[str, Provider]
    models: dict[str, Model]
    server: Server = Server()
    limits: Limits = Limits()
    platform: Platform = Platform()
    storage: Storage = Storage()
    insecure_development: Development | None = None


class ConfigError(Exception):
    """The file cannot be used; the message names the field, never a value."""


def parse_config(raw: bytes) -> Config:
    """Decode and validate a configuration. Raises ConfigError."""
    try:
        table = tomllib.loads(raw.decode("utf-8"))
        config = msgspec.convert(table, Config)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"configuration refused: {error}") from error
    return config


def config_sha384(raw: bytes) -> bytes:
    """Digest of the exact bytes, as the manifest carries it (48 bytes)."""
    return hashlib.sha384(raw).digest()


def read_config(path: Path) -> tuple[bytes, Config]:
    """Read a file once; return its exact bytes and their meaning."""
    raw = path.read_bytes()
    return raw, parse_config(raw)
