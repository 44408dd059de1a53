"""`casemate serve` and `casemate check`: production never simulates, and a configuration is refused by
field."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli import validate
from gateway.config import ConfigError, parse_config
from gateway.dev.files import config_text

PIN = "sha256/" + "A" * 43 + "="
CONFIG = f"""
format = "casemate/config/1"
service = "test"
[providers.one]
url = "https://provider.example/v1"
pins = ["{PIN}", "{PIN}"]
[models.small]
provider = "one"
input_nano_per_million = 1
output_nano_per_million = 2
"""


def casemate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "attestation.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(CONFIG)
    return path


def test_check_prints_the_digest_of_the_exact_bytes(config: Path) -> None:
    done = casemate("check", "-c", str(config), "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["config_sha384"] == hashlib.sha384(config.read_bytes()).hexdigest()
    assert facts["models"] == ["small"]
    assert facts["insecure_development"] is False


def test_check_refuses_an_unknown_key_by_name_and_without_its_value(config: Path) -> None:
    config.write_text(CONFIG.replace('service = "test"', 'service = "test"\nsecret_key = "hunter2"'))
    done = casemate("check", "-c", str(config))
    assert done.returncode == 1
    assert "secret_key" in done.stderr
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('provider = "one"', 'provider = "other"', "models.small.provider"),
        (f'["{PIN}", "{PIN}"]', "[]", "providers.one.pins"),
        (f'["{PIN}", "{PIN}"]', '["sha256/AAAA"]', "providers.one.pins"),
        ("https://provider", "http://provider", "clients could not verify"),
    ],
)
def test_refuses_what_could_not_be_served_or_verified(old: str, new: str, field: str) -> None:
    raw = CONFIG.replace(old, new).encode()
    assert raw != CONFIG.encode()
    with pytest.raises(ConfigError, match=field):
        validate(raw, parse_config(raw))


def test_serve_does_not_start_without_hardware_and_says_what_to_do(config: Path) -> None:
    done = casemate("serve", "-c", str(config))
    assert done.returncode == 1
    assert "no supported trusted execution environment" in done.stderr
    assert "casemate dev" in done.stderr
    assert not (config.parent / "data").exists()


def test_serve_never_simulates_even_if_the_configuration_asks_for_it(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(config_text([], port=0, workers=0, admin_key="x"))
    done = casemate("serve", "-c", str(path))
    assert done.returncode == 1
    assert "real hardware only" in done.stderr


def test_serve_starts_over_with_the_enclaves_environment(config: Path) -> None:
    """What the host's PYTHONPATH brought into the first process must be gone from the one that serves."""
    (config.parent / "sitecustomize.py").write_text(
        "import atexit, os\nos.write(2, b'came in;')\natexit.register(os.write, 2, b'still here;')\n"
    )
    command = [sys.executable, "-m", "attestation.cli", "serve", "-c", str(config)]
    environment = {**os.environ, "PYTHONPATH": str(config.parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.stderr.count("came in;") == 1
    assert "still here;" not in done.stderr
    assert "no supported trusted execution environment" in done.stderr
