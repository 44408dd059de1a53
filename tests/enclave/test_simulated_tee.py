"""The simulated machine: byte-exact, fresh, bound to its secret, and marked as what it is."""

from __future__ import annotations

import pytest

from attestation.snp.abi import parse_report
from attestation.snp.roots import AMD_ROOTS
from attestation.snp.verify import SnpClaims, authenticate_report
from attestation.x509 import load_certificate
from enclave.errors import NoTee
from enclave.tee import Tee
from enclave.tee.dev import MEASUREMENT, ORGANISATION, SimulatedTee
from tests.fakes.amd import NOW


def _authenticate(tee: SimulatedTee, report: bytes, root: bytes | None) -> SnpClaims | None:
    _, claims, _ = authenticate_report(
        parse_report(report), tee.endorsements().certificates, roots=AMD_ROOTS, development_root=root, now=NOW
    )
    return claims


def test_its_reports_are_authentic_for_whoever_names_its_root_and_insecure_even_then(
    simulated_tee: SimulatedTee,
) -> None:
    tee: Tee = simulated_tee
    report = tee.report(bytes(range(64)))
    claims = _authenticate(simulated_tee, report, simulated_tee.root_spki_sha256)
    assert claims is not None
    assert claims.insecure
    assert (claims.product, claims.report.version, claims.report.policy.debug) == ("Genoa", 5, False)
    assert claims.report.report_data == bytes(range(64))
    assert claims.report.measurement == simulated_tee.measurement == MEASUREMENT
    assert len(MEASUREMENT) == 48


def test_nobody_else_accepts_its_reports(simulated_tee: SimulatedTee) -> None:
    report = simulated_tee.report(bytes(64))
    assert _authenticate(simulated_tee, report, None) is None
    assert _authenticate(simulated_tee, report, bytes(32)) is None


def test_every_certificate_says_that_it_is_not_amds(simulated_tee: SimulatedTee) -> None:
    assert simulated_tee.insecure is True
    assert len(simulated_tee.endorsements().certificates) == 3
    for der in simulated_tee.endorsements().certificates:
        certificate = load_certificate(der)
        assert f"O={ORGANISATION}" in certificate.subject.rfc4514_string()
        assert f"O={ORGANISATION}" in certificate.issuer.rfc4514_string()


@pytest.mark.parametrize("size", [0, 32, 63, 65])
def test_report_data_has_64_bytes(simulated_tee: SimulatedTee, size: int) -> None:
    with pytest.raises(NoTee):
        simulated_tee.report(bytes(size))


def test_every_report_is_signed_afresh(simulated_tee: SimulatedTee) -> None:
    assert simulated_tee.report(bytes(64)) != simulated_tee.report(bytes(64))


def test_hardware_keys_depend_on_chip_secret_and_label_and_survive_a_restart(
    simulated_tee: SimulatedTee,
) -> None:
    restarted = SimulatedTee.forge(now=NOW, chip_secret=simulated_tee.chip_secret.reveal())
    other_chip = SimulatedTee(
        restarted.hierarchy, restarted.vek, restarted.crl, bytes(64), type(restarted.chip_secret)(b"x")
    )
    key = simulated_tee.hardware_key("keyring").reveal()
    assert len(key) == 32
    assert restarted.hardware_key("keyring").reveal() == key
    assert restarted.chip_id == simulated_tee.chip_id
    assert restarted.root_spki_sha256 != simulated_tee.root_spki_sha256
    assert simulated_tee.hardware_key("ledger").reveal() != key
    assert other_chip.hardware_key("keyring").reveal() != key


def test_its_representation_shows_no_secret(simulated_tee: SimulatedTee) -> None:
    assert "a chip secret" not in repr(simulated_tee)
