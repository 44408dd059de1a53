"""What an enclave refuses to do, and why.

`NoTee`, `SealBroken` and `UnsafeProcess` are fatal at boot: nothing is served, and the reason is told.
`QuotesBusy` and `QuoteFailed` concern one question; asking again is right.
"""

from __future__ import annotations


class EnclaveError(Exception):
    """Base; `hint` says what to do next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class NoTee(EnclaveError):  # noqa: N818 - field terms
    """No supported trusted execution environment was found, or it refused to answer."""


class SealBroken(EnclaveError):  # noqa: N818
    """The keyring cannot be opened with this machine's root secret."""


class UnsafeProcess(EnclaveError):  # noqa: N818
    """This process could leak memory: wrong allocator, dumpable, or core dumps enabled."""


class QuotesBusy(EnclaveError):  # noqa: N818
    """More statements are waiting for a report than the queue takes."""


class QuoteFailed(EnclaveError):  # noqa: N818
    """The device did not answer with a report; everyone who shared that report is told so."""
