"""`casemate serve` and `casemate check`: the production commands."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from attestation.errors import AttestationError
from attestation.pinned_tls import parse_pin
from attestation.policy.settings import read_settings
from enclave.errors import EnclaveError, NoTee
from enclave.launcher import exec_clean, is_clean
from enclave.tee import Tee
from gateway.config import Config, ConfigError, config_sha384, parse_config, read_config
from gateway.serve import Launch
from gateway.serve import serve as serve_gateway

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The gateway's configuration (TOML).")]


def serve(config: ConfigOption) -> None:
    """Run the gateway inside a trusted execution environment, until SIGTERM."""
    path = config.resolve()
    if not is_clean(os.environ):
        exec_clean(["gateway.cli", str(path)])
    raise typer.Exit(_serve(path))


def check(
    config: ConfigOption,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Validate a configuration and print the digest that the manifest will carry. Exit code 1 if refused."""
    try:
        raw, parsed = read_config(config)
        validate(raw, parsed)
    except (ConfigError, OSError) as error:
        _stop(str(error))
    facts = {
        "config_sha384": config_sha384(raw).hex(),
        "providers": sorted(parsed.providers),
        "models": sorted(parsed.models),
        "insecure_development": parsed.insecure_development is not None,
    }
    text = json.dumps(facts) if as_json else "\n".join(f"{name}: {_plain(v)}" for name, v in facts.items())
    sys.stdout.write(text + "\n")


def validate(raw: bytes, config: Config) -> None:
    """What the schema cannot say: models name providers, pins can be read, verifiers can read it. Raises
    ConfigError."""
    for name, model in config.models.items():
        if model.provider not in config.providers:
            raise ConfigError(f"models.{name}.provider names no table under [providers]")
    for name, provider in config.providers.items():
        if not provider.pins:
            raise ConfigError(f"providers.{name}.pins is empty: at least one pin is needed, better two")
        try:
            [parse_pin(pin) for pin in provider.pins]
        except (ValueError, AttestationError) as error:
            raise ConfigError(f"providers.{name}.pins: {error}") from None
    try:
        read_settings(raw)
    except AttestationError as error:
        raise ConfigError(f"clients could not verify this configuration: {error}") from None


def _serve(path: Path) -> int:
    try:
        raw = path.read_bytes()
        config = parse_config(raw)
        validate(raw, config)
        return serve_gateway(Launch(config_path=path, config_bytes=raw, tee=_hardware(config)))
    except (EnclaveError, ConfigError, OSError) as error:
        _tell(str(error), getattr(error, "hint", ""))
        return 1


def _hardware(config: Config) -> Tee:
    """The TEE of this machine. This release brings no hardware platform yet, and never simulates one here."""
    if config.platform.tee != "auto":
        raise NoTee(
            "`casemate serve` runs on real hardware only: platform.tee must be auto",
            hint="for development there is `casemate dev`, which simulates a TEE and says so everywhere",
        )
    raise NoTee(
        "no supported trusted execution environment was found: this release has no hardware platform yet",
        hint="hardware platforms come with a later release; for development there is `casemate dev`",
    )


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _tell(message: str, hint: str = "") -> None:
    sys.stderr.write(f"casemate: {message}\n" + (f"hint: {hint}\n" if hint else ""))


def _stop(message: str) -> NoReturn:
    _tell(message)
    raise typer.Exit(1)


if __name__ == "__main__":
    sys.exit(_serve(Path(sys.argv[1])))
