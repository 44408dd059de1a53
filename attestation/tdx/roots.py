"""Intel's root key, as a pin: SHA-256 over the DER SubjectPublicKeyInfo of "Intel SGX Root CA".

Intel signs platforms and collateral, of SGX and TDX alike, below this one key. Machines from before
production carry a root of the same name with another key: the name proves nothing, hence the pin. The value
was compared with the certificate in several independent public sources; a test compares it with the
collected certificate again.
"""

from __future__ import annotations

INTEL_ROOTS: frozenset[bytes] = frozenset(
    {bytes.fromhex("a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e")}
)
