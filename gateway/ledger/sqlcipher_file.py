"""Opening the encrypted file so that nothing but our own books, under our own key, is ever used."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from sqlcipher3 import dbapi2

from gateway.ledger import LedgerRefused
from gateway.ledger.schema import SCHEMA

_SETTINGS = (
    ("cipher_memory_security", "ON", 1),
    ("journal_mode", "WAL", "wal"),
    ("synchronous", "FULL", 2),
    ("temp_store", "MEMORY", 2),
    ("secure_delete", "ON", 1),
    ("foreign_keys", "ON", 1),
)


def lock_books(path: Path) -> int:
    """Take the one lock on these books; returns the descriptor that holds it. Raises LedgerRefused.

    A file of its own, because closing any descriptor of the database would drop SQLite's POSIX locks on it.
    """
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise LedgerRefused("another keeper has these books open") from None
    return descriptor


def open_connection(path: Path, key: bytes) -> dbapi2.Connection:
    """Open or create the file under a raw 32-byte key, every setting measured. Raises LedgerRefused."""
    if len(key) != 32:
        raise LedgerRefused("a ledger key is 32 bytes")
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = dbapi2.connect(str(path), isolation_level=None, check_same_thread=False, timeout=5.0)
    try:
        connection.execute("PRAGMA cipher_log_level = NONE")
        connection.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
        require_encrypted(connection)
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        _apply_settings(connection)
    except dbapi2.DatabaseError:
        connection.close()
        raise LedgerRefused("not our books: another key, or not an encrypted database") from None
    except LedgerRefused:
        connection.close()
        raise
    return connection


def require_encrypted(connection: dbapi2.Connection) -> None:
    """Refuse a handle that SQLCipher doesn't say is encrypted; plain SQLite ignores the key silently."""
    row = connection.execute("PRAGMA cipher_status").fetchone()
    if row is None or str(row[0]) != "1":
        raise LedgerRefused("this database handle is not encrypted")


def _apply_settings(connection: dbapi2.Connection) -> None:
    for name, value, effect in _SETTINGS:
        connection.execute(f"PRAGMA {name} = {value}").fetchall()
        found = connection.execute(f"PRAGMA {name}").fetchone()
        if found is None or str(found[0]) != str(effect):
            raise LedgerRefused(f"the database does not keep {name}")


def require_schema(connection: dbapi2.Connection) -> None:
    """Create the tables in an empty file; refuse any other file whose tables aren't exactly ours."""
    if not _tables(connection):
        connection.executescript(f"BEGIN IMMEDIATE;\n{SCHEMA}COMMIT;")
    reference = dbapi2.connect(":memory:")
    try:
        reference.executescript(SCHEMA)
        if _tables(connection) != _tables(reference):
            raise LedgerRefused("the books have another schema than this release")
    finally:
        reference.close()


def _tables(connection: dbapi2.Connection) -> list[tuple[str, str]]:
    rows = connection.execute(
        "SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name"
    )
    return [(str(name), str(sql)) for name, sql in rows]
