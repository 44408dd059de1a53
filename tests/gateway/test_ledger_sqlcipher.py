"""What only the SQLCipher ledger promises: encryption, one keeper, its own schema, a disk that was synced."""

from __future__ import annotations

import hashlib
import sqlite3
import stat

import pytest
from sqlcipher3 import dbapi2

from gateway.ledger import AddCredit, Charge, LedgerError, LedgerRefused
from gateway.ledger import sqlcipher_file as books
from gateway.ledger.schema import SCHEMA
from gateway.ledger.sqlcipher import SCHEMA_SHA384, SqlcipherLedger
from tests.gateway.keeper_kit import DAY, digest, stocked

KEY = bytes(range(32))
SECRETS = (b"warehouse-key-name", b"Canary Customer", digest(0xC0FFEE << 200), b"api_keys")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.db"


def everything_beside(path):
    return b"".join(file.read_bytes() for file in sorted(path.parent.iterdir()))


def fill(connection):
    connection.execute(
        "INSERT INTO accounts (account, name, balance, requests_per_minute, created_day) "
        "VALUES (?, ?, 1, 1, 1)",
        ("acme", "Canary Customer"),
    )
    connection.execute(
        "INSERT INTO api_keys (digest, version, name, account, revoked) VALUES (?, 1, ?, 'acme', 0)",
        (SECRETS[2], "warehouse-key-name"),
    )


def test_neither_file_nor_log_is_readable_but_plain_sqlite_would_be(path, tmp_path):
    ledger = SqlcipherLedger(path, KEY)
    ledger._writer.execute("BEGIN")
    fill(ledger._writer)
    ledger._writer.execute("COMMIT")
    assert path.with_name("ledger.db-wal").stat().st_size > 4096
    found = everything_beside(path)
    assert [secret for secret in SECRETS if secret in found] == []
    ledger.close()
    found = everything_beside(path)
    assert [secret for secret in SECRETS if secret in found] == []

    control = tmp_path / "control"
    control.mkdir()
    plain = sqlite3.connect(control / "ledger.db", isolation_level=None)
    plain.execute("PRAGMA journal_mode = WAL")
    plain.executescript(SCHEMA)
    fill(plain)
    found = everything_beside(control / "ledger.db")
    plain.close()
    assert [secret for secret in SECRETS if secret in found] == list(SECRETS)


def test_another_key_is_refused_and_destroys_nothing(path):
    ledger = SqlcipherLedger(path, KEY)
    stocked(ledger, balance=7)
    ledger.close()
    with pytest.raises(LedgerRefused, match="another key"):
        SqlcipherLedger(path, bytes(32))
    again = SqlcipherLedger(path, KEY)
    assert again.account("acme").balance == 7
    again.close()


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_that_is_not_32_bytes_is_refused(path, length):
    with pytest.raises(LedgerRefused, match="32 bytes"):
        SqlcipherLedger(path, bytes(length))


def test_an_unencrypted_database_is_refused(path):
    plain = sqlite3.connect(path)
    plain.executescript(SCHEMA)
    plain.close()
    with pytest.raises(LedgerRefused):
        SqlcipherLedger(path, KEY)


def test_a_handle_without_encryption_is_refused_whatever_the_library_ignores():
    for library in (sqlite3, dbapi2):
        handle = library.connect(":memory:")
        if library is sqlite3:
            handle.execute("PRAGMA key = 'ignored by plain SQLite'")
        with pytest.raises(LedgerRefused, match="not encrypted"):
            books.require_encrypted(handle)
        handle.close()


def test_every_connection_is_asked_whether_it_is_encrypted(path, monkeypatch):
    def refuse(connection):
        raise LedgerRefused("asked")

    monkeypatch.setattr(books, "require_encrypted", refuse)
    with pytest.raises(LedgerRefused, match="asked"):
        books.open_connection(path, KEY)


