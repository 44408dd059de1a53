"""A stage for tests of collateral: a forged vendor, its service on loopback, a clock, and a cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from attestation.collect import CollateralUnavailable, collect
from attestation.hardware import SnpEvidence, TdxEvidence
from attestation.model import Collateral, TdxCollateral
from tests.fakes.amd import NOW, World
from tests.fakes.intel import IntelSigned, IntelWorld
from tests.fakes.intel_layout import FMSPC
from tests.fakes.kds import Kds
from tests.fakes.pcs import QE_TARGET, ROOT_TARGET, Pcs, pck_crl_target, tcb_target
from tests.fakes.vendor_host import Hands, VendorHost

NAME = FMSPC.hex()
TCB, PCK = tcb_target(NAME), pck_crl_target("platform")
TARGETS = {"tcb_info": TCB, "qe_identity": QE_TARGET, "pck_crl": PCK, "root_crl": ROOT_TARGET}
NOTHING = TdxCollateral()


@dataclass(slots=True)
class AmdStage:
    """A forged AMD with its KDS, a clock, and a directory for the cache."""

    world: World
    kds: Kds
    hands: Hands
    cache: Path

    def collect(
        self,
        report: bytes,
        certificates: tuple[bytes, ...] = (),
        crls: tuple[bytes, ...] = (),
        **changes: Any,
    ) -> Collateral:
        fitting: dict[str, Any] = {
            "cache_dir": self.cache,
            "ca": self.kds.host.ca,
            "routes": self.kds.host.routes,
            "clock": self.hands.clock,
            "sleep": self.hands.sleep,
            "amd_roots": self.world.roots,
        }
        return collect(SnpEvidence(report, certificates, crls), **(fitting | changes))

    def failure(
        self,
        report: bytes,
        certificates: tuple[bytes, ...] = (),
        crls: tuple[bytes, ...] = (),
        **changes: Any,
    ) -> CollateralUnavailable:
        with pytest.raises(CollateralUnavailable) as caught:
            self.collect(report, certificates, crls, **changes)
        return caught.value

    def file(self, part: str) -> Path:
        found = [path for path in self.cache.glob("*.json") if part in path.name]
        assert len(found) == 1
        return found[0]


@dataclass(slots=True)
class IntelStage:
    """A forged Intel with its PCS, a clock, and a directory for the cache."""

    world: IntelWorld
    pcs: Pcs
    hands: Hands
    cache: Path

    def collect(self, signed: IntelSigned, given: TdxCollateral = NOTHING, **changes: Any) -> TdxCollateral:
        fitting: dict[str, Any] = {
            "cache_dir": self.cache,
            "ca": self.pcs.host.ca,
            "routes": self.pcs.host.routes,
            "clock": self.hands.clock,
            "sleep": self.hands.sleep,
            "intel_roots": self.world.roots,
        }
        found = collect(TdxEvidence(signed.quote, given), **(fitting | changes)).tdx
        assert found is not None
        return found

    def failure(
        self, signed: IntelSigned, given: TdxCollateral = NOTHING, **changes: Any
    ) -> CollateralUnavailable:
        with pytest.raises(CollateralUnavailable) as caught:
            self.collect(signed, given, **changes)
        return caught.value


def both_lists(collateral: TdxCollateral) -> tuple[bytes, ...]:
    """What the PCK's CA and the root revoke, as further lists are told."""
    return collateral.pck_crl, collateral.root_crl


def _quiet(host: VendorHost) -> None:
    """Nothing published, nothing asked."""
    host.published.clear()
    host.script.clear()
    host.asked.clear()


def amd_stage(world: World, kds: Kds, tmp_path: Path) -> AmdStage:
    """A stage on a KDS that several tests share."""
    _quiet(kds.host)
    return AmdStage(world, kds, Hands(NOW), tmp_path / "cache")


def intel_stage(world: IntelWorld, pcs: Pcs, tmp_path: Path) -> IntelStage:
    """A stage on a PCS that several tests share."""
    _quiet(pcs.host)
    return IntelStage(world, pcs, Hands(NOW), tmp_path / "cache")
