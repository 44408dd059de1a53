"""A vendor's host gets little time, little memory and no say in where we go."""

from __future__ import annotations

import random
import ssl
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from attestation.collect.http import LIMITS, Client, CollateralUnavailable, Limits, NotPublished
from tests.fakes.amd import NOW
from tests.fakes.tls_peer import Chain
from tests.fakes.vendor_host import Hands, Reply, VendorHost, chain_for, running, with_expired_leaf

NAME = "kdsintf.amd.com"
URL = f"https://{NAME}/vcek/v1/Genoa/cert_chain"
FOUND = Reply(b"something")


@pytest.fixture(scope="module")
def chain() -> Chain:
    return chain_for(NAME)


@pytest.fixture
def host(chain: Chain) -> Iterator[VendorHost]:
    made = VendorHost((NAME,), chain, {"/vcek/v1/Genoa/cert_chain": FOUND})
    with running(made):
        yield made


@pytest.fixture
def hands() -> Hands:
    return Hands(NOW)


def client_of(host: VendorHost, hands: Hands, **changes: Any) -> Client:
    fitting: dict[str, Any] = {"ca": host.ca, "routes": host.routes} | changes
    return Client(host.names, clock=hands.clock, sleep=hands.sleep, **fitting)


def refusal(host: VendorHost, hands: Hands, url: str = URL, **changes: Any) -> str:
    with pytest.raises(CollateralUnavailable) as caught:
        client_of(host, hands, **changes).get(url)
    return str(caught.value)


def test_an_answer_comes_with_headers_and_exact_body(host: VendorHost, hands: Hands) -> None:
    host.script = [Reply(b"\x00\xff", headers=(("X-Any", "value"),))]
    answer = client_of(host, hands).get(URL + "?a=1&b=%20")
    assert (answer.status, answer.body, answer.header("x-any")) == (200, b"\x00\xff", "value")
    assert host.asked == ["/vcek/v1/Genoa/cert_chain?a=1&b=%20"]


def test_a_request_says_nothing_about_us(host: VendorHost, hands: Hands) -> None:
    client_of(host, hands).get(URL)
    assert host.heads == [{"host": NAME, "user-agent": "casemate", "accept-encoding": "identity"}]


def test_a_header_that_comes_twice_is_no_header(host: VendorHost, hands: Hands) -> None:
    host.script = [Reply(headers=(("X-Any", "one"), ("x-any", "two")))]
    assert client_of(host, hands).get(URL).header("X-Any") is None


@pytest.mark.parametrize(
    "url",
    [
        "http://kdsintf.amd.com/x",
        "https://kdsintf.amd.com.example.com/x",
        "https://kdsintf.amd.com:444/x",
        "https://user@kdsintf.amd.com/x",
        "https://localhost/x",
        "file:///etc/passwd",
    ],
)
def test_any_other_host_is_never_asked(url: str, host: VendorHost, hands: Hands) -> None:
    assert "vendors' https hosts" in refusal(host, hands, url)
    assert host.asked == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status: int, host: VendorHost, hands: Hands) -> None:
    host.script = [Reply(status=status, headers=(("location", URL),))]
    assert f"points elsewhere ({status})" in refusal(host, hands)
    assert len(host.asked) == 1


@pytest.mark.parametrize("status", [404, 410])
def test_what_is_not_there_is_told_apart(status: int, host: VendorHost, hands: Hands) -> None:
    host.script = [Reply(status=status)]
    with pytest.raises(NotPublished):
        client_of(host, hands).get(URL)


@pytest.mark.parametrize("status", [201, 204, 400, 401, 403, 461, 500, 502])
def test_any_other_status_is_no_answer(status: int, host: VendorHost, hands: Hands) -> None:
    host.script = [Reply(status=status)]
    assert f"answered {status}" in refusal(host, hands)
    assert len(host.asked) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(status: int, host: VendorHost, hands: Hands) -> None:
    host.script = [Reply(status=status, headers=(("Retry-After", "17"),))]
    assert client_of(host, hands).get(URL).body == FOUND.body
    assert hands.slept == [17.0]


def test_retry_after_may_be_a_date(host: VendorHost, hands: Hands) -> None:
    date = format_datetime(NOW + timedelta(seconds=9), usegmt=True)
    host.script = [Reply(status=429, headers=(("Retry-After", date),))]
    client_of(host, hands).get(URL)
    assert hands.slept == [9.0]


@pytest.mark.parametrize("value", ["Sat, 21 Nov 2020 12:00:00 GMT", "Sat, 21 Nov 2020 12:00:00 -0000", "0"])
def test_a_moment_that_has_passed_asks_for_the_usual_interval(
    value: str, host: VendorHost, hands: Hands
) -> None:
    host.script = [Reply(status=429, headers=(("Retry-After", value),))]
    client_of(host, hands).get(URL)
    assert hands.slept == [0.0, LIMITS.interval]


