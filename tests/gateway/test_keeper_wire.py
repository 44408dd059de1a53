"""Any bytes at all: whole messages come out, or the connection is broken; never anything else."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.keeper import messages as m
from gateway.keeper import wire
from tests.gateway.keeper_kit import digest

QUESTIONS = [
    m.Admit((digest(1), digest(1, 2)), "small", 1, 100),
    m.Settle(7, 30, "small", 1, 2, 3, 4, True, False),
    m.WhoIs(()),
    m.AskUsage((digest(1),)),
    m.Quote(None, bytes(48)),
    m.Quote(bytes(32), bytes(48)),
    m.Remember(bytes(32), b"k"),
    m.CreateAccount("a", "A", 5, 60),
    m.CreateKey("a", "k", digest(1)),
    m.RevokeKey("a", "k"),
    m.Credit("a", 5, "r"),
]
ANSWERS = [
    m.Admitted(1, 2, "a", "k", 60, 59, 1.0),
    m.Settled(5, 6),
    m.Caller("a", "k", 5),
    m.Usage("a", 1, 2, 3, 4, 5, 6, (m.UsageLine("k", 1, 2, 3, 4),), ()),
    m.Quoted(b"s", 0, 1, (b"p",), b"r"),
    m.Remembered("never"),
    m.Done(5),
    m.Refused("rate_limit", 1.5, 60),
]


@given(st.binary(max_size=400), st.integers(1, 50))
def test_any_bytes_in_any_pieces_end_in_messages_or_a_wire_error(data, piece):
    frames = wire.questions()
    out, broken = [], False
    for start in range(0, len(data), piece):
        try:
            out += frames.feed(data[start : start + piece])
        except wire.WireError:
            broken = True
            break
    assert all(number >= 0 and isinstance(question, m.Message) for number, question in out)
    if broken:
        with pytest.raises(wire.WireError, match="after a malformed one"):
            list(frames.feed(b""))


@given(st.sampled_from(QUESTIONS), st.data())
def test_a_damaged_frame_is_refused_or_means_something_well_formed(question, data):
    frame = bytearray(wire.encode(3, question))
    position = data.draw(st.integers(0, len(frame) - 1))
    frame[position] ^= data.draw(st.integers(1, 255))
    try:
        out = list(wire.questions().feed(bytes(frame)))
    except wire.WireError:
        return
    assert all(isinstance(each, m.Message) for _, each in out)


@given(st.lists(st.sampled_from(QUESTIONS), max_size=8), st.integers(1, 64))
def test_messages_survive_however_the_socket_cuts_them(questions, piece):
    data = b"".join(wire.encode(number, question) for number, question in enumerate(questions))
    frames = wire.questions()
    out = [one for start in range(0, len(data), piece) for one in frames.feed(data[start : start + piece])]
    assert out == list(enumerate(questions))


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: type(answer).__name__)
def test_every_answer_passes(answer):
    assert list(wire.answers().feed(wire.encode(9, answer))) == [(9, answer)]


@pytest.mark.parametrize(
    "body",
    [
        (1, m.Settled(1, 1)),
        (-1, m.WhoIs(())),
        (1, {"type": "WhoIs", "digests": [], "content": "x"}),
        (1, {"type": "Admit", "digests": [digest(1)], "model": "s", "hold_min": -1, "hold_max": 1}),
        (1, {"type": "Admit", "digests": [digest(1)], "model": "s" * 201, "hold_min": 1, "hold_max": 1}),
        (1, {"type": "Admit", "digests": [b"short"], "model": "s", "hold_min": 1, "hold_max": 1}),
        (1, {"type": "Settle", "hold": 1, "cost": -1, "model": "s"}),
        (1, {"type": "Credit", "account": "a", "amount": -5, "reference": "r"}),
        (1, {"type": "Credit", "account": "a", "amount": 1.5, "reference": "r"}),
        (1, {"type": "Quote", "nonce": b"short", "manifest_sha384": bytes(48)}),
        (1, {"type": "CreateAccount", "account": "a", "name": "A", "balance": 1, "requests_per_minute": 0}),
        (1,),
        [],
        None,
    ],
)
def test_what_is_not_one_of_our_questions_is_refused_without_saying_what_it_was(body):
    raw = msgspec.msgpack.encode(body)
    with pytest.raises(wire.WireError, match=r"^malformed frame$") as caught:
        list(wire.questions().feed(len(raw).to_bytes(4, "big") + raw))
    assert caught.value.__cause__ is None


def test_an_announced_length_above_the_cap_is_refused_before_a_byte_of_it_is_kept():
    frames = wire.questions()
    with pytest.raises(wire.WireError, match="too large"):
        list(frames.feed((wire.MAX_FRAME + 1).to_bytes(4, "big") + bytes(1_000_000)))
    assert len(frames._buffer) == 0


def test_nothing_too_large_is_ever_sent():
    with pytest.raises(wire.WireError, match="too large"):
        wire.encode(1, m.Quoted(b"s", 0, 1, (), bytes(wire.MAX_FRAME)))
    with pytest.raises(wire.WireError, match="encoded"):
        wire.encode(1, m.Settle(1, 2**70, "small"))


def test_no_message_has_a_field_that_could_carry_content():
    """Text is an id, a label or a code of at most 200 characters; bytes are bounded; nothing is free-form."""
    for question in m.Question.__args__:
        for field in msgspec.structs.fields(question):
            kind = msgspec.inspect.type_info(field.type)
            parts = kind.types if isinstance(kind, msgspec.inspect.UnionType) else (kind,)
            for part in parts:
                inner = part.item_type if isinstance(part, msgspec.inspect.VarTupleType) else part
                if isinstance(inner, msgspec.inspect.StrType | msgspec.inspect.BytesType):
                    assert inner.max_length is not None, f"{question.__name__}.{field.name}"
                    assert inner.max_length <= 200
                else:
                    assert isinstance(
                        inner,
                        msgspec.inspect.IntType
                        | msgspec.inspect.BoolType
                        | msgspec.inspect.FloatType
                        | msgspec.inspect.NoneType,
                    )
