"""What AMD's Key Distribution Service publishes about one SNP report: VCEK, its issuers, revocation list.

Source: AMD 57230 (VCEK certificate and KDS interface). KDS throttles, so nothing is asked for that the
evidence carries in full, except the revocation list: a sender would choose one that suits him.
A VLEK is not published: AMD gives it to the cloud provider alone, and the machine hands it to the guest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from attestation.collect.formats import chain_answer, crl_answer, plain_answer
from attestation.collect.source import Attempts, Gathered, Item, Source, Standing, require
from attestation.collect.store import Kept
from attestation.errors import MalformedEvidence
from attestation.model import Collateral
from attestation.snp.abi import PRODUCTS, Report, SigningKey, decode_tcb, parse_report, product_of_cpuid
from attestation.snp.chain import MAX_CERTIFICATES, MAX_CRLS, VEK_NAMES, signature_verifies
from attestation.snp.kds import TURIN_HWID_SIZE, cert_chain_url, crl_url, vcek_url, vek_extensions
from attestation.x509 import (
    common_name,
    crl_problem,
    issuer_of,
    load_certificate,
    load_crl,
    signature_problem,
    spki_digest,
)

Roots = Mapping[str, frozenset[bytes]]

_DAY = timedelta(days=1)
_VCEK_FRESH = timedelta(days=30)  # one chip at one TCB has one key; KDS merely renews its dates
_WITHOUT_CPUID = ("Milan", "Genoa")  # a report of version 2 names no product, and Turin writes none
_NO_VLEK = (
    "the VLEK certificate: AMD publishes none, it gives them to cloud providers only; "
    "take it from the machine's certificate table (the auxblob of configfs-tsm)"
)
_NO_CHIP_ID = "the VCEK: the report hides its CHIP_ID, by which AMD publishes certificates"


@dataclass(frozen=True, slots=True)
class _Case:
    """One report with the certificates that came along, as far as they can be read."""

    report: Report
    certificates: tuple[x509.Certificate, ...]
    crls: tuple[bytes, ...]
    roots: Roots

    @property
    def kind(self) -> SigningKey:
        return self.report.signing_key

    @property
    def vek(self) -> x509.Certificate | None:
        """The certificate, of those that came along, whose key did sign the report."""
        named = (c for c in self.certificates if common_name(c.subject) == VEK_NAMES.get(self.kind))
        return next((c for c in named if signature_verifies(self.report, c)), None)

    @property
    def is_foreign(self) -> bool:
        """Whether a whole chain came along that ends in a root of nobody's, such as a development root.

        It has the same names as AMD's, so a list of AMD's would pass for one of its own, badly signed.
        """
        issuer = issuer_of(self.vek, self.certificates) if self.vek else None
        root = issuer_of(issuer, self.certificates) if issuer else None
        return root is not None and not any(spki_digest(root) in pins for pins in self.roots.values())


def fetch_amd(
    raw: bytes, certificates: Sequence[bytes], crls: Sequence[bytes], source: Source, roots: Roots
) -> Gathered:
    """Fetch what a report (1184 bytes) and its certificates and lists (DER) lack. Raises MalformedEvidence.

    `roots` are pins as in `attestation.snp.roots`. What could not be had is in `problems`.
    """
    report = parse_report(raw)
    if report.signing_key == "none":
        raise MalformedEvidence("no key signed this report: nothing is published about it")
    case = _Case(report, tuple(_readable(certificates)), tuple(crls[:MAX_CRLS]), roots)
    if case.is_foreign:
        return Gathered(
            Collateral(),
            ("the evidence's root is none that we pin: AMD publishes nothing of it",),
            hint="nothing is published about a simulated machine: its evidence brings what there is",
        )
    products = _products(case)
    if not products:
        return Gathered(Collateral(), ("nothing tells which product signed this report",))
    for product in products[:-1]:
        gathered, is_absent = _of_product(case, product, source)
        if not is_absent:
            return gathered
    return _of_product(case, products[-1], source)[0]


def _readable(certificates: Sequence[bytes]) -> Iterable[x509.Certificate]:
    for der in list(dict.fromkeys(certificates))[:MAX_CERTIFICATES]:
        try:
            yield load_certificate(der)
        except MalformedEvidence:
            continue  # the trust core names it; here it merely is of no use


def _products(case: _Case) -> tuple[str, ...]:
    """Where to ask. Unsigned, and harmless: a wrong product has other roots, so nothing of it verifies."""
    if case.report.cpuid is not None:
        named = product_of_cpuid(case.report.cpuid)
        return (named,) if named else ()
    if case.vek is not None:
        issuer = (common_name(case.vek.issuer) or "").removeprefix("SEV-").removeprefix("VLEK-")
        return (issuer,) if issuer in PRODUCTS else ()
    return _WITHOUT_CPUID if case.kind == "vcek" else ()


def _of_product(case: _Case, product: str, source: Source) -> tuple[Gathered, bool]:
    """Everything of one product, and whether KDS knows of no such VCEK there."""
    attempts = Attempts(source)
    chain = attempts.obtain(_chain_item(case, product), *_given_chain(case, product))
    if chain is None:
        return Gathered(Collateral(), attempts.problems), False
    certificates = chain.chain
    is_absent = False
    if case.kind == "vlek" and case.vek is None:
        attempts.note(_NO_VLEK)
    elif case.kind == "vcek" and not any(case.report.chip_id):
        if case.vek is None:
            attempts.note(_NO_CHIP_ID)
    elif case.kind == "vcek":
        vek = attempts.obtain(_vcek_item(case, product, chain), *[Kept(_der(case.vek))] if case.vek else [])
        certificates = ((vek.body,) if vek else ()) + certificates
        is_absent = attempts.is_absent
    crl = attempts.obtain(_crl_item(case, product, chain), *map(Kept, case.crls))
    found = Collateral(certificates, (crl.body,) if crl else ())
    return Gathered(found, attempts.problems), is_absent


def _given_chain(case: _Case, product: str) -> list[Kept]:
    """The issuers that came along, if their names fit; `obtain` judges them."""
    named = {common_name(c.subject): c for c in case.certificates}
    issuer, root = named.get(_issuer_name(case, product)), named.get(f"ARK-{product}")
    return [Kept(b"", (_der(issuer), _der(root)))] if issuer and root else []


def _issuer_name(case: _Case, product: str) -> str:
    return f"SEV-VLEK-{product}" if case.kind == "vlek" else f"SEV-{product}"


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def _chain_item(case: _Case, product: str) -> Item:
    def judge(kept: Kept) -> Standing:
        issuer, root = _authorities(kept)
        require(common_name(issuer.subject) == _issuer_name(case, product), "another issuer's certificate")
        require(spki_digest(root) in case.roots.get(product, frozenset()), "its root is none that we pin")
        require(signature_problem(root, root) is None, "the root's signature does not hold")
        require(signature_problem(issuer, root) is None, "the issuer's signature does not hold")
        return Standing(
            (0, issuer.not_valid_before_utc),
            max(issuer.not_valid_before_utc, root.not_valid_before_utc),
            min(issuer.not_valid_after_utc, root.not_valid_after_utc),
        )

    what = f"{product}'s issuer and root certificates"
    url = cert_chain_url(product, case.kind)
    return Item(
        f"amd-{case.kind}-chain-{product.lower()}", what, url, chain_answer, judge, _DAY, lasting=True
    )


def _vcek_item(case: _Case, product: str, chain: Kept) -> Item:
    size = TURIN_HWID_SIZE if product == "Turin" else None
    hwid = case.report.chip_id[:size]
    tcb = decode_tcb(case.report.reported_tcb_raw, product)

    def judge(kept: Kept) -> Standing:
        vek = load_certificate(kept.body)
        extensions = vek_extensions(vek)
        require(common_name(vek.subject) == VEK_NAMES["vcek"], "not a VCEK")
        same = (extensions.product, extensions.hwid, extensions.tcb) == (product, hwid, tcb)
        require(same, "the VCEK of another chip or TCB")
        require(signature_problem(vek, _authorities(chain)[0]) is None, "the VCEK's signature does not hold")
        dates = vek.not_valid_before_utc, vek.not_valid_after_utc
        return Standing((0, dates[0]), *dates)

    name = f"amd-vcek-{product.lower()}-{hwid.hex()}-{case.report.reported_tcb_raw.hex()}"
    url = vcek_url(product, hwid, tcb)
    return Item(
        name, "the VCEK of this chip at its reported TCB", url, plain_answer, judge, _VCEK_FRESH, lasting=True
    )


def _crl_item(case: _Case, product: str, chain: Kept) -> Item:
    def judge(kept: Kept) -> Standing:
        crl = load_crl(kept.body)
        require(crl_problem(crl, _authorities(chain)[1]) is None, "not a list that the root signed")
        made = crl.last_update_utc
        return Standing((0, made), made, crl.next_update_utc or made)

    url = crl_url(product, case.kind)
    name = f"amd-{case.kind}-crl-{product.lower()}"
    return Item(name, f"{product}'s revocation list", url, crl_answer, judge, _DAY)


def _authorities(chain: Kept) -> tuple[x509.Certificate, x509.Certificate]:
    """ASK (or ASVK) and ARK."""
    if len(chain.chain) != 2:
        raise MalformedEvidence("not two certificates")
    return load_certificate(chain.chain[0]), load_certificate(chain.chain[1])
