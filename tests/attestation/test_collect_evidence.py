"""Real evidence asks real questions: from the bare report or quote, what a vendor would serve is found again.

The URLs are written out by hand from the manifest's facts, so that nothing here shares code with the fetcher.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from attestation.collect import CollateralUnavailable, collect
from attestation.errors import MalformedEvidence
from attestation.hardware import SnpEvidence, TdxEvidence, VtpmEvidence
from attestation.model import Collateral, TdxCollateral
from tests.conftest import find_evidence
from tests.fakes.kds import Kds
from tests.fakes.pcs import Pcs
from tests.fakes.vendor_host import Hands, running

SPELLING = {"fmc": "fmcSPL", "bl": "blSPL", "tee": "teeSPL", "snp": "snpSPL", "ucode": "ucodeSPL"}
CRLS = {"Milan": "amd-crl-milan-2025.der", "Genoa": "amd-crl-genoa-2024.der"}


def cases(*tees: str) -> list[dict[str, Any]]:
    """Cases of these kinds whose hardware part is authentic; none without the collection."""
    place = find_evidence()
    if place is None:
        return []
    manifest = json.loads((place / "MANIFEST.json").read_bytes())
    return [c for c in manifest["cases"] if c["tee"] in tees and is_authentic(c["expected"])]


def is_authentic(expected: dict[str, Any]) -> bool:
    return bool(expected.get("authentic") or expected.get("quote_authentic"))


def named(case: dict[str, Any]) -> str:
    return str(case["id"])


def pem_ders(path: Path) -> tuple[bytes, ...]:
    blocks = re.findall(
        r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", path.read_text(), re.DOTALL
    )
    return tuple(ssl.PEM_cert_to_DER_cert(block) for block in blocks)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@dataclass(slots=True)
class Vendors:
    """AMD and Intel at once, each with its own authority; nothing published yet."""

    kds: Kds
    pcs: Pcs


@pytest.fixture(scope="module")
def vendors() -> Iterator[Vendors]:
    made = Vendors(Kds.forge(), Pcs.forge())
    with running(made.kds.host), running(made.pcs.host):
        yield made


def publish_amd(kds: Kds, case: dict[str, Any], folder: Path, roots: Path) -> None:
    """Everything that AMD would have served about one case, under AMD's URLs."""
    facts, product = case["expected"]["facts"], case["product"]
    kind = facts["signing_key"]
    kds.host.published.clear()
    kds.host.asked.clear()
    kds.put(f"/{kind}/v1/{product}/cert_chain", (folder / "ca_chain.pem").read_bytes())
    if product in CRLS:
        kds.put(f"/{kind}/v1/{product}/crl", (roots / CRLS[product]).read_bytes())
    if kind == "vcek":
        hwid = facts["chip_id"][:16] if product == "Turin" else facts["chip_id"]
        tcb = facts["reported_tcb"]
        levels = "&".join(f"{SPELLING[name]}={tcb[name]}" for name in SPELLING if name in tcb)
        kds.put(f"/vcek/v1/{product}/{hwid}?{levels}", (folder / "vcek.der").read_bytes())


def gathered(hardware: Any, vendors: Vendors, now: datetime) -> tuple[Collateral, str]:
    """What came, and what is said about the rest."""
    hands = Hands(now)
    host = vendors.kds.host if vendors.kds.host.published else vendors.pcs.host
    try:
        found = collect(hardware, clock=hands.clock, sleep=hands.sleep, ca=host.ca, routes=host.routes)
    except CollateralUnavailable as error:
        return error.partial, str(error)
    return found, ""


def test_there_are_cases_of_every_kind(evidence_dir: Path) -> None:
    assert len(cases("sev-snp")) > 10
    assert len(cases("azure-vtpm-snp")) > 2
    assert len(with_collateral("tdx", "azure-vtpm-tdx")) > 10


