"""Every parser that reads what a stranger wrote, with the one rule that all of them keep.

Any bytes at all give a value or the parser's documented error, whose message is short and printable, and no
input makes a parser allocate more than its own size allows. `make fuzz` searches for inputs that break this,
guided by coverage; tests/attestation/test_parsers_any_bytes.py tries thousands of fixed and random ones.
This module imports nothing of the tests' fakes: it runs in the fuzzer's own environment too.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module

from attestation.errors import MalformedEvidence, PolicyInvalid

FIXED_BYTES = (
    512 * 1024
)  # what a parser may take whatever the input: compiled patterns, caches, small objects
MESSAGE_CHARACTERS = 400

Refusals = tuple[type[Exception], ...]


@dataclass(frozen=True, slots=True)
class Target:
    """One parser. `parse` names it as `module:function`, or as `module:function?adapter` of this module.

    `refuses` is what it may raise; `factor` is how many bytes it may allocate for each byte of input.
    """

    name: str
    parse: str
    refuses: Refusals = (MalformedEvidence,)
    factor: int = 100

    def function(self) -> Callable[[bytes], object]:
        """The parser as a function of bytes. Imports it now, so that a fuzzer can instrument it."""
        place, _, adapter = self.parse.partition("?")
        module, _, name = place.partition(":")
        found: Callable[..., object] = getattr(import_module(module), name)
        return _ADAPTERS[adapter](found) if adapter else found


class RuleBroken(AssertionError):  # noqa: N818 - a verdict on the parser
    """A parser did what no parser here may do."""


def hold_to_the_rule(target: Target, parse: Callable[[bytes], object], raw: bytes) -> bool:
    """Parse `raw`; True if it was accepted, False if refused as documented. Anything else is raised.

    Counts what Python allocates if `tracemalloc` runs.
    """
    before = _restart_peak()
    try:
        parse(raw)
        accepted = True
    except target.refuses as error:
        _check_message(str(error))
        accepted = False
    if tracemalloc.is_tracing():
        grown = tracemalloc.get_traced_memory()[1] - before
        if grown > FIXED_BYTES + target.factor * len(raw):
            raise RuleBroken(f"{target.name}: {grown} bytes allocated for {len(raw)} bytes of input")
    return accepted


def _restart_peak() -> int:
    if not tracemalloc.is_tracing():
        return 0
    tracemalloc.reset_peak()
    return tracemalloc.get_traced_memory()[0]


def _check_message(message: str) -> None:
    if not message or len(message) > MESSAGE_CHARACTERS or not (message.isascii() and message.isprintable()):
        raise RuleBroken(f"an error message of {len(message)} characters, or with unprintable ones")


def pairs(raw: bytes) -> dict[int, bytes]:
    """Read (key, length, content) triples of one, one and `length` bytes; the last one may be cut short."""
    found: dict[int, bytes] = {}
    offset = 0
    while offset + 2 <= len(raw):
        found[raw[offset]] = raw[offset + 2 : offset + 2 + raw[offset + 1]]
        offset += 2 + raw[offset + 1]
    return found


def triples(values: Mapping[int, bytes]) -> bytes:
    """The inverse of `pairs`, for values of up to 255 bytes."""
    return b"".join(bytes([key, len(value)]) + value for key, value in values.items())


AMD_SUFFIXES = (".1", ".2", *(f".3.{number}" for number in range(1, 10)), ".4", ".5")


def _amd_extensions(parse: Callable[..., object]) -> Callable[[bytes], object]:
    """Extension values by OID, out of bytes that a fuzzer can mutate."""
    from attestation.snp.kds import AMD_ARC

    def read(raw: bytes) -> object:
        found = pairs(raw)
        named = {AMD_ARC + AMD_SUFFIXES[key % len(AMD_SUFFIXES)]: value for key, value in found.items()}
        return parse(named)

    return read


def _certificates(parse: Callable[..., object]) -> Callable[[bytes], object]:
    """A PEM chain."""
    return lambda raw: parse(raw, "CERTIFICATE", "a chain")


def _text(parse: Callable[..., object]) -> Callable[[bytes], object]:
    """A parser of text: one character for each byte."""
    return lambda raw: parse(raw.decode("latin-1"))


_ADAPTERS: dict[str, Callable[[Callable[..., object]], Callable[[bytes], object]]] = {
    "amd_extensions": _amd_extensions,
    "certificates": _certificates,
    "text": _text,
}

_POLICY = (MalformedEvidence, PolicyInvalid)
_TOML = 1_500  # tomllib keeps several dictionaries for every key, and a key takes three bytes

TARGETS: tuple[Target, ...] = (
    Target("json", "attestation.reader:parse_json_object"),
    Target("base64url", "attestation.reader:b64url_decode?text"),
    Target("pem", "attestation.pem:parse_pem?certificates"),
    Target("document", "attestation.document:parse_document"),
    Target("statement", "attestation.statement:parse_statement"),
    Target("manifest", "attestation.manifest:parse_manifest"),
    Target("settings", "attestation.settings:read_settings", factor=_TOML),
    Target("policy", "attestation.policy_toml:parse_policy", _POLICY, factor=_TOML),
    Target("snp-report", "attestation.snp.abi:parse_report"),
    Target("vek-extensions", "attestation.snp.kds:parse_extension_values?amd_extensions"),
    Target("certificate", "attestation.x509:load_certificate"),
    Target("crl", "attestation.x509:load_crl"),
)


def target_named(name: str) -> Target:
    """The target of this name. Raises KeyError."""
    return {target.name: target for target in TARGETS}[name]
