"""The full list of what crosses the keeper's socket. No message has a field for content.

Framing: u32be length, then MessagePack of `[request id, message]`. Money is integer nano-dollars; times are
integer Unix seconds; digests are bytes. A key digest is one version byte followed by 32 bytes of keyed BLAKE2b.
"""

from __future__ import annotations

from msgspec import Struct


class Message(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Base of all messages: tagged by class name, frozen, closed."""


# --- questions -------------------------------------------------------------------------------------------------


class Admit(Message, frozen=True):
    """May this key start a request? Reserves between `hold_min` and `hold_max`. Answer: Admitted or Refused."""

    digests: tuple[bytes, ...]
    model: str
    hold_min: int
    hold_max: int


class Settle(Message, frozen=True):
    """Replace a hold by its true cost, once, durably. Cost 0 releases it. Answer: Settled or Refused."""

    hold: int
    cost: int
    model: str
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    complete: bool = True


class WhoIs(Message, frozen=True):
    """Whose key is this? Answer: Caller or Refused."""

    digests: tuple[bytes, ...]


class AskUsage(Message, frozen=True):
    """Usage of the key's account. Answer: Usage or Refused."""

    digests: tuple[bytes, ...]


class Quote(Message, frozen=True):
    """Bind a fresh nonce (32 bytes) or none, for this manifest, into a hardware report. Answer: Quoted or Refused."""

    nonce: bytes | None
    manifest_sha384: bytes


class Remember(Message, frozen=True):
    """Has this keyed digest of an encapsulated key been seen in the key's life? Answer: Remembered."""

    digest: bytes
    key_id: bytes


class CreateAccount(Message, frozen=True):
    """Answer: Done or Refused (`exists`)."""

    account: str
    name: str
    balance: int
    requests_per_minute: int


class CreateKey(Message, frozen=True):
    """Answer: Done or Refused (`unknown_account`)."""

    account: str
    name: str
    digest: bytes


class RevokeKey(Message, frozen=True):
    """Answer: Done or Refused (`unknown_key`)."""

    account: str
    name: str


class Credit(Message, frozen=True):
    """Add money, once per reference. Answer: Done or Refused."""

    account: str
    amount: int
    reference: str


# --- answers ---------------------------------------------------------------------------------------------------


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
    """`fresh` is False for a replay, and when the memory for this key is full (rotate the key)."""

    fresh: bool


class Done(Message, frozen=True):
    """An administrative change is durable."""

    balance: int = 0


class Refused(Message, frozen=True):
    """`code` is one of invalid_api_key, insufficient_credits, rate_limit, unknown_hold, exists, unknown_account,
    unknown_key, unavailable."""

    code: str
    retry_after: float = 0.0
    limit: int = 0


Question = (
    Admit | Settle | WhoIs | AskUsage | Quote | Remember | CreateAccount | CreateKey | RevokeKey | Credit
)
Answer = Admitted | Settled | Caller | Usage | Quoted | Remembered | Done | Refused
