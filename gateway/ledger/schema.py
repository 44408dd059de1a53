"""The books' tables. Their digest is in the attested manifest, and the file on disk is compared with them.

Read it as the whole list of what is kept: no prompt, no request, no address, no time finer than a day.
"""

from __future__ import annotations

import hashlib

SCHEMA = """\
CREATE TABLE accounts (
    account TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    balance INTEGER NOT NULL CHECK (balance BETWEEN 0 AND 4000000000000000000),
    requests_per_minute INTEGER NOT NULL CHECK (requests_per_minute > 0),
    created_day INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE api_keys (
    digest BLOB PRIMARY KEY CHECK (length(digest) = 33),
    version INTEGER NOT NULL,
    name TEXT NOT NULL,
    account TEXT NOT NULL REFERENCES accounts (account),
    revoked INTEGER NOT NULL CHECK (revoked IN (0, 1)),
    last_used_day INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX live_key_names ON api_keys (account, name) WHERE revoked = 0;
CREATE TABLE credits (
    reference TEXT PRIMARY KEY,
    account TEXT NOT NULL REFERENCES accounts (account),
    amount INTEGER NOT NULL CHECK (amount >= 0),
    day INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE daily_usage (
    account TEXT NOT NULL REFERENCES accounts (account),
    day INTEGER NOT NULL,
    key TEXT NOT NULL,
    model TEXT NOT NULL,
    requests INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    cost INTEGER NOT NULL CHECK (cost >= 0),
    operator_loss INTEGER NOT NULL CHECK (operator_loss >= 0),
    PRIMARY KEY (account, day, key, model)
) STRICT, WITHOUT ROWID;
"""

SCHEMA_SHA384 = hashlib.sha384(SCHEMA.encode()).digest()
"""48 bytes; `ledger_schema_sha384` in the manifest."""
