"""What the verifier reads in a gateway's configuration, independently of what the server reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from attestation.errors import MalformedEvidence
from attestation.pins import read_pin, write_pin
from attestation.policy.settings import (
    PLATFORM_FIELDS,
    PROVIDER_FIELDS,
    TABLES,
    host_of,
    parse_toml,
    read_settings,
)
from gateway import config as gateway_config
from tests.fakes.evidence import DEVELOPMENT_TABLE, PINS, config, provider


def test_the_verifier_knows_every_table_and_field_that_can_move_a_prompt() -> None:
    """If the server learns to read something new, the verifier has to learn it first."""
    assert set(gateway_config.Config.__struct_fields__) == TABLES
    assert set(gateway_config.Provider.__struct_fields__) == PROVIDER_FIELDS
    assert set(gateway_config.Platform.__struct_fields__) == PLATFORM_FIELDS


def test_verifier_and_server_read_the_same_out_of_the_same_bytes() -> None:
    raw = config(provider("api.openai.com:8443", ca_pem="x"), DEVELOPMENT_TABLE)
    ours, theirs = read_settings(raw), gateway_config.parse_config(raw)
    assert [p.name for p in ours.providers] == list(theirs.providers)
    assert ours.providers[0].pins == {read_pin(pin) for pin in theirs.providers["upstream"].pins}
    assert ours.insecure_development is (theirs.insecure_development is not None)
    assert ours.providers[0].own_authority is bool(theirs.providers["upstream"].ca_pem)


def test_reads_host_pins_tier_and_authority() -> None:
    (found,) = read_settings(config(provider("api.x.ai:8443", pins=PINS[:1], ca_pem="pem"))).providers
    assert (found.name, found.host, found.tier) == ("upstream", "api.x.ai:8443", "tls-pinned")
    assert found.pins == {read_pin(PINS[0])}
    assert found.own_authority


@pytest.mark.parametrize(
    ("extra", "is_open"),
    [
        ("", False),
        (DEVELOPMENT_TABLE, True),
        ('[platform]\ntee = "insecure-development"\n', True),
        ('[platform]\ntee = "auto"\n', False),
    ],
)
def test_sees_every_development_door(extra: str, is_open: bool) -> None:
    assert read_settings(config(extra=extra)).insecure_development is is_open


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://api.openai.com/v1", "api.openai.com"),
        ("https://api.openai.com", "api.openai.com"),
        ("https://api.openai.com:443/", "api.openai.com"),
        ("https://api.openai.com:8443", "api.openai.com:8443"),
        ("https://127.0.0.1:9/v1", "127.0.0.1:9"),
        ("https://[::1]:9/v1", "[::1]:9"),
    ],
)
def test_reads_the_host_of_a_url(url: str, host: str) -> None:
    assert host_of(url) == host


@pytest.mark.parametrize(
    "url",
    [
        "http://api.openai.com/v1",
        "https://api.openai.com@evil.example/",
        "https://api.openai.com\\@evil.example/",
        "https://evil.example#api.openai.com",
        "https://evil.example?api.openai.com",
        "https://API.openai.com/",
        "https://api.openai.com./",
        "https://api.openai.com:0/",
        "https://api.openai.com:65536/",
        "https://api.openai.com:/",
        "https://api%2eopenai.com/",
        "https://аpi.openai.com/",  # noqa: RUF001 - the first letter is Cyrillic
        "https://api.openai.com/\n",
        " https://api.openai.com/",
        "https:///v1",
        "https://",
        "",
        None,
        7,
    ],
)
def test_refuses_a_url_that_two_readers_may_read_differently(url: object) -> None:
    with pytest.raises(MalformedEvidence):
        host_of(url)


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff",
        b"a = ",
        b'format = "casemate/config/2"',
        b'format = "casemate/config/1"',
        config(extra="[new_table]\nx = 1\n"),
        config(provider(proxy="https://evil.example")),
        config(provider(pins=("sha256/short",))),
        config(provider().replace("pins", "tier")),
        config("[providers]\nupstream = 5\n"),
        config('[providers."../x"]\nurl = "https://a.example"\npins = []\n'),
        config(extra='[platform]\ntee = "none"\n'),
        config(extra='[platform]\nfirmware = "x"\n'),
        b'platform = 5\nformat = "casemate/config/1"\n[providers]\n',
    ],
)
def test_refuses_what_it_cannot_read_completely(raw: bytes) -> None:
    with pytest.raises(MalformedEvidence):
        read_settings(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"a" + b".a" * 100_000 + b" = 1",
        b"x = " + b"[" * 100_000,
        b"x = " + b"{a=" * 100_000,
        b"#" * (1 << 21),
    ],
)
def test_refuses_toml_that_is_made_to_exhaust_its_reader(raw: bytes) -> None:
    with pytest.raises(MalformedEvidence):
        parse_toml(raw)


def test_prices_and_limits_may_be_anything() -> None:
    read_settings(config(extra="[limits]\nbody_bytes = 5\n[storage]\ndirectory = 'x'\n"))


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: config(extra=text)))
@hypothesis_settings(deadline=None)
def test_any_bytes_give_settings_or_the_typed_error(raw: bytes) -> None:
    try:
        read_settings(raw)
    except MalformedEvidence:
        return


@given(st.binary(min_size=32, max_size=32))
def test_a_pin_has_one_spelling(pin: bytes) -> None:
    assert read_pin(write_pin(pin)) == pin


@given(st.text(max_size=60) | st.text(max_size=60).map("sha256/".__add__) | st.none())
@hypothesis_settings(deadline=None)
def test_any_other_text_is_no_pin(text: str | None) -> None:
    try:
        assert write_pin(read_pin(text)) == text
    except MalformedEvidence:
        return


def test_many_lines_of_few_dots_take_no_more_memory_than_one_of_many() -> None:
    """`tomllib` keeps every prefix: a megabyte of deep headers would become half a gigabyte of tables."""
    lines = [b"[a%x" % number + b".b" * 61 + b"]\n" for number in range(200)]
    with pytest.raises(MalformedEvidence, match="dots"):
        parse_toml(b"".join(lines))
    assert len(parse_toml(b"".join(lines[:100]))) == 100
