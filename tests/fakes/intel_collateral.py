"""Forged collateral: TCB info, QE identity and CRLs as Intel's PCS serves them, with any content."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.fakes.amd import NOW
from tests.fakes.intel_layout import FMSPC, PCEID, PCESVN, QE_MRSIGNER, SVNS

Edit = Callable[[dict[str, Any]], object]
LEVEL_DATE = "2024-11-13T00:00:00Z"
OLDER_DATE = "2023-08-09T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Level:
    """One TCB level of a platform: 16 SGX components, PCESVN, 16 TDX components."""

    status: str = "UpToDate"
    svns: tuple[int, ...] = SVNS
    pcesvn: int = PCESVN
    tdx: tuple[int, ...] = (5, 0, 8, *(0,) * 13)
    advisories: tuple[str, ...] = ()
    date: str = LEVEL_DATE


OLDER_LEVEL = Level("OutOfDate", (2,) * 4 + (0,) * 12, 5, (0,) * 16, ("INTEL-SA-00960",), OLDER_DATE)


@dataclass(frozen=True, slots=True)
class Authority:
    """A forged certificate with its key."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        """The certificate's DER bytes."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True, slots=True)
class CollateralFields:
    """What Intel would publish. None: as it should be. An `*_edit` changes the object before it is signed;
    an `*_signer` signs in the proper one's place; `revoked` names certificates: pck, ca, signing, bystander.
    """

    issued: datetime = NOW - timedelta(days=1)
    until: datetime = NOW + timedelta(days=29)
    tcb_info_issued: datetime | None = None
    tcb_info_until: datetime | None = None
    qe_identity_issued: datetime | None = None
    qe_identity_until: datetime | None = None
    pck_crl_issued: datetime | None = None
    pck_crl_until: datetime | None = None
    root_crl_issued: datetime | None = None
    root_crl_until: datetime | None = None

    tcb_fmspc: bytes = FMSPC
    tcb_pceid: bytes = PCEID
    tcb_evaluation_number: int = 20
    qe_evaluation_number: int = 20
    platform_status: str = "UpToDate"
    platform_advisories: tuple[str, ...] = ()
    levels: tuple[Level, ...] | None = None
    module_status: str = "UpToDate"
    module_advisories: tuple[str, ...] = ()
    module_isvsvn: int = 6
    module_mrsigner: bytes = bytes(48)
    qe_status: str = "UpToDate"
    qe_advisories: tuple[str, ...] = ()
    qe_minimum_isvsvn: int = 4
    qe_identity_mrsigner: bytes = QE_MRSIGNER

    tcb_info_edit: Edit | None = None
    qe_identity_edit: Edit | None = None
    tcb_info_signer: ec.EllipticCurvePrivateKey | None = None
    qe_identity_signer: ec.EllipticCurvePrivateKey | None = None
    pck_crl_signer: ec.EllipticCurvePrivateKey | None = None
    root_crl_signer: ec.EllipticCurvePrivateKey | None = None
    tcb_info_chain: tuple[bytes, ...] | None = None
    qe_identity_chain: tuple[bytes, ...] | None = None
    pck_crl_chain: tuple[bytes, ...] | None = None
    revoked: frozenset[str] = field(default_factory=frozenset)


def moment(when: datetime) -> str:
    """A time as Intel writes it."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def sign_raw(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """ECDSA P-256 with SHA-256 as r||s, 64 bytes; the same input always gives the same signature."""
    signature = key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    return b"".join(number.to_bytes(32, "big") for number in decode_dss_signature(signature))


def signed_json(name: str, inner: Mapping[str, Any], key: ec.EllipticCurvePrivateKey) -> bytes:
    """`{"<name>":{...},"signature":"<hex>"}`; the signature covers the inner object's bytes as written."""
    raw = json.dumps(inner, separators=(",", ":")).encode()
    return b'{"%b":%b,"signature":"%b"}' % (name.encode(), raw, sign_raw(key, raw).hex().encode())