@pytest.mark.parametrize(
    "value",
    [
        "soon",
        "-1",
        "1.5",
        "",
        "²",
        "9" * 400,
        "Nov +9999 12:00:00 99999999999 T -",
        "Sat, 99 Nov 2026 99:99:99 GMT",
    ],
)
def test_a_retry_after_that_says_nothing_waits_ever_longer(
    value: str, host: VendorHost, hands: Hands
) -> None:
    host.script = [Reply(status=429, headers=(("Retry-After", value),))] * 2
    client_of(host, hands).get(URL)
    assert hands.slept == [2.0, 4.0]


def test_more_patience_than_the_limit_is_refused_at_once(host: VendorHost, hands: Hands) -> None:
    host.script = [Reply(status=429, headers=(("Retry-After", "61"),))]
    assert "wants 61 s of patience" in refusal(host, hands)
    assert hands.slept == []


def test_all_waiting_together_stays_within_the_limit(host: VendorHost, hands: Hands) -> None:
    host.script = [Reply(status=429, headers=(("Retry-After", "40"),))] * 4
    assert "busy (429)" in refusal(host, hands)
    assert hands.slept == [40.0]


def test_a_host_that_stays_busy_is_given_up(host: VendorHost, hands: Hands) -> None:
    host.script = [Reply(status=503, headers=(("Retry-After", "1"),))] * 9
    assert "busy (503)" in refusal(host, hands)
    assert len(host.asked) == LIMITS.attempts


def test_requests_to_one_host_keep_an_interval(host: VendorHost, hands: Hands) -> None:
    client = client_of(host, hands)
    client.get(URL)
    hands.pass_time(seconds=0.2)
    client.get(URL)
    assert hands.slept == [pytest.approx(LIMITS.interval - 0.2)]


def test_a_clock_set_back_does_not_make_us_wait_for_it(host: VendorHost, hands: Hands) -> None:
    client = client_of(host, hands)
    client.get(URL)
    hands.pass_time(days=-9)
    client.get(URL)
    assert hands.slept == [LIMITS.interval]


def test_one_request_per_host_at_a_time(host: VendorHost, hands: Hands) -> None:
    host.published["/vcek/v1/Genoa/cert_chain"] = Reply(b"slow", pause=0.05)
    client = client_of(host, hands)
    threads = [threading.Thread(target=client.get, args=(URL,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(host.asked), host.most_at_once) == (4, 1)


def test_more_than_the_limit_is_not_read(host: VendorHost, hands: Hands) -> None:
    host.script = [Reply(bytes(2000))]
    assert "more than 1000 bytes" in refusal(host, hands, limits=replace(LIMITS, body=1000))


def test_chunks_without_end_are_cut_off(host: VendorHost, hands: Hands) -> None:
    chunks = b"400\r\n" + bytes(1024) + b"\r\n"
    host.script = [Reply(raw=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks * 300)]
    assert "more than 10000 bytes" in refusal(host, hands, limits=replace(LIMITS, body=10_000))


def test_headers_without_end_are_cut_off(host: VendorHost, hands: Hands) -> None:
    host.script = [Reply(raw=b"HTTP/1.1 200 OK\r\n" + b"x-filler: yes\r\n" * 20_000)]
    assert "not HTTP" in refusal(host, hands)


def test_a_compressed_answer_is_refused(host: VendorHost, hands: Hands) -> None:
    host.script = [Reply(b"\x1f\x8b", headers=(("Content-Encoding", "gzip"),))]
    assert "compressed" in refusal(host, hands)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(bytes(100), pause=0.1, pieces=100),
        Reply(b"x", pause=1.5),
        Reply(raw=b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000),
        Reply(raw=b"HTTP/1.1 200 OK\r\n"),
    ],
)
def test_a_slow_or_silent_host_ends_at_the_deadline(reply: Reply, host: VendorHost, hands: Hands) -> None:
    host.script = [reply]
    started = time.monotonic()
    found = refusal(host, hands, limits=Limits(deadline=0.5))
    assert any(reason in found for reason in ("too slow", "not HTTP"))
    assert time.monotonic() - started < 4


@pytest.mark.parametrize("raw", [b"220 ready\r\n\r\n", b"\x00" * 50, b"HTTP/1.1 abc\r\n\r\n", b""])
def test_what_does_not_speak_http_is_no_answer(raw: bytes, host: VendorHost, hands: Hands) -> None:
    host.script = [Reply(raw=raw)]
    assert "no answer" in refusal(host, hands)


