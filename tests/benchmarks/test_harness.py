"""A benchmark that counts wrong is worth nothing: its counting, pairing and accounting are tested."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.certificates import Identity, make_identity
from benchmarks.load import Tally, connect, measure, quantile
from benchmarks.measure import Cell, Sample, interleaved
from benchmarks.processes import module, running, usage
from benchmarks.report import markdown
from benchmarks.summary import summarise
from benchmarks.targets import Cores, Target, divide_cores, upstream
from benchmarks.upstream import ANSWER_BYTES, EVENTS, MODELS, Answers, Provider, server_context

SECONDS = 0.2


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """Certificates for one module."""
    return make_identity(tmp_path_factory.mktemp("identity"))


class Counting(Provider):
    """The mock provider, with a count of what it answered."""

    answered: list[int]

    def on_message_complete(self) -> None:
        self.answered[0] += 1
        super().on_message_complete()


def counting(answered: list[int], answers: Answers) -> Counting:
    """One connection of the counting provider."""
    made = Counting(answers)
    made.answered = answered
    return made


def order(port: int, identity: Identity, *, stream: bool, connections: int) -> dict[str, Any]:
    """What the harness tells the load generator."""
    body = {"model": MODELS[0], "messages": [], "stream": stream}
    more = {"body": body, "stream": stream, "connections": connections}
    return {"port": port, "ca": str(identity.ca), "path": "/v1/chat/completions", "key": "none"} | more


async def load_against(
    answers: Answers, identity: Identity, *, stream: bool, connections: int = 3
) -> tuple[dict[str, Any], int]:
    """A short measurement; its result, and how many requests the server answered while it was measured."""
    answered = [0]
    context = server_context(str(identity.certificate), str(identity.key))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: counting(answered, answers), "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        clients, tally = await connect(order(port, identity, stream=stream, connections=connections))
        answered[0] = 0
        result = await measure(clients, tally, SECONDS)
    return result, answered[0]


@pytest.mark.parametrize("stream", [False, True])
async def test_every_request_is_counted_once_and_warming_up_is_not(identity: Identity, stream: bool) -> None:
    result, answered = await load_against(Answers(), identity, stream=stream)
    assert result["errors"] == {}
    assert result["requests"] == answered > 3
    assert result["seconds"] >= SECONDS
    assert 0 < result["first_p50"] <= result["p50"] <= result["p99"]


async def test_an_answer_that_is_no_200_counts_as_error_and_not_as_request(identity: Identity) -> None:
    refusal = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\n\r\n{}"
    answers = Answers(whole=dict.fromkeys(MODELS, refusal))
    result, answered = await load_against(answers, identity, stream=False)
    assert result["requests"] == 0
    assert result["errors"]["status 429"] == answered + 3  # the warm-up's are told as well


async def test_a_stream_without_its_end_counts_as_error(identity: Identity) -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    cut = (head + b"8\r\ndata: {}\r\n0\r\n\r\n",)
    answers = Answers(streams={(MODELS[0], False): cut})
    result, _ = await load_against(answers, identity, stream=True)
    assert result["requests"] == 0
    assert "stream without its end" in result["errors"]


def test_the_mock_answers_two_kilobytes_or_fifty_events_and_usage_only_if_asked() -> None:
    answers = Answers()
    body = answers.whole[MODELS[0]].partition(b"\r\n\r\n")[2]
    assert abs(len(body) - ANSWER_BYTES) < 256
    plain, with_usage = (b"".join(answers.streams[MODELS[1], usage]) for usage in (False, True))
    assert plain.count(b'"content"') == with_usage.count(b'"content"') == EVENTS
    assert b"usage" not in plain
    assert with_usage.count(b'"usage"') == 1


def test_quantiles_are_microseconds_and_nothing_has_none() -> None:
    assert quantile([0.003, 0.001, 0.002], 0.5) == pytest.approx(2000)
    assert quantile([], 0.5) is None
    assert Tally().errors == {}


def sample(target: str, workers: int, number: int, **values: Any) -> Sample:
    """A sample with what matters set."""
    known = {"requests": 10, "rate": 10.0, "p50": 1.0, "p99": 1.0, "first_p50": 1.0, "first_p99": 1.0}
    more = {"cpu_us": 1.0, "cores_used": 0.5, "rss_bytes": 1_000_000, "errors": {}}
    return Sample(target=target, workers=workers, cell="JSON", round=number, **(known | more | values))


def test_ratios_are_paired_within_a_round_before_the_median_is_taken() -> None:
    samples = []
    # The machine gets three times slower from round to round; gateway over nginx stays 2 all the same.
    for number, speed in enumerate((1.0, 3.0, 9.0)):
        samples.append(sample("direct", 0, number, p50=10 * speed))
        samples.append(sample("nginx", 1, number, p50=12 * speed, cpu_us=20 * speed, rate=900 / speed))
        samples.append(sample("gateway", 1, number, p50=15 * speed, cpu_us=40 * speed, rate=450 / speed))
    direct, nginx, ours = summarise(samples)
    assert ours.cpu_of_nginx == pytest.approx(2.0)
    assert ours.cpu_of_nginx_range == pytest.approx((2.0, 2.0))
    assert ours.rate_of_nginx == pytest.approx(0.5)
    assert ours.added_p50 == pytest.approx(15.0)
    assert nginx.added_p50 == pytest.approx(6.0)
    assert direct.cpu_of_nginx is None


def test_one_worker_is_compared_with_one_worker_and_two_with_two() -> None:
    samples = [sample("nginx", 1, 0, rate=100.0), sample("nginx", 2, 0, rate=200.0)]
    samples += [sample("gateway", 1, 0, rate=50.0), sample("gateway", 2, 0, rate=50.0)]
    rows = {(row.target, row.workers): row for row in summarise(samples)}
    assert rows["gateway", 1].rate_of_nginx == pytest.approx(0.5)
    assert rows["gateway", 2].rate_of_nginx == pytest.approx(0.25)


def test_a_failed_request_shows_in_the_table() -> None:
    rows = summarise([sample("gateway", 1, 0, errors={"status 500": 7}, requests=0, cpu_us=None)])
    assert rows[0].errors == 7
    assert markdown(rows, {}).splitlines()[-1].endswith("| 7 |")


def test_targets_follow_one_another_in_each_round_and_turn_round_every_other() -> None:
    first, second = (Target(name, 1, 1, Path("ca"), "/", "none", 1) for name in ("a", "b"))
    cells = [Cell("JSON", MODELS[0], False, 1, 1.0)]
    names = [target.name for _, _, target in interleaved([first, second], cells, 3)]
    assert names == ["a", "b", "b", "a", "a", "b"]


@contextmanager
def busy_child(directory: Path) -> Iterator[int]:
    """A process that burns CPU until it is stopped."""
    with (
        (directory / "log").open("wb") as log,
        running(module("timeit", "-n", "1000000000"), log=log) as child,
    ):
        yield child.pid


def test_cpu_is_that_of_the_named_processes_only(tmp_path: Path) -> None:
    with busy_child(tmp_path) as pid:
        before, started = usage([pid]), time.monotonic()
        ours = usage([os.getpid()])
        while (after := usage([pid])).cpu_ns == before.cpu_ns and time.monotonic() - started < 20:
            time.sleep(0.05)
        assert after.cpu_ns > before.cpu_ns
        assert after.rss_bytes > 1_000_000
        both = usage([os.getpid(), pid])
        assert both.cpu_ns > ours.cpu_ns + before.cpu_ns
        assert both.rss_bytes > ours.rss_bytes + 1_000_000


def test_cores_are_apart_where_there_are_two_and_a_way_to_pin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name)
    assert divide_cores([0, 1]) == Cores(load=(1,), one=(0,), several=(0, 1))
    assert divide_cores([0, 1, 2, 3]) == Cores(load=(2, 3), one=(0,), several=(0, 1))
    assert divide_cores([0]) == Cores((), (), ())
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert divide_cores([0, 1]) == Cores((), (), ())


def test_the_mock_upstream_runs_as_a_process_of_its_own(identity: Identity, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log, upstream(identity, Cores((), (), ()), log) as target:
        assert target.port > 0
        assert target.root in target.processes()
