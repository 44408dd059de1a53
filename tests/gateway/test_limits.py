from hypothesis import given
from hypothesis import strategies as st

from gateway.limits import MINUTE, gcra

RATES = st.integers(1, 100_000)


def test_a_fresh_key_may_use_its_whole_minute_at_once_and_not_one_more():
    state = 0
    for expected_left in (2, 1, 0):
        state, verdict = gcra(state, 1_000, 3)
        assert (verdict.allowed, verdict.remaining, verdict.limit) == (True, expected_left, 3)
    state, verdict = gcra(state, 1_000, 3)
    assert not verdict.allowed
    assert verdict.retry_after == MINUTE // 3
    assert verdict.reset == MINUTE


@given(rate=RATES, now=st.integers(0, 10**18))
def test_waiting_exactly_retry_after_passes_and_one_nanosecond_less_does_not(rate, now):
    state, verdict = 0, None
    for _ in range(min(rate, 200) + 1 if rate <= 200 else 1):
        state, verdict = gcra(state, now, rate)
    if rate > 200:  # jump to a full bucket instead of filling it one by one
        interval = MINUTE // rate
        state, verdict = gcra(now + interval * rate, now, rate)
    assert not verdict.allowed
    assert gcra(state, now + verdict.retry_after, rate)[1].allowed
    assert not gcra(state, now + verdict.retry_after - 1, rate)[1].allowed


def test_a_refused_request_costs_nothing():
    state, _ = gcra(0, 0, 1)
    assert gcra(state, 5, 1)[0] == state


@given(rate=st.integers(1, 50), gaps=st.lists(st.integers(0, MINUTE // 10), max_size=200))
def test_no_stretch_of_time_holds_more_than_a_burst_and_the_rate(rate, gaps):
    state, now, passed = 0, 0, []
    for gap in gaps:
        now += gap
        state, verdict = gcra(state, now, rate)
        if verdict.allowed:
            passed.append(now)
    interval = MINUTE // rate
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            assert last - first + 1 <= rate + (passed[last] - passed[first]) // interval + 1