def _components(svns: tuple[int, ...]) -> list[dict[str, int]]:
    return [{"svn": svn} for svn in svns]


def _stated(tcb: dict[str, Any], status: str, advisories: tuple[str, ...], date: str) -> dict[str, Any]:
    level = {"tcb": tcb, "tcbDate": date, "tcbStatus": status}
    return level | {"advisoryIDs": list(advisories)} if advisories else level


def _platform_level(level: Level) -> dict[str, Any]:
    tcb = {
        "sgxtcbcomponents": _components(level.svns),
        "pcesvn": level.pcesvn,
        "tdxtcbcomponents": _components(level.tdx),
    }
    return _stated(tcb, level.status, level.advisories, level.date)


def _module(name: str, f: CollateralFields, levels: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": name,
        "mrsigner": f.module_mrsigner.hex().upper(),
        "attributes": "00" * 8,
        "attributesMask": "FF" * 8,
        "tcbLevels": levels,
    }


def tcb_info(f: CollateralFields) -> dict[str, Any]:
    """The inner object of a TDX TCB info, version 3."""
    levels = f.levels
    if levels is None:
        levels = (Level(f.platform_status, advisories=f.platform_advisories), OLDER_LEVEL)
    newest = _stated({"isvsvn": f.module_isvsvn}, f.module_status, f.module_advisories, LEVEL_DATE)
    older = _stated({"isvsvn": 2}, "OutOfDate", ("INTEL-SA-01036",), OLDER_DATE)
    third = _stated({"isvsvn": 3}, "UpToDate", (), LEVEL_DATE)
    inner = {
        "id": "TDX",
        "version": 3,
        "issueDate": moment(f.tcb_info_issued or f.issued),
        "nextUpdate": moment(f.tcb_info_until or f.until),
        "fmspc": f.tcb_fmspc.hex(),
        "pceId": f.tcb_pceid.hex(),
        "tcbType": 0,
        "tcbEvaluationDataNumber": f.tcb_evaluation_number,
        "tdxModule": {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8},
        "tdxModuleIdentities": [_module("TDX_03", f, [third]), _module("TDX_01", f, [newest, older])],
        "tcbLevels": [_platform_level(level) for level in levels],
    }
    if f.tcb_info_edit is not None:
        f.tcb_info_edit(inner)
    return inner


def qe_identity(f: CollateralFields) -> dict[str, Any]:
    """The inner object of the TD quoting enclave's identity, version 2."""
    newest = _stated({"isvsvn": f.qe_minimum_isvsvn}, f.qe_status, f.qe_advisories, LEVEL_DATE)
    inner = {
        "id": "TD_QE",
        "version": 2,
        "issueDate": moment(f.qe_identity_issued or f.issued),
        "nextUpdate": moment(f.qe_identity_until or f.until),
        "tcbEvaluationDataNumber": f.qe_evaluation_number,
        "miscselect": "00" * 4,
        "miscselectMask": "FF" * 4,
        "attributes": "11" + "00" * 15,
        "attributesMask": "FB" + "FF" * 7 + "00" * 8,
        "mrsigner": f.qe_identity_mrsigner.hex().upper(),
        "isvprodid": 2,
        "tcbLevels": [newest],
    }
    if f.qe_identity_edit is not None:
        f.qe_identity_edit(inner)
    return inner


def revocation_list(
    issuer: Authority,
    serials: tuple[int, ...],
    *,
    made: datetime,
    until: datetime,
    signer: ec.EllipticCurvePrivateKey | None = None,
) -> bytes:
    """A CRL in `issuer`'s name, DER."""
    key_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(made)
        .next_update(until)
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(key_id, critical=False)
    )
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(made)
        entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags.key_compromise), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    crl = builder.sign(signer or issuer.key, hashes.SHA256(), ecdsa_deterministic=True)
    return crl.public_bytes(serialization.Encoding.DER)
