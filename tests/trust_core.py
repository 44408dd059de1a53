"""Which modules decide whether hardware is to be trusted: read from the layering contract, kept once."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONTRACT = "trust is decided without I/O, clock or environment"


@cache
def project() -> dict[str, Any]:
    """The contents of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def contract_modules() -> tuple[str, ...]:
    """The modules and packages that the contract names."""
    contracts = project()["tool"]["importlinter"]["contracts"]
    found: list[str] = next(entry["source_modules"] for entry in contracts if entry["name"] == CONTRACT)
    return tuple(found)


def core_files() -> list[Path]:
    """Every file of the trust core; a package stands for all that is in it."""
    files: set[Path] = set()
    for name in contract_modules():
        place = ROOT.joinpath(*name.split("."))
        files |= set(place.rglob("*.py")) if place.is_dir() else {place.with_suffix(".py")}
    return sorted(files)


def edge_files() -> list[Path]:
    """Every file of the package that pyproject.toml lets read a clock, a file or the network."""
    ignores = project()["tool"]["ruff"]["lint"]["per-file-ignores"]
    patterns = [pattern for pattern, rules in ignores.items() if "TID251" in rules]
    ours = [pattern for pattern in patterns if pattern.startswith("attestation/")]
    return sorted({path for pattern in ours for path in _expand(pattern)})


def _expand(pattern: str) -> list[Path]:
    """Files of one pattern with at most one {a,b} in it."""
    head, _, rest = pattern.partition("{")
    names, _, tail = rest.partition("}")
    whole = [head + name + tail for name in names.split(",")] if rest else [pattern]
    found = [path for each in whole for path in ROOT.glob(each)]
    return [path for place in found for path in (place.rglob("*.py") if place.is_dir() else [place])]
