"""What every suite shares: the collected evidence, read in place, and forged hierarchies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from enclave.tee.dev import SimulatedTee
from tests.fakes.amd import NOW, World
from tests.fakes.intel import IntelWorld
from tests.fakes.maa import MaaWorld
from tests.fakes.tpm import TpmWorld

REPOSITORY = Path(__file__).resolve().parent.parent


def find_evidence() -> Path | None:
    """The evidence collection: CASEMATE_EVIDENCE, or shared/evidence beside the repository."""
    named = os.environ.get("CASEMATE_EVIDENCE")
    place = Path(named) if named else REPOSITORY.parent / "shared" / "evidence"
    return place if (place / "MANIFEST.json").is_file() else None


@pytest.fixture(scope="session")
def evidence_dir() -> Path:
    """Real evidence with expected facts and verdicts in MANIFEST.json. Never copied into the repository."""
    place = find_evidence()
    if place is None and os.environ.get("CASEMATE_EVIDENCE_REQUIRED"):
        pytest.fail("no evidence collection, and CASEMATE_EVIDENCE_REQUIRED says that there has to be one")
    if place is None:
        pytest.skip("no evidence collection: set CASEMATE_EVIDENCE to one")
    return place


@pytest.fixture(scope="session")
def genoa() -> World:
    """A forged Genoa hierarchy."""
    return World.forge("Genoa")


@pytest.fixture(scope="session")
def worlds(genoa: World) -> dict[str, World]:
    """A forged hierarchy of every product."""
    return {"Genoa": genoa, "Milan": World.forge("Milan"), "Turin": World.forge("Turin")}


@pytest.fixture(scope="session")
def intel() -> IntelWorld:
    """A forged Intel."""
    return IntelWorld.forge()


@pytest.fixture(scope="session")
def tpm() -> TpmWorld:
    """The keys of a forged virtual TPM."""
    return TpmWorld.forge()


@pytest.fixture(scope="session")
def maa() -> MaaWorld:
    """A forged attestation service of Microsoft's."""
    return MaaWorld.forge()


@pytest.fixture(scope="session")
def simulated_tee() -> SimulatedTee:
    """One simulated machine, forged at tests.fakes.amd.NOW."""
    return SimulatedTee.forge(now=NOW, chip_secret=b"a chip secret for the tests only")
