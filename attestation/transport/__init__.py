"""Transports that verify before they send: for httpx (`openai` 1.x, 2.x) and httpx2 (`openai` 3.x).

Looked up lazily, so that who uses one of the two libraries does not need the other.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attestation.transport.httpx2_transport import AsyncVerifiedTransport as AsyncVerifiedTransport2
    from attestation.transport.httpx2_transport import VerifiedTransport as VerifiedTransport2
    from attestation.transport.httpx_transport import AsyncVerifiedTransport, VerifiedTransport

__all__ = ["AsyncVerifiedTransport", "AsyncVerifiedTransport2", "VerifiedTransport", "VerifiedTransport2"]

_HOMES = {
    "VerifiedTransport": ("httpx_transport", "VerifiedTransport"),
    "AsyncVerifiedTransport": ("httpx_transport", "AsyncVerifiedTransport"),
    "VerifiedTransport2": ("httpx2_transport", "VerifiedTransport"),
    "AsyncVerifiedTransport2": ("httpx2_transport", "AsyncVerifiedTransport"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(f"{__name__}.{module}"), attribute)
