"""The edge where raw evidence comes in from a folder, for the command line. Decides nothing itself.

A folder holds one machine's evidence under the names that docs/operate/verify.md lists; other files count for
nothing. Chains are PEM, as vendors serve them; everything else is taken as exact bytes.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from attestation.errors import CannotDecide, MalformedEvidence
from attestation.hardware import Hardware, SnpEvidence, TdxEvidence, Tee, VtpmEvidence
from attestation.model import Collateral, TdxCollateral
from attestation.pem import MAX_BLOCKS, Kind, encode_pem

MAX_FILE = 256 * 1024
MAX_LOG = 4 * 1024 * 1024
AMD_CERTIFICATES = ("vcek.der", "vlek.der")
AMD_CHAIN = "ca_chain.pem"
_VEK_MARKS = {"vcek.der": b"SEV-VCEK", "vlek.der": b"SEV-VLEK"}
AMD_CRLS = ("amd_crl.der", "crl.der")
FURTHER_CRLS = "further_crls.pem"
COLLATERAL_NAMES = (
    *AMD_CERTIFICATES,
    AMD_CHAIN,
    *AMD_CRLS,
    "tcb_info.json",
    "tcb_signing_chain.pem",
    "qe_identity.json",
    "qe_identity_chain.pem",
    "pck_crl.der",
    "pck_crl_issuer_chain.pem",
    "root_ca_crl.der",
    FURTHER_CRLS,
)

# RFC 7468 section 3, lax: vendors' chains come with either line end, and Intel's with a zero byte at the end.
# Around the blocks stands what programs write for people (section 2), but nothing that looks like a frame.
_BLOCKS: dict[Kind, re.Pattern[bytes]] = {
    "CERTIFICATE": re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]*+)-----END CERTIFICATE-----"),
    "X509 CRL": re.compile(rb"-----BEGIN X509 CRL-----([A-Za-z0-9+/=\s]*+)-----END X509 CRL-----"),
}
_FRAME = re.compile(rb"-----(?:BEGIN|END)")


@dataclass(frozen=True, slots=True)
class Folder:
    """One directory of evidence or collateral."""

    path: Path

    def needed(self, name: str) -> bytes:
        """A file without which there is nothing to judge. Raises CannotDecide if it is absent."""
        raw = self.optional(name)
        if raw is None:
            hint = f"put {name} into the folder that --dir names, under exactly this name"
            raise CannotDecide(f"{name} is missing or empty", hint=hint)
        return raw

    def optional(self, name: str, limit: int = MAX_FILE) -> bytes | None:
        """A file's bytes; None if it is absent or empty, which is the same.

        Raises MalformedEvidence above `limit`, CannotDecide if something of that name cannot be read.
        """
        place = self.path / name
        try:
            if not place.is_file():
                if place.exists() or place.is_symlink():
                    raise CannotDecide(f"{name} is no file", hint=f"put a file in the place of {name}")
                return None
            with place.open("rb") as file:
                raw = file.read(limit + 1)
        except OSError as error:
            hint = f"let {name} be read by whoever runs this"
            raise CannotDecide(f"cannot read {name}: {error.strerror}", hint=hint) from error
        if len(raw) > limit:
            raise MalformedEvidence(f"{name}: longer than {limit} bytes")
        return raw or None

    def bytes_of(self, name: str) -> bytes:
        """A file's bytes; nothing at all if it is absent."""
        return self.optional(name) or b""

    def chain(self, name: str) -> tuple[bytes, ...]:
        """A PEM chain as DER certificates, in order. Raises MalformedEvidence if it is anything else."""
        return _parse_blocks(self.bytes_of(name), "CERTIFICATE", name)


def read_hardware(tee: Tee, directory: Path) -> Hardware:
    """Read one machine's evidence.

    Raises CannotDecide if the file is missing that would carry the hardware's signature, or one cannot be
    read; MalformedEvidence for a file beyond its size limit or a chain that is no PEM. All other absences are
    left to the checks, which know what they needed.
    """
    folder = Folder(directory)
    if not _is_folder(directory):
        raise CannotDecide("--dir names no directory", hint="name the folder that holds the evidence files")
    if tee == "sev-snp":
        return SnpEvidence(folder.needed("report.bin"), _amd_certificates(folder), _amd_crls(folder))
    if tee == "tdx":
        return TdxEvidence(
            folder.needed("quote.bin"),
            _intel(folder),
            ccel=folder.optional("ccel_data.bin", MAX_LOG),
            dstack_log=folder.optional("event_log.json", MAX_LOG),
        )
    return _azure(tee, folder)


def read_collateral(directory: Path) -> Collateral:
    """Read a folder of collateral alone, under the same names. Raises as `read_hardware` does."""
    folder = Folder(directory)
    if not _is_folder(directory):
        raise CannotDecide(
            "--collateral names no directory", hint="`casemate collateral fetch` writes such a folder"
        )
    intel = _intel(folder)
    return Collateral(
        _amd_certificates(folder), _amd_crls(folder), intel if intel != TdxCollateral() else None
    )


