"""The text of the files that `casemate dev` writes for its gateway (configuration) and for clients
(policy)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct, structs

from gateway.config import FORMAT
from gateway.dev.sources import Source

_NOTICE = "# Written by `casemate dev` at every start. INSECURE DEVELOPMENT ONLY.\n"


def config_text(sources: Sequence[Source], *, port: int, workers: int, admin_key: str) -> str:
    """gateway.toml: loopback only, simulated TEE, the sources' providers and models."""
    tables: list[tuple[str, Mapping[str, object]]] = [
        ("", {"format": FORMAT, "service": "casemate-dev"}),
        ("server", {"listen": f"127.0.0.1:{port}", "workers": workers, "hostnames": ["localhost"]}),
        ("platform", {"tee": "insecure-development", "report_interval_seconds": 0.05}),
        ("storage", {"directory": "data"}),
        ("insecure_development", {"admin_key_sha256": hashlib.sha256(admin_key.encode()).hexdigest()}),
        ("providers", {}),
        *((f"providers.{_value(source.name)}", _set_fields(source.provider)) for source in sources),
        ("models", {}),
        *(
            (f"models.{_value(name)}", _set_fields(model))
            for source in sources
            for name, model in source.models.items()
        ),
    ]
    return _NOTICE + "\n".join(_table(name, members) for name, members in tables)


def policy_text(sources: Iterable[Source], *, root: str, measurement: str) -> str:
    """policy.toml: accepts this start's simulated hardware, by name, and these sources' hosts and pins."""
    allowed: dict[str, set[str]] = {}
    for source in sources:
        allowed.setdefault(source.host, set()).update(source.provider.pins)
    providers = [f"{_value(host)} = {_value(sorted(pins))}\n" for host, pins in sorted(allowed.items())]
    return (
        _NOTICE
        + _table("", {"format": "casemate/policy/1", "insecure_development_root": root})
        + _table("snp", {"measurements": [measurement], "products": ["Genoa"]})
        + _table("manifest", {"root_sources": ["insecure-development"], "rollback": ["none"]})
        + _table("config", {"insecure_development": True})
        + "[config.providers]\n"
        + "".join(providers)
    )


def _set_fields(struct: Struct) -> dict[str, object]:
    """What differs from the defaults, so that the file shows what was decided."""
    defaults = {field.name: field.default for field in structs.fields(struct)}
    return {name: value for name, value in structs.asdict(struct).items() if value != defaults[name]}


def _table(name: str, members: Mapping[str, object]) -> str:
    head = f"[{name}]\n" if name else ""
    return head + "".join(f"{key} = {_value(value)}\n" for key, value in members.items()) + "\n"


def _value(value: object) -> str:
    """A TOML value; JSON's strings, numbers, booleans and lists are TOML's as well."""
    return json.dumps(value, ensure_ascii=False)
