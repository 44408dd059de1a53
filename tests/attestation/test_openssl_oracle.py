"""OpenSSL's command line as a second opinion on every SNP signature and chain of the collection.

It knows nothing of our code: bytes are cut out of the report here by offset, and the signature is put into
DER by hand. OpenSSL looks at neither names, chip nor TCB, and here not at the time: not its question.
(Its `-x509_strict` would refuse every VCEK: AMD writes no authority key identifier into them.)
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from attestation.snp.abi import parse_report
from attestation.snp.roots import AMD_ROOTS
from attestation.snp.verify import authenticate_report
from attestation.x509 import crl_problem, load_certificate, load_crl, signature_problem
from tests.conftest import find_evidence

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)
_SIGNED, _SIGNATURE, _SLOT, _COMPONENT = 0x2A0, 0x2A0, 72, 48
_COLLECTED = datetime(2026, 11, 21, tzinfo=UTC)


def _cases() -> list[dict[str, Any]]:
    """Every case with an SNP report and the certificate of the key that signed it, Azure's included."""
    place = find_evidence()
    if place is None:
        return []
    cases = json.loads((place / "MANIFEST.json").read_text())["cases"]
    return [case for case in cases if {"vcek", "vlek"} & {file["role"] for file in case["files"]}]


_CASES = _cases()
every_case = pytest.mark.parametrize(
    "case", _CASES or [{"id": "no collection"}], ids=[case["id"] for case in _CASES] or ["no collection"]
)


@dataclass(frozen=True, slots=True)
class Opinions:
    """What one of the two says: does the chain hold, did the VEK sign the report."""

    chain: bool
    signature: bool


def _der(pem: str) -> bytes:
    """One certificate's DER."""
    return base64.b64decode("".join(pem.split("-----")[2].split()))


@dataclass(frozen=True, slots=True)
class Files:
    """One case: the report, the VEK's certificate (DER), its authorities (PEM; intermediate, root)."""

    report: bytes
    vek: bytes
    authorities: tuple[str, ...]

    @property
    def certificates(self) -> list[bytes]:
        """All certificates, DER, VEK first."""
        return [self.vek, *map(_der, self.authorities)]


def _read(evidence_dir: Path, case: dict[str, Any]) -> Files:
    by_role = {file["role"]: evidence_dir / file["path"] for file in case["files"]}
    chain = next(path for role, path in by_role.items() if role.endswith("ark_chain"))
    vek = next(by_role[role] for role in ("vcek", "vlek") if role in by_role)
    return Files(by_role["report"].read_bytes(), vek.read_bytes(), tuple(_PEM.findall(chain.read_text())))


def _openssl(*order: str | Path) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("openssl")
    assert program is not None, "openssl's command line is needed: apt install openssl"
    return subprocess.run([program, *map(str, order)], capture_output=True, check=False)


def _integer(little_endian: bytes) -> bytes:
    """A DER INTEGER."""
    value = int.from_bytes(little_endian, "little")
    content = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return bytes([2, len(content)]) + content


def _signature(report: bytes) -> bytes:
    """An ECDSA-Sig-Value out of the report's own form."""
    r = report[_SIGNATURE : _SIGNATURE + _COMPONENT]
    s = report[_SIGNATURE + _SLOT : _SIGNATURE + _SLOT + _COMPONENT]
    content = _integer(r) + _integer(s)
    return bytes([0x30, len(content)]) + content


def _put(place: Path, content: bytes | str) -> Path:
    place.write_bytes(content if isinstance(content, bytes) else content.encode())
    return place


def ask_openssl(files: Files, directory: Path) -> Opinions:
    """`openssl verify` and `openssl dgst` over one case, at no particular time."""
    pem = _openssl("x509", "-inform", "DER", "-in", _put(directory / "vek.der", files.vek)).stdout
    leaf = _put(directory / "vek.pem", pem)
    middle, root = (_put(directory / f"{number}.pem", text) for number, text in enumerate(files.authorities))
    chain = _openssl("verify", "-no_check_time", "-CAfile", root, "-untrusted", middle, leaf)
    key = _put(directory / "key.pem", _openssl("x509", "-in", leaf, "-noout", "-pubkey").stdout)
    signature = _put(directory / "signature", _signature(files.report))
    body = _put(directory / "body", files.report[:_SIGNED])
    signed = _openssl("dgst", "-sha384", "-verify", key, "-signature", signature, body)
    return Opinions(chain.returncode == 0, signed.stdout.strip() == b"Verified OK")


