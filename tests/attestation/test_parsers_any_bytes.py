"""Every parser, any bytes: a value or the documented error, a short message, memory bounded by the input.

The table of parsers is the fuzzer's (tests/fuzz/targets.py). Here each is tried quickly and in the same
way every time: forged seeds cut short, with absurd lengths and characters anywhere, with damage that
hypothesis finds, and grown out of proportion.
"""

from __future__ import annotations

import ast
import random
import tracemalloc
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.errors import MalformedEvidence
from tests.fakes.amd import World
from tests.fuzz.seeds import Forge, seeds_of
from tests.fuzz.targets import FIXED_BYTES, TARGETS, RuleBroken, Target, hold_to_the_rule
from tests.trust_core import ROOT, edge_files

BULK = 8_000
every_target = pytest.mark.parametrize("target", TARGETS, ids=[target.name for target in TARGETS])


@pytest.fixture(scope="module")
def forge(genoa: World) -> Forge:
    """Seeds of every target."""
    return Forge(genoa)


@pytest.fixture
def counted() -> Iterator[None]:
    """Counts what Python allocates."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


def _tried(target: Target, inputs: Sequence[bytes]) -> int:
    """How many of `inputs` were accepted; raises if any breaks the rule."""
    parse = target.function()
    return sum(hold_to_the_rule(target, parse, raw) for raw in inputs)


def _places(target: Target) -> int:
    """How many places of a seed are tried: whole stages take a hundred times as long as a parser."""
    return 20 if target.is_stage else 100


@every_target
def test_every_forged_seed_is_read(target: Target, forge: Forge) -> None:
    """A parser that refuses its own seed would hold to any rule."""
    if target.name == "release":  # another key signed these
        return
    seeds = seeds_of(forge, target.name)
    accepted = _tried(target, seeds)
    refused = 1 if target.name in ("ccel", "hcl-judged") else 0  # FF after a payload; padding that is not
    assert len(seeds) - refused <= accepted


@every_target
def test_a_seed_cut_short_anywhere_is_read_or_refused(target: Target, forge: Forge) -> None:
    for seed in seeds_of(forge, target.name):
        step = max(1, len(seed) // _places(target))
        _tried(target, [seed[:end] for end in range(0, len(seed), step)])
        _tried(target, [seed + tail for tail in (b"\0", b"\xff", b"\n", b" ", seed)])


# Lengths that nothing can have, none at all, half a character of UTF-16 (and none of UTF-8), signs of JSON.
_INTRUDERS = (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4), b"\xd8\xd8", b'"', b"-1", b"[")


@every_target
@pytest.mark.usefixtures("counted")
def test_an_absurd_length_or_character_anywhere_is_refused_or_harmless(target: Target, forge: Forge) -> None:
    """Also in memory: every place where a length may stand says 4 GiB once."""
    for seed in seeds_of(forge, target.name)[:3]:
        step = max(1, len(seed) // _places(target))
        for put in _INTRUDERS:
            _tried(target, [seed[:at] + put + seed[at + len(put) :] for at in range(0, len(seed), step)])


_FILLINGS = (
    *(bytes([byte]) for byte in b'\0\xff [{"a1.,\\=\n'),
    *(b"a.", b"a=1\n", b"[a]\n", b'["', b'{"a":', b'"a",', b"1,", b"\\u00ff"),
)


@every_target
@pytest.mark.usefixtures("counted")
def test_what_is_long_is_read_or_refused_within_its_own_size(target: Target, forge: Forge) -> None:
    for seed in seeds_of(forge, target.name)[:2]:
        places = range(0, len(seed) + 1, max(1, len(seed) // (_places(target) // 20)))
        _tried(target, [_grown(seed, at, filling) for filling in (*_FILLINGS, seed) for at in places])


def _grown(seed: bytes, at: int, filling: bytes) -> bytes:
    return seed[:at] + filling * (BULK // max(1, len(filling))) + seed[at:]


@every_target
@settings(max_examples=40, deadline=None)
@given(chance=st.randoms(use_true_random=False), raw=st.binary(max_size=300))
def test_any_bytes_and_any_damage_give_a_value_or_the_typed_error(
    target: Target, forge: Forge, chance: random.Random, raw: bytes
) -> None:
    seed = chance.choice(seeds_of(forge, target.name))
    _tried(target, [raw, *(_damaged(seed, chance) for _ in range(4))])


def _damaged(seed: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, a piece taken out, doubled, or put elsewhere."""
    changed = bytearray(seed)
    for _ in range(chance.randint(1, 4)):
        start = chance.randint(0, len(changed))
        piece = changed[start : start + chance.choice((1, 2, 4, 8, 40))]
        match chance.randint(0, 3):
            case 0 if piece:
                changed[start] ^= 1 << chance.randint(0, 7)
            case 1:
                del changed[start : start + len(piece)]
            case 2:
                changed[start:start] = piece * 2
            case _:
                at = chance.randint(0, len(changed))
                changed[at : at + len(piece)] = piece
    return bytes(changed)


def test_every_parser_of_the_trust_core_is_in_the_table() -> None:
    """A new parser of bytes gets a target, or this says which one is missing."""
    named, edges = {target.place for target in TARGETS}, set(edge_files())
    found = {
        f"{'.'.join(path.relative_to(ROOT).with_suffix('').parts)}:{node.name}"
        for path in sorted((ROOT / "attestation").rglob("*.py"))
        if path not in edges
        for node in ast.parse(path.read_bytes()).body
        if isinstance(node, ast.FunctionDef) and _reads_bytes(node)
    }
    assert found - named - REACHED_THROUGH_OTHERS == set()
    assert len(found) > 20


# Each is called by a target's parser, with the same bytes.
REACHED_THROUGH_OTHERS = {
    "attestation.policy.settings:parse_toml",
    "attestation.snp.abi:decode_tcb",
    "attestation.tdx.signed:parse_signed",
}


def _reads_bytes(node: ast.FunctionDef) -> bool:
    first = node.args.args[:1]
    takes_bytes = (
        bool(first) and first[0].annotation is not None and ast.unparse(first[0].annotation) == "bytes"
    )
    return takes_bytes and node.name.startswith(("parse", "read", "load", "decode"))


_HARMLESS = Target("harmless", "builtins:len")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("another type"),
        MalformedEvidence("x" * 500),
        MalformedEvidence("\x1b[2J"),
        MalformedEvidence(""),
    ],
)
def test_the_rule_is_broken_by_another_error_and_by_a_message_that_is_long_or_unprintable(
    error: Exception,
) -> None:
    def parse(raw: bytes) -> object:
        raise error

    with pytest.raises((RuleBroken, ValueError)):
        hold_to_the_rule(_HARMLESS, parse, b"")


@pytest.mark.usefixtures("counted")
def test_the_rule_is_broken_by_memory_out_of_proportion() -> None:
    assert hold_to_the_rule(_HARMLESS, lambda raw: bytes(FIXED_BYTES // 2), b"")
    with pytest.raises(RuleBroken, match="allocated"):
        hold_to_the_rule(_HARMLESS, lambda raw: bytes(FIXED_BYTES + 1000), b"")
