from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Model
from gateway.prices import MAX_TOKENS, TokenUsage, cost, dollars, worst_case

MODEL = Model("p", input_nano_per_million=3_000_000_000, output_nano_per_million=15_000_000_000)
PRICES = st.integers(0, 10**12)


def priced(input_price=0, output_price=0, cached=None, context=8192, longest=4096):
    return Model("p", input_price, output_price, cached, "", context, longest)


def test_a_million_tokens_cost_what_the_catalogue_says():
    assert cost(MODEL, TokenUsage(input=1_000_000, output=1_000_000)) == 18_000_000_000
    assert dollars(18_000_000_000) == 18.0


def test_every_fraction_of_a_nano_dollar_rounds_up_once():
    model = priced(input_price=1, output_price=1)
    assert cost(model, TokenUsage(input=1)) == 1
    assert cost(model, TokenUsage(input=500_000, output=500_000)) == 1
    assert cost(model, TokenUsage(input=500_000, output=500_001)) == 2
    assert cost(model, TokenUsage()) == 0


def test_cached_tokens_are_part_of_the_input_and_have_their_own_price():
    model = priced(input_price=1_000_000, cached=100_000)
    assert cost(model, TokenUsage(input=100, cached=90)) == 10 + 9
    assert cost(priced(input_price=1_000_000), TokenUsage(input=100, cached=90)) == 100


def test_reasoning_is_part_of_the_output_and_not_charged_twice():
    model = priced(output_price=1_000_000)
    assert cost(model, TokenUsage(output=10, reasoning=9)) == 10


def test_a_provider_that_reports_nonsense_cannot_make_a_cost_negative_or_endless():
    model = priced(input_price=1_000_000, output_price=1_000_000, cached=0)
    assert cost(model, TokenUsage(input=-5, output=-7)) == 0
    assert cost(model, TokenUsage(input=10, cached=1_000)) == 0
    assert cost(model, TokenUsage(input=10, cached=-1_000)) == 10
    assert cost(model, TokenUsage(output=10**30)) == MAX_TOKENS


@given(
    input_price=PRICES,
    output_price=PRICES,
    cached=st.none() | PRICES,
    body=st.integers(0, 100_000),
    prompt=st.integers(0, 100_000),
    limit=st.none() | st.integers(0, 10_000),
    written=st.integers(0, 10_000),
    n=st.integers(1, 4),
    share=st.integers(0, 100_000),
)
def test_no_honest_request_costs_more_than_its_worst_case(
    input_price, output_price, cached, body, prompt, limit, written, n, share
):
    model = priced(input_price, output_price, cached)
    tokens = min(prompt, body, model.context_tokens)
    longest = model.max_output_tokens if limit is None else min(limit, model.max_output_tokens)
    usage = TokenUsage(tokens, min(share, tokens), min(written, longest) * n)
    assert cost(model, usage) <= worst_case(model, body, limit, n)
