"""The narrow seam to trusted hardware: one protocol, one file per platform."""

from __future__ import annotations

from typing import Protocol

from attestation.hardware import SnpEvidence
from enclave.secret import Secret


class Tee(Protocol):
    """A source of hardware evidence.

    Every implementation must:
    - return reports whose REPORT_DATA is exactly the 64 bytes given;
    - never reuse a report for other report data;
    - be called from one thread at a time (the quote queue sees to that).
    """

    @property
    def platform(self) -> str:
        """`sev-snp`, later `tdx`, `azure-snp`, `azure-tdx`."""

    @property
    def insecure(self) -> bool:
        """True for a simulation: announced everywhere, never accepted without being named."""

    def report(self, report_data: bytes) -> bytes:
        """Return the platform's raw report or quote over 64 bytes. Blocks; raises NoTee."""

    def endorsements(self) -> SnpEvidence:
        """What is needed to check reports offline, public, with an empty report: certificates, VEK first,
        then its issuers, and CRLs."""

    def hardware_key(self, label: str) -> Secret | None:
        """A 32-byte key bound to this chip and measurement, or None where the platform has none."""
