"""What `casemate dev` writes can be read by those it is written for, and keeps what it promised to keep."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from attestation.pins import read_pin
from attestation.policy.providers import MINIMUM_PINS, PROVIDER_HOSTS
from attestation.policy.settings import read_settings
from attestation.policy.toml import parse_policy
from gateway.cli import validate
from gateway.config import Config, parse_config
from gateway.dev.files import config_text, policy_text
from gateway.dev.presets import PRESETS, public_root_pins
from gateway.dev.session import PortTaken, require_free
from gateway.dev.sources import SourceError, local_model, real_providers, upstream
from gateway.dev.state import API_KEY, State, StateError, read_credentials

PINS = ["sha256/" + "A" * 43 + "=", "sha256/" + "B" * 42 + "A="]
ROOT = PINS[0]


def sources() -> list[object]:
    return [
        local_model(4711, PINS, '-----BEGIN CERTIFICATE-----\nquote " and \\ \n'),
        *real_providers(PRESETS),
    ]


def config_of(found: list) -> Config:
    raw = config_text(found, port=8443, workers=2, admin_key="an operator's key").encode()
    config = parse_config(raw)
    validate(raw, config)
    return config


def test_the_configuration_says_what_the_sources_say() -> None:
    found = sources()
    config = config_of(found)
    assert config.providers == {source.name: source.provider for source in found}
    assert config.models == {name: model for source in found for name, model in source.models.items()}
    assert config.server.listen == "127.0.0.1:8443"
    assert config.server.workers == 2


def test_the_policy_allows_exactly_the_configured_hosts_and_pins() -> None:
    found = sources()
    policy = parse_policy(policy_text(found, root=ROOT, measurement="ab" * 48).encode())
    raw = config_text(found, port=1, workers=0, admin_key="k").encode()
    told = {provider.host: provider.pins for provider in read_settings(raw).providers}
    assert policy.config.providers == told
    assert policy.insecure_development_root == read_pin(ROOT)
    assert policy.snp.measurements == {bytes([0xAB]) * 48}
    assert policy.manifest.rollback == {"none"}
    assert policy.snp.require_crl


def test_without_any_source_both_files_still_hold() -> None:
    assert config_of([]).providers == {}
    assert parse_policy(policy_text([], root=ROOT, measurement="00" * 48).encode()).config.providers == {}


def test_the_admin_key_itself_is_not_in_the_attested_configuration() -> None:
    assert "an operator's key" not in config_text([], port=1, workers=0, admin_key="an operator's key")


def test_every_preset_is_a_provider_that_shipped_policies_know_with_enough_pins() -> None:
    assert len(public_root_pins()) >= MINIMUM_PINS
    assert {source.host for source in real_providers(PRESETS)} <= PROVIDER_HOSTS
    assert all(source.provider.credential == source.name for source in real_providers(PRESETS))


def test_only_providers_whose_key_is_there_are_served() -> None:
    assert [source.name for source in real_providers(["groq", "upstream"])] == ["groq"]
    with pytest.raises(SourceError, match="opnai"):
        real_providers(["opnai"])


def test_an_upstream_that_is_not_there_is_told_by_its_address() -> None:
    with pytest.raises(SourceError, match="https://localhost:1/v1 cannot be used"):
        upstream("https://localhost:1/v1", PINS, None, None)


def test_a_secrets_file_of_another_shape_is_refused_without_repeating_it(tmp_path: Path) -> None:
    path = tmp_path / "secrets.toml"
    for wrong in (
        '[providers.a]\nkey = "hunter2"',
        'providers = "hunter2"',
        "[providers.a]\napi_key = 1",
        "[",
    ):
        path.write_text(wrong)
        with pytest.raises(StateError) as refused:
            read_credentials(tmp_path)
        assert "hunter2" not in str(refused.value)
    path.write_text('[providers.groq]\napi_key = "k"\n')
    assert read_credentials(tmp_path) == {"groq": "k"}


def test_a_secrets_file_that_others_could_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secrets.toml"
    path.write_text('[providers.groq]\napi_key = "k"\n')
    path.chmod(0o644)
    tmp_path.chmod(0o755)
    with pytest.raises(StateError, match="chmod 600"):
        read_credentials(tmp_path)
    path.chmod(0o600)
    assert read_credentials(tmp_path) == {"groq": "k"}
    path.chmod(0o644)
    tmp_path.chmod(0o700)
    assert read_credentials(tmp_path) == {"groq": "k"}


def test_the_directory_belongs_to_one_at_a_time(tmp_path: Path) -> None:
    first = State(tmp_path)
    with pytest.raises(StateError, match="another"):
        State(tmp_path)
    first.release()
    State(tmp_path).release()


def test_keys_and_the_chip_survive_a_start(tmp_path: Path) -> None:
    first = State(tmp_path)
    first.keep_chip()
    chip = (tmp_path / "chip.key").read_bytes()
    first.write_env({API_KEY: "zima-x", "CASEMATE_BASE_URL": "https://localhost:1/api/v1"})
    first.release()
    second = State(tmp_path)
    second.keep_chip()
    assert (tmp_path / "chip.key").read_bytes() == chip
    assert second.kept() == {API_KEY: "zima-x"}
    assert stat.S_IMODE((tmp_path / "env").stat().st_mode) == 0o600
    second.release()


def test_a_directory_that_cannot_keep_state_is_told_in_one_sentence(tmp_path: Path) -> None:
    taken = tmp_path / "a file"
    taken.write_text("")
    with pytest.raises(StateError, match=r"cannot keep state .*name another --state-dir"):
        State(taken)


def test_a_port_that_another_program_has_is_told_with_the_option_that_avoids_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"port {port}: .*--proxy-port"):
            require_free("--proxy-port", port)
    require_free("--proxy-port", port)
    require_free("--port", 0)
