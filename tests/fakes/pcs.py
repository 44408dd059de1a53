"""Intel's Provisioning Certification Service and a PCCS on loopback: URL shapes and headers of version 4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from attestation.model import TdxCollateral
from tests.fakes.kds import pem
from tests.fakes.vendor_host import Reply, VendorHost, chain_for

API, CERTIFICATES = "api.trustedservices.intel.com", "certificates.trustedservices.intel.com"
QE_TARGET = "/tdx/certification/v4/qe/identity?update=standard"
ROOT_TARGET, PCCS_ROOT_TARGET = "/IntelSGXRootCA.der", "/sgx/certification/v4/rootcacrl"
JSON, CRL = ("content-type", "application/json"), ("content-type", "application/pkix-crl")


def tcb_target(fmspc: str) -> str:
    return f"/tdx/certification/v4/tcb?fmspc={fmspc}&update=standard"


def pck_crl_target(authority: str) -> str:
    return f"/sgx/certification/v4/pckcrl?ca={authority}&encoding=der"


def encoded(chain: tuple[bytes, ...], *, plus: bool = False) -> str:
    """An issuer chain as header value: percent-encoded PEM. Some servers write spaces as plus signs."""
    text = pem(*chain).decode()
    return quote(text, safe="").replace("%20", "+") if plus else quote(text, safe="")


@dataclass(slots=True)
class Pcs:
    """Serves collateral; as a PCCS (`is_pccs`) under its own URL, the root's list in hexadecimal."""

    host: VendorHost
    is_pccs: bool = False

    @classmethod
    def forge(cls, *, is_pccs: bool = False) -> Pcs:
        return cls(VendorHost((API, CERTIFICATES), chain_for(API, CERTIFICATES)), is_pccs)

    def publish(
        self,
        collateral: TdxCollateral,
        fmspc: str,
        *,
        authority: Literal["platform", "processor"] = "platform",
        prefix: str = "",
        plus: bool = False,
    ) -> None:
        """Make it serve this for one platform."""
        published = {
            tcb_target(fmspc): (
                collateral.tcb_info,
                (JSON, ("TCB-Info-Issuer-Chain", encoded(collateral.tcb_info_chain, plus=plus))),
            ),
            QE_TARGET: (
                collateral.qe_identity,
                (
                    JSON,
                    ("SGX-Enclave-Identity-Issuer-Chain", encoded(collateral.qe_identity_chain, plus=plus)),
                ),
            ),
            pck_crl_target(authority): (
                collateral.pck_crl,
                (CRL, ("SGX-PCK-CRL-Issuer-Chain", encoded(collateral.pck_crl_chain, plus=plus))),
            ),
        }
        if self.is_pccs:
            published[PCCS_ROOT_TARGET] = (collateral.root_crl.hex().encode(), ())
        else:
            published[ROOT_TARGET] = (collateral.root_crl, (CRL,))
        for target, (body, headers) in published.items():
            self.host.published[prefix + target] = Reply(body, headers=headers)

    def asked_for(self, part: str) -> int:
        """How many requests had this in their target."""
        return sum(part in target for target in self.host.asked)
