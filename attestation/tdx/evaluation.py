"""Platform, TDX module and quoting enclave rated by Intel's collateral, and the one status that follows."""

from __future__ import annotations

from dataclasses import dataclass

from attestation.tdx.body import SgxReport, TdReport
from attestation.tdx.pck import PckExtensions
from attestation.tdx.qe_identity import QeIdentity
from attestation.tdx.tcb import NOT_SUPPORTED, Rating, combine, rate_svn
from attestation.tdx.tcb_info import TcbInfo, module_identity, module_name, rate_module, rate_platform


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Three ratings; None where no level matches. `module_id` is None for a module without an identity."""

    platform: Rating | None
    module_id: str | None
    module: Rating | None
    qe: Rating | None

    @property
    def ratings(self) -> tuple[Rating, ...] | None:
        """The ratings that count, or None if one that is needed is missing."""
        needed = [self.platform, self.qe] + ([self.module] if self.module_id else [])
        found = tuple(rating for rating in needed if rating is not None)
        return found if len(found) == len(needed) else None

    @property
    def status(self) -> str:
        """The worst of all, in Intel's words; `NOT_SUPPORTED` if a rating is missing."""
        return NOT_SUPPORTED if self.ratings is None else combine(rating.status for rating in self.ratings)

    @property
    def advisory_ids(self) -> tuple[str, ...]:
        """All advisories of all ratings, sorted, each once."""
        return tuple(sorted({name for rating in self.ratings or () for name in rating.advisory_ids}))


def evaluate_tcb(
    info: TcbInfo, identity: QeIdentity, pck: PckExtensions, body: TdReport, qe_report: SgxReport
) -> Evaluation:
    """Rate all three parts. That the collateral is authentic, current and for this platform is not asked."""
    module = module_identity(info, body)
    return Evaluation(
        platform=rate_platform(info, pck, body),
        module_id=module_name(body),
        module=rate_module(module, body) if module else None,
        qe=rate_svn(identity.levels, qe_report.isvsvn),
    )
