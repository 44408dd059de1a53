"""The evidence that verifiers are compared on: forged here and now, and real if the collection is there.

Everything is written into one JSON file, so that the process that measures needs no fakes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from attestation.model import TdxCollateral
from attestation.pem import encode_pem
from tests.conftest import find_evidence
from tests.fakes.amd import NOW, World
from tests.fakes.evidence import NONCE, Scene
from tests.fakes.intel import IntelWorld

SNP, TDX, DOCUMENT = "SNP report", "TDX quote", "SNP document"
_CORPUS = (
    *("snp-milan-v3-vcek-aci", "snp-genoa-v3-vcek-aci", "snp-turin-v5-vcek-aci"),
    *("snp-milan-v3-vlek-aws-use2-vmpl1", "tdx-v4-phala-uptodate", "tdx-v5-google-2026"),
)


@dataclass(frozen=True, slots=True)
class Case:
    """One piece of evidence; all bytes are base64. `seconds` is the Unix time at which it is judged.

    `parts` by kind. SNP: report, and `certificates` (VEK first, root last, DER). TDX: quote, the collateral's
    members as verifiers of Intel's own shape take them, and `root`. Document: document, policy, nonce.
    """

    name: str
    kind: str
    seconds: int
    forged: bool
    parts: dict[str, Any]


def text(raw: bytes) -> str:
    """Bytes as base64."""
    return base64.b64encode(raw).decode()


def forged_cases() -> Iterator[Case]:
    """One report of each product, one document, one quote of each version."""
    seconds = int(NOW.timestamp())
    for product in ("Milan", "Genoa", "Turin"):
        world = World.forge(product)
        signed = world.issue()
        parts = {"report": text(signed.report), "certificates": [text(der) for der in signed.certificates]}
        yield Case(f"forged {product} VCEK", SNP, seconds, True, parts)
        if product == "Genoa":
            scene = Scene(world)
            whole = {"document": scene.document(), "policy": scene.policy(), "nonce": NONCE}
            yield Case(
                "forged Genoa", DOCUMENT, seconds, True, {name: text(raw) for name, raw in whole.items()}
            )
    intel = IntelWorld.forge()
    for version in (4, 5):
        quote = intel.issue(version=version)
        parts = {"quote": text(quote.quote), "root": text(intel.root.der), **_collateral(quote.collateral)}
        yield Case(f"forged version {version}", TDX, seconds, True, parts)


def _collateral(found: TdxCollateral) -> dict[str, Any]:
    """Our form, and the form that Intel's own clients pass around."""
    info, identity = _split(found.tcb_info, "tcbInfo"), _split(found.qe_identity, "enclaveIdentity")
    common = {
        "pck_crl_issuer_chain": encode_pem(found.pck_crl_chain, "CERTIFICATE").decode(),
        "root_ca_crl": found.root_crl.hex(),
        "pck_crl": found.pck_crl.hex(),
        "tcb_info_issuer_chain": encode_pem(found.tcb_info_chain, "CERTIFICATE").decode(),
        "tcb_info": info[0],
        "tcb_info_signature": info[1],
        "qe_identity_issuer_chain": encode_pem(found.qe_identity_chain, "CERTIFICATE").decode(),
        "qe_identity": identity[0],
        "qe_identity_signature": identity[1],
    }
    return {"common": common, "ours": _as_text(found)}


def _as_text(found: TdxCollateral) -> dict[str, Any]:
    return {
        name: text(value) if isinstance(value, bytes) else [text(der) for der in value]
        for name, value in asdict(found).items()
    }


def _split(raw: bytes, name: str) -> tuple[str, str]:
    """The signed bytes as text, and the signature."""
    inner, _, rest = raw.decode().removeprefix(f'{{"{name}":').rpartition(',"signature":"')
    return inner, rest.rstrip().removesuffix('"}')


def corpus_cases() -> Iterator[Case]:
    """Real evidence, each at a time at which it holds."""
    place = find_evidence()
    if place is None:
        return
    for case in json.loads((place / "MANIFEST.json").read_text())["cases"]:
        if case["id"] in _CORPUS:
            yield _snp_case(place, case) if case["tee"] == "sev-snp" else _tdx_case(place, case)


def _certificates(pem: str) -> list[str]:
    return ["".join(block.split()) for block in pem.split("-----")[2::4]]


def _snp_case(place: Path, case: dict[str, Any]) -> Case:
    directory = place / case["id"]
    vek = next(directory.glob("v?ek.der"))
    chain = _certificates((directory / "ca_chain.pem").read_text())
    parts = {"report": text((directory / "report.bin").read_bytes())}
    certificates = [text(vek.read_bytes()), *chain]
    return Case(
        case["id"],
        SNP,
        _seconds(case["expected"]["verify_at"]),
        False,
        {**parts, "certificates": certificates},
    )


def _tdx_case(place: Path, case: dict[str, Any]) -> Case:
    directory = place / case["id"]
    common = json.loads((directory / "collateral.json").read_text())
    ours = {
        "tcb_info": text((directory / "tcb_info.json").read_bytes()),
        "tcb_info_chain": _certificates(common["tcb_info_issuer_chain"]),
        "qe_identity": text((directory / "qe_identity.json").read_bytes()),
        "qe_identity_chain": _certificates(common["qe_identity_issuer_chain"]),
        "pck_crl": text(bytes.fromhex(common["pck_crl"])),
        "pck_crl_chain": _certificates(common["pck_crl_issuer_chain"]),
        "root_crl": text(bytes.fromhex(common["root_ca_crl"])),
    }
    root = _certificates((place / "roots" / "intel-sgx-root-ca.pem").read_text())[0]
    quote = text((directory / "quote.bin").read_bytes())
    parts = {"quote": quote, "root": root, "common": common, "ours": ours}
    return Case(case["id"], TDX, _seconds(case["expected"]["evaluations"][0]["at"]), False, parts)


def _seconds(moment: str) -> int:
    return int(datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp())


def write_cases(path: Path) -> int:
    """Write every case; returns how many there are."""
    cases: Sequence[Case] = [*forged_cases(), *corpus_cases()]
    path.write_text(json.dumps([asdict(case) for case in cases]))
    return len(cases)
