"""The state directory of `casemate dev`: what is kept between starts, and what is written anew each time.

Kept: `chip.key` (stands in for the chip's secret), `data/` (keyring and ledger), the two keys in `env`, and
what the developer puts there: `secrets.toml`. Written anew: `gateway.toml`, `policy.toml`, `ca.pem`, the
addresses in `env`.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import tomllib
from collections.abc import Mapping
from pathlib import Path

ADMIN_KEY = "CASEMATE_ADMIN_KEY"
API_KEY = "CASEMATE_API_KEY"
KEPT = (API_KEY, ADMIN_KEY)
CHIP_BYTES = 32
CHIP_FILE, CONFIG_FILE, SECRETS_FILE = "chip.key", "gateway.toml", "secrets.toml"


class StateError(OSError):
    """The state directory cannot be used; the message says what to do."""


class State:
    """One state directory, held by one `casemate dev` at a time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = self._hold()
        except StateError:
            raise
        except OSError as error:
            raise StateError(
                f"{self.directory} cannot keep state ({error.strerror}); name another --state-dir"
            ) from None
        self.config = self.directory / CONFIG_FILE
        self.policy = self.directory / "policy.toml"
        self.ca = self.directory / "ca.pem"
        self.env = self.directory / "env"
        self.logs = self.directory / "logs"

    def _hold(self) -> int:
        """The kernel lets go of the lock when this process ends, however it ends."""
        fd = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise StateError(
                f"another `casemate dev` uses {self.directory}; stop it, or name another --state-dir"
            ) from None
        return fd

    def release(self) -> None:
        """Let another `casemate dev` have the directory."""
        os.close(self._lock)

    def keep_chip(self) -> None:
        """Make the simulated chip's secret on the first start: losing it loses accounts and balances."""
        path = self.directory / CHIP_FILE
        if not path.exists():
            write(path, secrets.token_bytes(CHIP_BYTES))

    def kept(self) -> dict[str, str]:
        """The keys that an earlier start left in `env`; none on the first."""
        if not self.env.exists():
            return {}
        lines = self.env.read_text("utf-8").splitlines()
        pairs = dict(line.split("=", 1) for line in lines if "=" in line)
        return {name: pairs[name] for name in KEPT if pairs.get(name)}

    def write_env(self, values: Mapping[str, str]) -> None:
        """Write `env`, readable by its owner alone: KEY=VALUE lines for shells and tools."""
        write(self.env, "".join(f"{name}={value}\n" for name, value in values.items()).encode())


def read_credentials(directory: Path) -> dict[str, str]:
    """API keys of real providers from `secrets.toml`: `[providers.NAME] api_key = "…"`. Raises StateError."""
    path = directory / SECRETS_FILE
    if not path.exists():
        return {}
    if directory.stat().st_mode & path.stat().st_mode & 0o077:
        raise StateError(f"{path}: others on this machine could read it; say `chmod 600` to it")
    try:
        table = tomllib.loads(path.read_text("utf-8"))
        return {name: _api_key(entry) for name, entry in table.get("providers", {}).items()}
    except (ValueError, AttributeError, TypeError, KeyError):
        raise StateError(f'{path}: expected only [providers.NAME] tables with api_key = "…"') from None


def write(path: Path, content: bytes) -> None:
    """Replace a file in one step, durably; 0600 from its first moment."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _api_key(entry: Mapping[str, object]) -> str:
    key = entry["api_key"]
    if set(entry) != {"api_key"} or not isinstance(key, str) or not key.isascii() or not key.isprintable():
        raise ValueError
    return key
