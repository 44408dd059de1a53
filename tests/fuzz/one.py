"""`python -m tests.fuzz.one TARGET [libFuzzer's arguments]`: one target, in the fuzzer's own environment.

Stops at the first input that breaks the rule, and keeps it. To see it again: name that file as the argument.
"""

from __future__ import annotations

import sys
import tracemalloc

import atheris

with atheris.instrument_imports(include=["attestation"]):
    from tests.fuzz.targets import hold_to_the_rule, target_named

    _TARGET = target_named(sys.argv.pop(1))
    _PARSE = _TARGET.function()


def one_input(data: bytes) -> None:
    """What the fuzzer calls."""
    hold_to_the_rule(_TARGET, _PARSE, data)


def main() -> None:
    """Never returns: the fuzzer ends the process."""
    tracemalloc.start()
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
