import copy
import json
import pickle

import pytest

from enclave.secret import Secret

VALUE = b"open sesame 0123"


def test_a_secret_reveals_what_it_was_given():
    assert Secret(VALUE).reveal() == VALUE
    assert Secret(bytearray(VALUE)).reveal() == VALUE


def test_a_secret_does_not_change_when_the_buffer_it_came_from_does():
    source = bytearray(VALUE)
    secret = Secret(source)
    source[:] = bytes(len(source))
    assert secret.reveal() == VALUE


@pytest.mark.parametrize("show", [repr, str, "{}".format, "{:>30}".format, lambda s: f"{s!r}", ascii])
def test_a_secret_prints_as_nothing_but_its_kind(show):
    assert show(Secret(VALUE)) == "<secret>"


@pytest.mark.parametrize(
    "copy_out",
    [pickle.dumps, copy.copy, copy.deepcopy, json.dumps, bytes, list, len, hash, vars, bytearray, memoryview],
)
def test_a_secret_cannot_be_taken_out_by_accident(copy_out):
    with pytest.raises(TypeError) as refusal:
        copy_out(Secret(VALUE))
    assert "sesame" not in str(refusal.value)


def test_comparing_secrets_is_refused_rather_than_answered_in_variable_time():
    one, other = Secret(VALUE), Secret(VALUE)
    for compare in (lambda: one == other, lambda: one != other, lambda: one == VALUE, lambda: one < other):
        with pytest.raises(TypeError):
            compare()


def test_a_wiped_secret_holds_zeros_and_refuses_to_reveal_them_as_a_key():
    secret = Secret(VALUE)
    buffer = secret._buffer
    secret.wipe()
    assert buffer == bytes(len(VALUE))
    with pytest.raises(ValueError, match="wiped"):
        secret.reveal()
    secret.wipe()


def test_a_dropped_secret_is_wiped():
    secret = Secret(VALUE)
    buffer = secret._buffer
    del secret
    assert buffer == bytes(len(VALUE))
