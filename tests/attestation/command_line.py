"""Running the command as people and scripts do: a process, its output, its exit code, files beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import REPOSITORY
from tests.fakes.amd import NOW
from tests.fakes.evidence import NONCE, Scene

AT = ("--at", NOW.isoformat())
FRESH = ("--nonce", NONCE.hex())


def casemate(*arguments: str | Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    search = os.pathsep.join([str(REPOSITORY), *([str(path)] if path else [])])
    return subprocess.run(
        [sys.executable, "-m", "attestation.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PYTHONPATH": search, "PATH": os.environ["PATH"], "COLUMNS": "200", "NO_COLOR": "1"},
    )


@dataclass(frozen=True)
class Desk:
    """A scene with its document and policy as files."""

    scene: Scene
    folder: Path

    @property
    def document(self) -> Path:
        """Saved evidence."""
        return self.write("evidence.json", self.scene.document())

    def policy(self, toml: str = "") -> Path:
        """A policy file that names the scene's root."""
        return self.write("policy.toml", self.scene.policy(toml))

    def write(self, name: str, raw: bytes) -> Path:
        """A file beside the others."""
        path = self.folder / name
        path.write_bytes(raw)
        return path
