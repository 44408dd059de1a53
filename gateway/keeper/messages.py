"""The full list of what crosses the keeper's socket. No message has a field for content.

Framing: u32be length, then MessagePack of `[request id, message]`. Money is integer nano-dollars; times are
integer Unix seconds; digests are bytes. A key digest is one version byte followed by 32 bytes of keyed
BLAKE2b.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Nano = Annotated[int, Meta(ge=0, le=1_000_000_000_000_000_000)]
"""Nano-dollars: nothing, up to a billion dollars."""
Reported = Annotated[int, Meta(ge=0, le=9_223_372_036_854_775_807)]
"""Counts that came from a provider, and what they cost: taken as told, capped where they are booked."""
Name = Annotated[str, Meta(min_length=1, max_length=200)]
"""Ids and labels. Too short for a prompt, and a model must be in the catalogue besides."""
KeyDigest = Annotated[bytes, Meta(min_length=33, max_length=33)]
KeyDigests = Annotated[tuple[KeyDigest, ...], Meta(max_length=8)]
"""One key under each live pepper, newest first; empty for a missing or malformed key."""


class Message(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Base of all messages: tagged by class name, frozen, closed."""


# --- questions ----------------------------------------------------------------------------------------------


class Admit(Message, frozen=True):
    """May this key start a request? Reserves `hold_min` to `hold_max`. Answer: Admitted or Refused."""

    digests: KeyDigests
    model: Name
    hold_min: Nano
    hold_max: Nano


class Settle(Message, frozen=True):
    """Replace a hold by its true cost, once, durably. Answer: Settled or Refused (`unknown_hold`).

    Cost 0 without tokens, or incomplete, releases the hold and leaves no trace in the books.
    """

    hold: int
    cost: Reported
    model: Name
    input_tokens: Reported = 0
    cached_tokens: Reported = 0
    output_tokens: Reported = 0
    reasoning_tokens: Reported = 0
    estimated: bool = False
    complete: bool = True


class WhoIs(Message, frozen=True):
    """Whose key is this? Answer: Caller or Refused."""

    digests: KeyDigests


class AskUsage(Message, frozen=True):
    """Usage of the key's account. Answer: Usage or Refused."""

    digests: KeyDigests


class Quote(Message, frozen=True):
    """Bind a fresh nonce or none, for this manifest, into a hardware report. Answer: Quoted or Refused."""

    nonce: Annotated[bytes, Meta(min_length=32, max_length=32)] | None
    manifest_sha384: Annotated[bytes, Meta(min_length=48, max_length=48)]


class Remember(Message, frozen=True):
    """Has this keyed digest of an encapsulated key been seen in the key's life? Answer: Remembered."""

    digest: Annotated[bytes, Meta(min_length=16, max_length=64)]
    key_id: Annotated[bytes, Meta(min_length=1, max_length=64)]


class CreateAccount(Message, frozen=True):
    """Answer: Done or Refused (`exists`)."""

    account: Name
    name: Name
    balance: Nano
    requests_per_minute: Annotated[int, Meta(ge=1, le=1_000_000_000)]


class CreateKey(Message, frozen=True):
    """Answer: Done or Refused (`unknown_account`, `exists`)."""

    account: Name
    name: Name
    digest: KeyDigest


class RevokeKey(Message, frozen=True):
    """Answer: Done or Refused (`unknown_key`)."""

    account: Name
    name: Name


class Credit(Message, frozen=True):
    """Add money, once per reference. Answer: Done, also for a repetition, or Refused: `unknown_account`,
    `exists` (the reference was used otherwise), `out_of_range`.
    """

    account: Name
    amount: Nano
    reference: Name


# --- answers ------------------------------------------------------------------------------------------------


class Admitted(Message, frozen=True):
    """`granted` nano-dollars are reserved under `hold` until settled or until this worker's socket closes."""

    hold: int
    granted: int
    account: str
    key_name: str
    limit: int
    remaining: int
    reset_seconds: float


class Settled(Message, frozen=True):
    """Durable. `charged` is what the account paid; `balance` what it may still spend."""

    charged: int
    balance: int


class Caller(Message, frozen=True):
    """The owner of a valid key."""

    account: str
    key_name: str
    balance: int


class UsageLine(Struct, frozen=True):
    """One aggregate row: a key's or a model's share of the month."""

    name: str
    requests: int
    input_tokens: int
    output_tokens: int
    cost: int


class Usage(Message, frozen=True):
    """Aggregates of today and this month (UTC)."""

    account: str
    balance: int
    today_requests: int
    month_requests: int
    month_input_tokens: int
    month_output_tokens: int
    month_cost: int
    keys: tuple[UsageLine, ...]
    models: tuple[UsageLine, ...]


class Quoted(Message, frozen=True):
    """A statement, its Merkle inclusion, and the report whose REPORT_DATA is the root."""

    statement: bytes
    index: int
    size: int
    path: tuple[bytes, ...]
    report: bytes


class Remembered(Message, frozen=True):
    """`seen` is `never` once for each digest, `before` for a replay, `full` when nothing more can be
    remembered under this key: it has seen its million, or outlived its time."""

    seen: Literal["never", "before", "full"]


class Done(Message, frozen=True):
    """An administrative change is durable."""

    balance: int = 0


class Refused(Message, frozen=True):
    """`code` is one of invalid_api_key, insufficient_credits, rate_limit, unknown_model, unknown_hold,
    exists, unknown_account, unknown_key, out_of_range, unavailable. Waits are seconds.
    """

    code: str
    retry_after: float = 0.0
    limit: int = 0


Question = (
    Admit | Settle | WhoIs | AskUsage | Quote | Remember | CreateAccount | CreateKey | RevokeKey | Credit
)
Answer = Admitted | Settled | Caller | Usage | Quoted | Remembered | Done | Refused
