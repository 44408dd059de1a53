"""The bindings for httpx and httpx2 are one text under two names: no type takes a module as its parameter."""

from __future__ import annotations

from tests.conftest import REPOSITORY


def text_of(library: str) -> list[str]:
    path = REPOSITORY / "attestation" / "transport" / f"{library}_transport.py"
    code = path.read_text().replace("httpcore2", "httpcore").replace("httpx2", "httpx")
    return code.splitlines()[1:]


def test_a_change_to_one_binding_is_a_change_to_the_other():
    assert text_of("httpx") == text_of("httpx2")
