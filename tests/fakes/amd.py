"""A forged AMD for tests: any product, report version, TCB, VLEK, revocation list, and every wrong variant.

`World` is one product's hierarchy (slow to make: forge it once per session); `World.issue()` gives a signed
report with its certificates, in which one argument at a time can be made wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from attestation.check import Check
from attestation.hardware import SnpEvidence
from attestation.model import Tcb
from attestation.snp.abi import encode_tcb, parse_report
from attestation.snp.verify import SnpClaims, authenticate_report
from enclave.tee import dev

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)

TCBS = {
    "Milan": Tcb(bootloader=4, tee=0, snp=24, microcode=219),
    "Genoa": Tcb(bootloader=10, tee=0, snp=25, microcode=84),
    "Turin": Tcb(bootloader=3, tee=2, snp=5, microcode=97, fmc=1),
}
CPUIDS = {"Milan": (0x19, 0x01, 1), "Genoa": (0x19, 0x11, 1), "Turin": (0x1A, 0x02, 1)}
CSP = "CN=cc-us-east-2.amazonaws.com"
VLEK_FLAGS = 1 << 2
DEBUG_POLICY = 1 << 17 | 1 << 19


@dataclass(frozen=True, slots=True)
class Signed:
    """A report with what is needed to check it: raw report, DER certificates (VEK first), DER CRLs, pins."""

    report: bytes
    certificates: tuple[bytes, ...]
    roots: Mapping[str, frozenset[bytes]]
    crls: tuple[bytes, ...] = ()

    @property
    def evidence(self) -> SnpEvidence:
        """The same as a document carries it."""
        return SnpEvidence(self.report, self.certificates, self.crls)

    def authenticate(
        self, *, now: datetime = NOW, development_root: bytes | None = None
    ) -> tuple[list[Check], SnpClaims | None]:
        """Run the verifier over all of it."""
        checks, claims, _ = authenticate_report(
            parse_report(self.report),
            self.certificates,
            self.crls,
            roots=self.roots,
            development_root=development_root,
            now=now,
        )
        return checks, claims

    def outcomes(self, *, now: datetime = NOW) -> dict[str, str]:
        """Outcome by check, without those that passed or only note something."""
        checks, _ = self.authenticate(now=now)
        quiet = ("pass", "noted")
        return {check.id: check.outcome.value for check in checks if check.outcome.value not in quiet}

    def with_byte(self, offset: int, value: int = 1) -> Signed:
        """The same with one byte of the report xored: whatever it was, it is another now."""
        changed = bytearray(self.report)
        changed[offset] ^= value
        return replace(self, report=bytes(changed))


@dataclass(frozen=True, slots=True)
class World:
    """One product's forged hierarchy."""

    hierarchy: dev.Hierarchy

    @classmethod
    def forge(cls, product: str) -> World:
        """ARK, ASK and ASVK: three RSA keys, some seconds."""
        return cls(dev.forge_hierarchy(product, now=NOW, vlek=True))

    @property
    def product(self) -> str:
        """Milan, Genoa or Turin."""
        return self.hierarchy.product

    @property
    def tcb(self) -> Tcb:
        """A plausible TCB of this product."""
        return TCBS[self.product]

    @property
    def roots(self) -> dict[str, frozenset[bytes]]:
        """Pins that trust this hierarchy as if it were AMD's."""
        return {self.product: frozenset({self.hierarchy.ark.spki_sha256})}

    @property
    def chip_id(self) -> bytes:
        """CHIP_ID as this product writes it."""
        whole = bytes(range(1, 65))
        return whole[:8].ljust(64, b"\0") if self.product == "Turin" else whole

    @property
    def hwid(self) -> bytes:
        """The hardware id as the VCEK carries it."""
        return self.chip_id[:8] if self.product == "Turin" else self.chip_id

    def fields(self, **changes: Any) -> dev.ReportFields:
        """Report fields that fit this product and its VCEK, with `changes`."""
        raw = encode_tcb(self.tcb, self.product)
        fitting = dev.ReportFields(
            bytes(range(64)),
            cpuid=CPUIDS[self.product],
            chip_id=self.chip_id,
            current_tcb_raw=raw,
            reported_tcb_raw=raw,
            committed_tcb_raw=raw,
            launch_tcb_raw=raw,
        )
        return replace(fitting, **changes)

    def vcek(self, *, name: str = "SEV-VCEK", **changes: Any) -> dev.Vek:
        """A VCEK; `changes` are `extensions`, `tcb`, `hwid`, `curve`, `issuer`, `issuer_name`, `now`."""
        extensions = changes.pop("extensions", None) or dev.vek_extensions(
            self.product, changes.pop("tcb", self.tcb), hwid=changes.pop("hwid", self.hwid)
        )
        issuer = changes.pop("issuer", self.hierarchy.ask)
        issuer_name = changes.pop("issuer_name", f"SEV-{self.product}")
        return dev.forge_vek(issuer, name, issuer_name, extensions, **{"now": NOW} | changes)

    def vlek(self, *, csp_id: str | None = CSP, hwid: bytes | None = None) -> dev.Vek:
        """A VLEK under the ASVK."""
        extensions = dev.vek_extensions(self.product, self.tcb, hwid=hwid, csp_id=csp_id)
        asvk_name = f"SEV-VLEK-{self.product}"
        return dev.forge_vek(self.asvk, "SEV-VLEK", asvk_name, extensions, now=NOW)

    @property
    def asvk(self) -> dev.Issuer:
        """The VLEK's issuer."""
        assert self.hierarchy.asvk is not None
        return self.hierarchy.asvk

    def issue(
        self,
        vek: dev.Vek | None = None,
        *,
        issuer: dev.Issuer | None = None,
        ark: dev.Issuer | None = None,
        crls: Sequence[bytes] = (),
        signer: ec.EllipticCurvePrivateKey | None = None,
        **changes: Any,
    ) -> Signed:
        """A report signed by `vek` (a fitting VCEK unless given) with its chain; `changes`: report fields."""
        vek = vek or self.vcek()
        report = dev.sign_report(dev.encode_report(self.fields(**changes)), signer or vek.key)
        issuer, ark = issuer or self.hierarchy.ask, ark or self.hierarchy.ark
        return Signed(report, (vek.certificate, issuer.der, ark.der), self.roots, tuple(crls))

    def issue_vlek(self, vek: dev.Vek | None = None, **changes: Any) -> Signed:
        """A VLEK-signed report: no chip in it."""
        fitting = {"flags": VLEK_FLAGS, "chip_id": bytes(64)} | changes
        return self.issue(vek or self.vlek(), issuer=self.asvk, **fitting)

    def intermediate(self, *, name: str | None = None, crl_sign: bool = False) -> dev.Issuer:
        """An ASK beside the proper one, with its key. AMD's may not sign revocation lists; this one may."""
        key = self.hierarchy.ask.key
        builder = dev.certificate_builder(
            name or f"SEV-{self.product}", f"ARK-{self.product}", key.public_key(), now=NOW
        )
        usage = x509.KeyUsage(False, False, False, False, False, True, crl_sign, False, False)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(usage, critical=True)
        return dev.Issuer(key, dev.sign_pss(builder, self.hierarchy.ark.key))

    def crl(
        self,
        *revoked: x509.Certificate,
        issuer: dev.Issuer | None = None,
        signer: dev.Issuer | None = None,
        made: datetime = NOW - timedelta(days=1),
        until: datetime = NOW + timedelta(days=30),
        critical: bool = False,
        salt: int = 48,
    ) -> bytes:
        """A CRL in the name of the ARK, or of another `issuer`, DER."""
        named = issuer or self.hierarchy.ark
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(named.certificate.subject)
            .last_update(made)
            .next_update(until)
        )
        for certificate in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(made).build())
        if critical:
            unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
            builder = builder.add_extension(unknown, critical=True)
        signed: x509.CertificateRevocationList = dev.sign_pss(builder, (signer or named).key, salt=salt)
        return signed.public_bytes(serialization.Encoding.DER)