def our_outcomes(files: Files, now: datetime) -> dict[str, str]:
    """Outcome by check."""
    checks, *_ = authenticate_report(
        parse_report(files.report), files.certificates, roots=AMD_ROOTS, development_root=None, now=now
    )
    return {check.id: check.outcome.value for check in checks}


def _ours(files: Files, now: datetime) -> Opinions:
    outcomes = our_outcomes(files, now)
    chain = {name: outcome for name, outcome in outcomes.items() if name.startswith("snp.chain.")}
    return Opinions(set(chain.values()) == {"pass"}, outcomes["snp.signature"] == "pass")


def _time(case: dict[str, Any]) -> datetime:
    told = case["expected"].get("verify_at")
    return datetime.fromisoformat(told.replace("Z", "+00:00")) if told else _COLLECTED


def test_the_collection_has_the_cases_that_this_suite_was_written_for(evidence_dir: Path) -> None:
    assert evidence_dir.is_dir()
    assert len(_CASES) == 21


@every_case
def test_openssl_and_we_agree_on_every_signature_and_chain(
    case: dict[str, Any], evidence_dir: Path, tmp_path: Path
) -> None:
    files = _read(evidence_dir, case)
    assert ask_openssl(files, tmp_path) == _ours(files, _time(case))


@every_case
def test_openssl_and_we_refuse_the_same_damage(
    case: dict[str, Any], evidence_dir: Path, tmp_path: Path
) -> None:
    """A bit of the signed bytes, of s, and of the VEK's own signature: each breaks what it belongs to."""
    whole = _read(evidence_dir, case)
    for changed, broken in _damaged(whole):
        theirs, ours = ask_openssl(changed, tmp_path), _ours(changed, _time(case))
        assert theirs == ours
        assert getattr(theirs, broken) is False


def _damaged(files: Files) -> Sequence[tuple[Files, str]]:
    body = _flip(files.report, 0x55)
    s = _flip(files.report, _SIGNATURE + _SLOT)
    vek = _flip(files.vek, len(files.vek) - 1)
    return [
        (Files(body, files.vek, files.authorities), "signature"),
        (Files(s, files.vek, files.authorities), "signature"),
        (Files(files.report, vek, files.authorities), "chain"),
    ]


def _flip(raw: bytes, offset: int) -> bytes:
    changed = bytearray(raw)
    changed[offset] ^= 1
    return bytes(changed)


_CRLS = ("amd-crl-genoa-2024", "amd-crl-milan-2023", "amd-crl-milan-2025")


@pytest.mark.parametrize("name", _CRLS)
@pytest.mark.parametrize("product", ["milan", "genoa", "turin"])
def test_openssl_and_we_agree_on_who_signed_each_revocation_list(
    name: str, product: str, evidence_dir: Path
) -> None:
    crl, root = evidence_dir / "roots" / f"{name}.der", evidence_dir / "roots" / f"amd-ark-{product}.pem"
    theirs = _openssl("crl", "-in", crl, "-inform", "DER", "-CAfile", root, "-noout")
    ours = crl_problem(load_crl(crl.read_bytes()), load_certificate(_der(root.read_text())))
    assert (theirs.stderr.strip() == b"verify OK") is (ours is None) is (product in name)


@pytest.mark.parametrize("product", ["milan", "genoa", "turin"])
@pytest.mark.parametrize("authority", ["ask", "asvk"])
def test_openssl_and_we_agree_on_every_authority(authority: str, product: str, evidence_dir: Path) -> None:
    roots = evidence_dir / "roots"
    for other in ("milan", "genoa", "turin"):
        middle, root = roots / f"amd-{authority}-{product}.pem", roots / f"amd-ark-{other}.pem"
        theirs = _openssl("verify", "-no_check_time", "-CAfile", root, middle).returncode == 0
        signed, issuer = (load_certificate(_der(place.read_text())) for place in (middle, root))
        assert theirs is (signature_problem(signed, issuer) is None) is (other == product)
