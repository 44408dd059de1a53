"""Load on a gateway, and what each client can say of its own request: only that counts on this side."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.fakes.counting_provider import PACED
from tests.stories.machine import CHAT, STEP_SECONDS, Account, Machine

DONE = b"data: [DONE]\n\n"
MAX_TOKENS = 64
LONGEST = 24


@dataclass(slots=True)
class Call:
    """One request and its fate, as its client saw it. `key` is the name of the API key that only it uses."""

    number: int
    account: Account = field(repr=False)
    key: str
    streamed: bool
    status: int = 0
    whole: bool = False
    """The response arrived to its last byte: finish reason, billing and `[DONE]`, or one whole object."""

    @property
    def test_id(self) -> str:
        """Its name at the provider."""
        return f"{self.account.id}/{self.key}"

    def body(self, model: str = PACED) -> dict[str, Any]:
        """A request that says who it is, so that the provider can count it."""
        return {
            "model": model,
            "messages": [{"role": "user", "content": f"Request {self.number}: " + "say something. " * 4}],
            "stream": self.streamed,
            "max_tokens": MAX_TOKENS,
            "test_id": self.test_id,
            "test_words": 4 + self.number * 7 % (LONGEST - 4),
        }

    def headers(self) -> dict[str, str]:
        """Its API key."""
        return {"authorization": f"Bearer {self.account.keys[self.key]}"}

    async def send(self, session: aiohttp.ClientSession, model: str = PACED) -> None:
        """Send and read to the end, whatever the end is. Never repeated: a retry would be another request."""
        try:
            async with session.post(CHAT, json=self.body(model), headers=self.headers()) as response:
                self.status = response.status
                received = await response.read()
        except aiohttp.ClientError:
            return
        self.whole = self.status == 200 and (_whole_stream if self.streamed else _whole_object)(received)


def _whole_stream(received: bytes) -> bool:
    events = [event.removeprefix(b"data: ") for event in received.removesuffix(DONE).split(b"\n\n") if event]
    if not received.endswith(DONE) or not events:
        return False
    last = json.loads(events[-1])
    return last["choices"][0]["finish_reason"] == "stop" and "billing" in last


def _whole_object(received: bytes) -> bool:
    completion = json.loads(received)
    return completion["choices"][0]["finish_reason"] == "stop" and "billing" in completion


def calls(accounts: list[Account]) -> Iterator[Call]:
    """One call for each key, in turns between the accounts, every other one streamed."""
    keys = itertools.chain.from_iterable(
        zip(*([(account, key) for key in account.keys] for account in accounts), strict=True)
    )
    for number, (account, key) in enumerate(keys):
        yield Call(number, account, key, streamed=number % 4 < 2)


@dataclass
class Load:
    """So many clients at a time, one call after the other, until told to stop."""

    machine: Machine
    waiting: Iterator[Call]
    concurrency: int = 16
    made: list[Call] = field(default_factory=list)
    stopping: bool = False
    _progress: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Returns after `stop` once every call has ended."""
        timeout = aiohttp.ClientTimeout(total=60)
        async with self.machine.session(timeout=timeout) as session, asyncio.TaskGroup() as group:
            for _ in range(self.concurrency):
                group.create_task(self._client(session))

    async def _client(self, session: aiohttp.ClientSession) -> None:
        while not self.stopping:
            call = next(self.waiting)
            self.made.append(call)
            await call.send(session)
            self._progress.set()
            if not call.whole:
                await asyncio.sleep(STEP_SECONDS)  # nobody may be listening right now

    def whole(self) -> int:
        """How many responses arrived whole so far."""
        return sum(call.whole for call in self.made)

    async def more(self, count: int) -> None:
        """Wait until so many more responses have arrived whole."""
        goal = self.whole() + count
        async with asyncio.timeout(60):
            while self.whole() < goal:
                self._progress.clear()
                await self._progress.wait()