def collateral_files(collateral: Collateral) -> dict[str, bytes]:
    """The files, by name, that `read_collateral` reads back as `collateral`. What is empty gets none.

    `certificates` has to begin with the VEK, if there is one, and `crls` has at most two entries,
    and Intel's `further_crls` eight.
    """
    intel = collateral.tdx or TdxCollateral()
    own_chain = () if intel.qe_identity_chain == intel.tcb_info_chain else intel.qe_identity_chain
    files = {
        **_amd_files(collateral.certificates),
        **dict(zip(AMD_CRLS, collateral.crls, strict=False)),
        "tcb_info.json": intel.tcb_info,
        "tcb_signing_chain.pem": encode_pem(intel.tcb_info_chain, "CERTIFICATE"),
        "qe_identity.json": intel.qe_identity,
        "qe_identity_chain.pem": encode_pem(own_chain, "CERTIFICATE"),
        "pck_crl.der": intel.pck_crl,
        "pck_crl_issuer_chain.pem": encode_pem(intel.pck_crl_chain, "CERTIFICATE"),
        "root_ca_crl.der": intel.root_crl,
        FURTHER_CRLS: encode_pem(intel.further_crls[:MAX_BLOCKS], "X509 CRL"),
    }
    return {name: raw for name, raw in files.items() if raw}


def _is_folder(path: Path) -> bool:
    """Also False where nobody may look."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _amd_files(certificates: tuple[bytes, ...]) -> dict[str, bytes]:
    """The chip's certificate under its own name, the authorities in one chain."""
    name = next((file for file, mark in _VEK_MARKS.items() if mark in b"".join(certificates[:1])), None)
    chain = certificates if name is None else certificates[1:]
    return {AMD_CHAIN: encode_pem(chain, "CERTIFICATE")} | ({} if name is None else {name: certificates[0]})


def _azure(tee: Literal["azure-snp", "azure-tdx"], folder: Folder) -> VtpmEvidence:
    is_snp = tee == "azure-snp"
    return VtpmEvidence(
        tee=tee,
        hcl_report=folder.needed("hcl_report.bin"),
        certificates=_amd_certificates(folder) if is_snp else (),
        crls=_amd_crls(folder) if is_snp else (),
        td_quote=b"" if is_snp else folder.bytes_of("quote.bin"),
        collateral=TdxCollateral() if is_snp else _intel(folder),
        tpm_quote=folder.bytes_of("tpm_quote.msg"),
        tpm_signature=folder.bytes_of("tpm_quote.sig"),
        tpm_pcrs=folder.bytes_of("tpm_pcrs.json"),
        runtime_data=folder.bytes_of("runtime_data.json"),
        maa_token=folder.bytes_of("maa_token.jwt"),
        maa_keys=folder.bytes_of("maa_certs.json"),
    )


def _amd_certificates(folder: Folder) -> tuple[bytes, ...]:
    keys = tuple(raw for raw in map(folder.optional, AMD_CERTIFICATES) if raw is not None)
    return keys + folder.chain(AMD_CHAIN)


def _amd_crls(folder: Folder) -> tuple[bytes, ...]:
    return tuple(raw for raw in map(folder.optional, AMD_CRLS) if raw is not None)


def _intel(folder: Folder) -> TdxCollateral:
    """Intel signs TCB info and QE identity with one key and serves one chain for both."""
    signing = folder.chain("tcb_signing_chain.pem")
    identity = folder.bytes_of("qe_identity.json")
    return TdxCollateral(
        tcb_info=folder.bytes_of("tcb_info.json"),
        tcb_info_chain=signing,
        qe_identity=identity,
        qe_identity_chain=folder.chain("qe_identity_chain.pem") or signing,
        pck_crl=folder.bytes_of("pck_crl.der"),
        pck_crl_chain=folder.chain("pck_crl_issuer_chain.pem"),
        root_crl=folder.bytes_of("root_ca_crl.der"),
        further_crls=_parse_blocks(folder.bytes_of(FURTHER_CRLS), "X509 CRL", FURTHER_CRLS),
    )


def _parse_blocks(raw: bytes, kind: Kind, name: str) -> tuple[bytes, ...]:
    """What stands between blocks is for people; a broken block, or one of another kind, is not."""
    blocks = _BLOCKS[kind].findall(raw)
    around = _BLOCKS[kind].sub(b"\n", raw)
    if len(blocks) > MAX_BLOCKS or _FRAME.search(around) or bool(raw) is not bool(blocks):
        raise MalformedEvidence(f"{name} must hold 1 to {MAX_BLOCKS} PEM blocks, all of them {kind}")
    return tuple(_der(block, name) for block in blocks)


def _der(body: bytes, name: str) -> bytes:
    try:
        return base64.b64decode(b"".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedEvidence(f"{name}: a PEM block is not base64") from error
