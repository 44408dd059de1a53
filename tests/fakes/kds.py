"""AMD's Key Distribution Service on loopback, with the URL shapes of AMD 57230, written out by hand."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from attestation.model import Tcb
from tests.fakes.amd import Signed, World
from tests.fakes.vendor_host import Reply, VendorHost, chain_for

NAME = "kdsintf.amd.com"
DER = (("content-type", "application/pkix-cert"),)
PEM = (("content-type", "application/x-pem-file"),)


def pem(*ders: bytes) -> bytes:
    """PEM text of certificates, as KDS writes it: no text between them."""
    return "".join(ssl.DER_cert_to_PEM_cert(der) for der in ders).encode()


def vcek_target(product: str, hwid: bytes, tcb: Tcb) -> str:
    """Turin: eight bytes of hardware id, and the FMC's level first."""
    levels = f"blSPL={tcb.bootloader}&teeSPL={tcb.tee}&snpSPL={tcb.snp}&ucodeSPL={tcb.microcode}"
    if product == "Turin":
        assert len(hwid) == 8
        levels = f"fmcSPL={tcb.fmc}&{levels}"
    return f"/vcek/v1/{product}/{hwid.hex()}?{levels}"


@dataclass(slots=True)
class Kds:
    """One KDS; `publish` makes it serve what a forged AMD signed."""

    host: VendorHost

    @classmethod
    def forge(cls) -> Kds:
        return cls(VendorHost((NAME,), chain_for(NAME)))

    def publish(self, world: World, signed: Signed, crl: bytes | None = None, *, kind: str = "vcek") -> None:
        """Chain and list of a product, and the certificate of a report's key unless that is a VLEK."""
        product = world.product
        vek, issuer, root = signed.certificates
        self.put(f"/{kind}/v1/{product}/cert_chain", pem(issuer, root), PEM)
        self.put(f"/{kind}/v1/{product}/crl", crl or world.crl(), DER)
        if kind == "vcek":
            self.put(vcek_target(product, world.hwid, world.tcb), vek, DER)

    def put(self, target: str, body: bytes, headers: tuple[tuple[str, str], ...] = DER) -> None:
        self.host.published[target] = Reply(body, headers=headers)

    def asked_for(self, part: str) -> int:
        """How many requests had this in their target."""
        return sum(part in target for target in self.host.asked)
