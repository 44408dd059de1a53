"""A TEE that counts on the device side what it was asked, and can be made to fail or wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from attestation.hardware import SnpEvidence
from enclave.secret import Secret

REPORT_PREFIX = b"report over "


@dataclass
class RecordingTee:
    root: bytes | None = b"\x11" * 32
    insecure: bool = True
    platform: str = "recording"
    before_report: Callable[[int], None] = lambda call: None
    signed: list[bytes] = field(default_factory=list)
    most_at_once: int = 0
    _inside: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def report(self, report_data: bytes) -> bytes:
        with self._lock:
            self._inside += 1
            self.most_at_once = max(self.most_at_once, self._inside)
            self.signed.append(report_data)
            call = len(self.signed)
        try:
            self.before_report(call)
        finally:
            with self._lock:
                self._inside -= 1
        return REPORT_PREFIX + report_data

    def endorsements(self) -> SnpEvidence:
        return SnpEvidence(b"")

    def hardware_key(self, label: str) -> Secret | None:
        return None if self.root is None else Secret(self.root)
