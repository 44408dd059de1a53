"""The whole log: a closed set of typed events, one JSON line each. There is no way to log a text (DESIGN
section 5)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import BinaryIO

import msgspec
from msgspec import Struct


class Event(Struct, frozen=True, tag=True, tag_field="event"):
    """Base: tagged by class name."""


class Served(Event, frozen=True):
    """One request ended. `route` and `model` are names of ours, never a client's text; `code` is ours too."""

    request: str
    route: str
    status: int
    milliseconds: int
    code: str | None = None
    model: str | None = None
    streamed: bool = False
    sealed: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    cost: int = 0
    complete: bool = True


class Fault(Event, frozen=True):
    """Something of ours broke; `kind` is an exception's class name, `where` a module:line of our own code."""

    request: str
    kind: str
    where: str


class Insecure(Event, frozen=True):
    """Said once per worker: this gateway runs on a simulated TEE and protects nobody."""

    notice: str = "INSECURE DEVELOPMENT: simulated TEE"


class Supervised(Event, frozen=True):
    """A process of ours started or ended. `what` and `role` are from gateway.supervisor's closed lists;
    `status` as from os.waitstatus_to_exitcode."""

    what: str
    role: str
    pid: int
    status: int


class Log:
    """Writes events as JSON lines, by default to standard error."""

    def __init__(self, sink: BinaryIO | None = None) -> None:
        self._sink = sink or sys.stderr.buffer
        self._encode: Callable[[Event], bytes] = msgspec.json.Encoder().encode

    def write(self, event: Event) -> None:
        """Write one line and flush it."""
        self._sink.write(self._encode(event) + b"\n")
        self._sink.flush()


def where(error: BaseException) -> str:
    """Module and line of the innermost frame of an exception: enough to find a bug, and no content."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "unknown"
    return f"{trace.tb_frame.f_globals.get('__name__', 'unknown')}:{trace.tb_lineno}"