def test_the_settings_that_durability_and_secrecy_rest_on_are_in_effect(path):
    ledger = SqlcipherLedger(path, KEY)
    for handle in (ledger._writer, ledger._reader):
        for name, effect in (
            ("journal_mode", "wal"),
            ("synchronous", 2),
            ("temp_store", 2),
            ("secure_delete", 1),
            ("foreign_keys", 1),
            ("cipher_memory_security", "1"),
            ("cipher_status", "1"),
        ):
            assert handle.execute(f"PRAGMA {name}").fetchone()[0] == effect
    with pytest.raises(dbapi2.OperationalError):
        ledger._reader.execute("UPDATE accounts SET balance = 0")
    ledger.close()


def test_a_setting_that_does_not_take_effect_is_refused(path, monkeypatch):
    monkeypatch.setattr(books, "_SETTINGS", (("synchronous", "FULL", 3),))
    with pytest.raises(LedgerRefused, match="synchronous"):
        SqlcipherLedger(path, KEY)


def test_files_belong_to_their_owner_only(path):
    ledger = SqlcipherLedger(path, KEY)
    stocked(ledger)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    ledger.close()
    assert set(modes) >= {"ledger.db", "ledger.db-wal", "ledger.db-shm"}
    assert set(modes.values()) == {0o600}


def test_two_keepers_never_share_one_file(path):
    first = SqlcipherLedger(path, KEY)
    with pytest.raises(LedgerRefused, match="another keeper"):
        SqlcipherLedger(path, KEY)
    first.close()
    SqlcipherLedger(path, KEY).close()


def test_a_refused_file_is_not_left_locked(path):
    SqlcipherLedger(path, KEY).close()
    with pytest.raises(LedgerRefused):
        SqlcipherLedger(path, bytes(32))
    SqlcipherLedger(path, KEY).close()


def test_books_with_another_schema_are_refused(path):
    ledger = SqlcipherLedger(path, KEY)
    ledger._writer.execute("CREATE TABLE prompts (content TEXT)")
    ledger.close()
    with pytest.raises(LedgerRefused, match="schema"):
        SqlcipherLedger(path, KEY)


def test_the_attested_schema_digest_is_that_of_the_schema_text():
    assert hashlib.sha384(SCHEMA.encode()).digest() == SCHEMA_SHA384


def test_the_database_itself_refuses_a_negative_balance(path):
    ledger = SqlcipherLedger(path, KEY)
    stocked(ledger, balance=7)
    with pytest.raises(dbapi2.IntegrityError):
        ledger._writer.execute("UPDATE accounts SET balance = -1")
    ledger.close()


def test_a_thousand_requests_leave_one_row(path):
    ledger = SqlcipherLedger(path, KEY)
    stocked(ledger)
    one = Charge(DAY, "acme", "main", digest(1), digest(1), "small", 3, operator_loss=2, estimated=True)
    for _ in range(10):
        ledger.apply([one] * 100)
    rows = ledger._reader.execute(
        "SELECT requests, estimated, cost, operator_loss FROM daily_usage"
    ).fetchall()
    tables = [
        name for (name,) in ledger._reader.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
    ]
    used = ledger._reader.execute("SELECT last_used_day FROM api_keys").fetchall()
    ledger.close()
    assert rows == [(1_000, 1_000, 3_000, 2_000)]
    assert sorted(tables) == ["accounts", "api_keys", "credits", "daily_usage"]
    assert used == [(DAY,)]


def test_errors_name_no_customer_and_no_amount(path):
    ledger = SqlcipherLedger(path, KEY)
    stocked(ledger, balance=7)
    with pytest.raises(LedgerError) as caught:
        ledger.apply([Charge(DAY, "acme", "main", digest(1), digest(1), "small", 987654)])
    told = str(caught.value)
    assert "acme" not in told
    assert "987654" not in told
    assert caught.value.__cause__ is None
    assert ledger.apply([AddCredit(DAY, "acme", 1, "r")])[0].refused == ""
    ledger.close()
