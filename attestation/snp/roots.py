"""AMD's root keys, as pins: SHA-256 over the DER SubjectPublicKeyInfo of each product's ARK.

A pinned key cannot be imitated by a look-alike name, and does not change when AMD reissues a certificate.
Each value was compared with the certificates of several independent public sources; a test compares it with
the collected certificates again. A product's key also tells the product: nothing unsigned is believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

AMD_ROOTS: Mapping[str, frozenset[bytes]] = MappingProxyType(
    {
        "Milan": frozenset(
            {bytes.fromhex("9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9")}
        ),
        "Genoa": frozenset(
            {bytes.fromhex("429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831")}
        ),
        "Turin": frozenset(
            {bytes.fromhex("4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08")}
        ),
    }
)