def mutilated(chance: random.Random) -> bytes:
    """A response with some of its bytes replaced, removed, doubled, or cut off."""
    heads = [
        b"content-length: 9",
        b"transfer-encoding: chunked",
        b"retry-after: 1",
        b"x: y",
        b"content-length: 3",
    ]
    lines = [b"HTTP/1.1 %d OK" % chance.choice((100, 101, 200, 200, 204, 304, 429)), *chance.sample(heads, 2)]
    raw = bytearray(
        b"\r\n".join(lines) + b"\r\n\r\n" + chance.choice((b"9 letters", b"4\r\nbody\r\n0\r\n\r\n"))
    )
    for _ in range(chance.randrange(4)):
        place = chance.randrange(len(raw))
        piece = chance.choice((b"", b"\r\n", b"\0", b"\xff", b":", b"\n", bytes(raw[:place]), b"9" * 30))
        raw[place : place + chance.randrange(3)] = piece
    return bytes(raw)


def test_whatever_comes_ends_in_an_answer_or_in_our_own_error(host: VendorHost, hands: Hands) -> None:
    chance, answers = random.Random(7), 0
    for _ in range(400):
        host.script = [Reply(raw=mutilated(chance))]
        with suppress(CollateralUnavailable):
            answers += client_of(host, hands).get(URL).status == 200
    assert answers > 20


def test_an_answer_that_breaks_off_is_no_answer(host: VendorHost, hands: Hands) -> None:
    host.script = [Reply(b"half", length=100)]
    assert "no answer" in refusal(host, hands)


def test_an_authority_that_we_do_not_know_is_refused(host: VendorHost, hands: Hands) -> None:
    assert "certificate does not hold" in refusal(host, hands, ca=chain_for(NAME).root.pem)
    assert "certificate does not hold" in refusal(host, hands, ca=None)
    assert host.asked == []


def test_a_certificate_for_another_name_is_refused(hands: Hands) -> None:
    other = VendorHost((NAME,), chain_for("example.com"))
    with running(other):
        assert "certificate does not hold" in refusal(other, hands)
    assert other.asked == []


def test_an_expired_certificate_is_refused(chain: Chain, hands: Hands) -> None:
    expired = VendorHost((NAME,), with_expired_leaf(chain))
    with running(expired):
        assert "certificate does not hold (code 10)" in refusal(expired, hands)
    assert expired.asked == []


def old_tls(chain: Chain, version: ssl.TLSVersion) -> ssl.SSLContext:
    """A server that speaks this version and no other; Python itself warns about the oldest."""
    context = chain.context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = version
        context.maximum_version = version
    return context


def test_tls_1_2_is_enough(chain: Chain, hands: Hands) -> None:
    made = VendorHost((NAME,), chain, {"/vcek/v1/Genoa/cert_chain": FOUND})
    with running(made, old_tls(chain, ssl.TLSVersion.TLSv1_2)):
        assert client_of(made, hands).get(URL).body == FOUND.body


def test_an_old_cipher_is_not_enough(chain: Chain, hands: Hands) -> None:
    made = VendorHost((NAME,), chain, {"/vcek/v1/Genoa/cert_chain": FOUND})
    context = old_tls(chain, ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA256")
    with running(made, context):
        assert "no TLS" in refusal(made, hands)


def test_tls_1_1_is_not(chain: Chain, hands: Hands) -> None:
    made = VendorHost((NAME,), chain, {"/vcek/v1/Genoa/cert_chain": FOUND})
    with running(made, old_tls(chain, ssl.TLSVersion.TLSv1_1)):
        assert "no TLS" in refusal(made, hands)
    assert made.asked == []


def test_a_closed_port_is_no_connection(chain: Chain, hands: Hands) -> None:
    made = VendorHost((NAME,), chain)
    with running(made):
        pass
    assert "no connection" in refusal(made, hands)


def test_the_environment_brings_no_proxy_and_no_authority(
    host: VendorHost, hands: Hands, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    trusted = tmp_path / "ca.pem"
    trusted.write_text(host.ca)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    assert client_of(host, hands, ca=trusted).get(URL).body == FOUND.body
    assert "certificate does not hold" in refusal(host, hands, ca=None)


@pytest.mark.parametrize(
    "ca", ["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no/such/file"]
)
def test_an_authority_that_is_none_is_said(ca: str, host: VendorHost, hands: Hands) -> None:
    with pytest.raises(ValueError, match="not a readable PEM"):
        client_of(host, hands, ca=ca)


def test_without_time_nothing_is_asked(host: VendorHost, hands: Hands) -> None:
    assert "too slow" in refusal(host, hands, limits=Limits(deadline=0.0))
    assert host.asked == []