@pytest.mark.parametrize("case", cases("sev-snp"), ids=named)
def test_a_real_report_finds_its_certificates(
    case: dict[str, Any], vendors: Vendors, evidence_dir: Path
) -> None:
    folder, kind = evidence_dir / case["id"], case["expected"]["facts"]["signing_key"]
    publish_amd(vendors.kds, case, folder, evidence_dir / "roots")
    issuers, vek = pem_ders(folder / "ca_chain.pem"), (folder / f"{kind}.der").read_bytes()
    carried = () if kind == "vcek" else (vek,)
    report = (folder / "report.bin").read_bytes()
    found, problems = gathered(SnpEvidence(report, carried), vendors, moment(case["expected"]["verify_at"]))
    wanted = set(issuers) | ({vek} if kind == "vcek" else set())
    assert set(found.certificates) == wanted
    assert (problems == "") == (case["product"] in CRLS)
    assert len(found.crls) == (case["product"] in CRLS)


@pytest.mark.parametrize("case", cases("azure-vtpm-snp"), ids=named)
def test_a_real_hcl_report_finds_the_certificates_of_the_report_inside(
    case: dict[str, Any], vendors: Vendors, evidence_dir: Path
) -> None:
    folder = evidence_dir / case["id"]
    publish_amd(vendors.kds, case, folder, evidence_dir / "roots")
    hardware = VtpmEvidence("azure-snp", (folder / "hcl_report.bin").read_bytes())
    found, problems = gathered(hardware, vendors, moment(case["expected"]["verify_at"]))
    assert problems == ""
    assert (folder / "vcek.der").read_bytes() in found.certificates
    assert len(found.crls) == 1


def with_collateral(*tees: str) -> list[dict[str, Any]]:
    return [case for case in cases(*tees) if case["expected"].get("evaluations")]


@pytest.mark.parametrize("case", with_collateral("tdx", "azure-vtpm-tdx"), ids=named)
def test_a_real_quote_finds_its_collateral(
    case: dict[str, Any], vendors: Vendors, evidence_dir: Path
) -> None:
    folder = evidence_dir / case["id"]
    signing = pem_ders(folder / "tcb_signing_chain.pem")
    real = TdxCollateral(
        (folder / "tcb_info.json").read_bytes(),
        signing,
        (folder / "qe_identity.json").read_bytes(),
        signing,
        (folder / "pck_crl.der").read_bytes(),
        pem_ders(folder / "pck_crl_issuer_chain.pem"),
        (folder / "root_ca_crl.der").read_bytes(),
    )
    vendors.kds.host.published.clear()
    vendors.pcs.host.published.clear()
    fmspc = json.loads(real.tcb_info)["tcbInfo"]["fmspc"].lower()
    for authority in ("platform", "processor"):
        vendors.pcs.publish(real, fmspc, authority=authority)  # type: ignore[arg-type]
    quote = (folder / "quote.bin").read_bytes()
    hardware: Any = TdxEvidence(quote)
    if case["tee"] != "tdx":
        hardware = VtpmEvidence("azure-tdx", (folder / "hcl_report.bin").read_bytes(), td_quote=quote)
    found, problems = gathered(hardware, vendors, moment(case["expected"]["evaluations"][0]["at"]))
    assert problems == ""
    assert found == Collateral(tdx=real)


def test_azure_without_a_td_quote_asks_for_nothing(vendors: Vendors, evidence_dir: Path) -> None:
    vendors.kds.host.published.clear()
    vendors.pcs.host.asked.clear()
    hcl = (evidence_dir / "az-tdx-hcl-only-kinvolk" / "hcl_report.bin").read_bytes()
    found, problems = gathered(VtpmEvidence("azure-tdx", hcl), vendors, datetime.now(UTC))
    assert "no TD quote" in problems
    assert found == Collateral()
    assert vendors.pcs.host.asked == []


def test_clock_and_sleep_are_the_real_ones_unless_given() -> None:
    with pytest.raises(CollateralUnavailable, match="no TD quote"):
        collect(VtpmEvidence("azure-tdx", b""))


def test_an_hcl_report_that_cannot_be_read_asks_for_nothing(vendors: Vendors) -> None:
    with pytest.raises(MalformedEvidence):
        gathered(VtpmEvidence("azure-snp", b"HCLA"), vendors, datetime.now(UTC))
