"""A forged Microsoft Azure Attestation: tokens about forged evidence, any one claim of them wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.fakes.amd import NOW
from tests.fakes.intel_layout import TdFields
from tests.fakes.tpm import AzureSigned, b64url, jwk

ISSUER = "https://sharedeus2.eus2.attest.azure.net"
LIFE = timedelta(hours=8)


@dataclass(frozen=True, slots=True)
class MaaWorld:
    """One issuer of tokens: its URL, its RSA-2048 key and the key's id."""

    key: rsa.RSAPrivateKey
    url: str = ISSUER
    key_id: str = "forged-key"

    @classmethod
    def forge(cls) -> MaaWorld:
        """Make a key."""
        return cls(rsa.generate_private_key(public_exponent=65537, key_size=2048))

    @property
    def pin(self) -> bytes:
        """SHA-256 of the signing key's SPKI."""
        digest = hashes.Hash(hashes.SHA256())
        encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        digest.update(self.key.public_key().public_bytes(encoding, form))
        return digest.finalize()

    @property
    def issuers(self) -> dict[str, frozenset[bytes]]:
        """What a policy would pin."""
        return {self.url: frozenset({self.pin})}

    @property
    def keys(self) -> bytes:
        """The JWK set that the issuer serves at /certs."""
        key = jwk(self.key_id, "verify", self.key.public_key())
        del key["key_ops"]
        return json.dumps({"keys": [key | {"use": "sig", "alg": "RS256"}]}).encode()

    def token(
        self,
        signed: AzureSigned,
        *,
        nested: bool = True,
        issued: datetime = NOW - timedelta(minutes=1),
        header: Mapping[str, Any] | None = None,
        claims: Mapping[str, Any] | None = None,
        hardware: Mapping[str, Any] | None = None,
        without: tuple[str, ...] = (),
        signer: rsa.RSAPrivateKey | None = None,
    ) -> bytes:
        """A compact JWS about this evidence.

        `nested` puts the hardware's claims below x-ms-isolation-tee, as guest attestation does; without it
        they stand at the top. `claims` and `hardware` replace or add claims, `without` takes some away.
        """
        head = {"alg": "RS256", "jku": f"{self.url}/certs", "kid": self.key_id, "typ": "JWT"} | (header or {})
        inner = _keep(hardware_claims(signed) | (hardware or {}), without)
        outer = _keep(self._frame(issued) | (claims or {}), without)
        body = outer | (
            {"x-ms-attestation-type": "azurevm", "x-ms-isolation-tee": inner} if nested else inner
        )
        unsigned = f"{b64url(_json(head))}.{b64url(_json(body))}".encode()
        signature = (signer or self.key).sign(unsigned, padding.PKCS1v15(), hashes.SHA256())
        return unsigned + b"." + b64url(signature).encode()

    def _frame(self, issued: datetime) -> dict[str, Any]:
        moment = int(issued.timestamp())
        times = {"iat": moment, "nbf": moment, "exp": moment + int(LIFE.total_seconds())}
        return {"iss": self.url, "jti": "21a0e717", "secureboot": True, "x-ms-ver": "1.0"} | times


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _keep(claims: Mapping[str, Any], without: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in claims.items() if name not in without}


def hardware_claims(signed: AzureSigned) -> dict[str, Any]:
    """What the issuer says about the hardware, taken from the forged bytes."""
    runtime = json.loads(signed.evidence.runtime_data)
    common = {"x-ms-compliance-status": "azure-compliant-cvm", "x-ms-runtime": runtime}
    if signed.intel is not None:
        return common | {"x-ms-attestation-type": "tdxvm"} | tdx_claims(signed.intel.td)
    start, end = signed.hcl_regions["hardware"]
    return common | {"x-ms-attestation-type": "sevsnpvm"} | snp_claims(signed.evidence.hcl_report[start:end])


def snp_claims(report: bytes) -> dict[str, Any]:
    """A report's fields by the issuer's names; TCB components in Milan's and Genoa's order."""
    policy, tcb = int.from_bytes(report[0x08:0x10], "little"), report[0x180:0x188]
    digests = {
        "authorkeydigest": report[0x110:0x140],
        "familyId": report[0x10:0x20],
        "hostdata": report[0xC0:0xE0],
        "idkeydigest": report[0xE0:0x110],
        "imageId": report[0x20:0x30],
        "launchmeasurement": report[0x90:0xC0],
        "reportdata": report[0x50:0x90],
        "reportid": report[0x140:0x160],
    }
    values: dict[str, Any] = {
        "bootloader-svn": tcb[0],
        "tee-svn": tcb[1],
        "snpfw-svn": tcb[6],
        "microcode-svn": tcb[7],
        "guestsvn": int.from_bytes(report[0x04:0x08], "little"),
        "vmpl": int.from_bytes(report[0x30:0x34], "little"),
        "is-debuggable": bool(policy >> 19 & 1),
        "migration-allowed": bool(policy >> 18 & 1),
        "smt-allowed": bool(policy >> 16 & 1),
    }
    values |= {name: value.hex() for name, value in digests.items()}
    return {f"x-ms-sevsnpvm-{name}": value for name, value in values.items()}


def tdx_claims(td: TdFields) -> dict[str, Any]:
    """A TD report's fields by the issuer's names."""
    whole = {
        "tdx_mrtd": td.mrtd,
        "tdx_mrseam": td.mrseam,
        "tdx_mrsignerseam": td.mrsignerseam,
        "tdx_mrconfigid": td.mrconfigid,
        "tdx_mrowner": td.mrowner,
        "tdx_mrownerconfig": td.mrownerconfig,
        "tdx_report_data": td.report_data,
        "tdx_seam_attributes": td.seam_attributes,
        "tdx_td_attributes": td.td_attributes.to_bytes(8, "little"),
        "tdx_tee_tcb_svn": td.tee_tcb_svn,
        "tdx_xfam": td.xfam.to_bytes(8, "little"),
        **{f"tdx_rtmr{index}": value for index, value in enumerate(td.rtmrs)},
    }
    status = {"attester_tcb_status": "UpToDate", "dbgstat": "disabled", "tdx_td_attributes_debug": False}
    return status | {name: value.hex() for name, value in whole.items()}
