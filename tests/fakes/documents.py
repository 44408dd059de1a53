"""Whole documents of forged gateways on any platform, with the policy that accepts each."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from attestation.formats.document import Evidence, Inclusion, build_document
from attestation.formats.manifest import encode_manifest, manifest_sha384
from attestation.formats.merkle import inclusion_paths, leaf_hash
from attestation.formats.statement import build_statement
from attestation.hardware import Hardware
from attestation.model import Appraisal, Collateral, Verdict
from attestation.policy.model import AzurePolicy, ManifestPolicy, Policy, ReferenceSet, SnpPolicy, TdxPolicy
from attestation.verify import verify
from enclave.tee.dev import MEASUREMENT
from tests.fakes.amd import NOW, World
from tests.fakes.evidence import NONCE, config, manifest
from tests.fakes.intel import IntelWorld, spki_sha256
from tests.fakes.intel_layout import TdFields
from tests.fakes.mutants import Judged
from tests.fakes.tpm import PCRS, TpmWorld, azure_snp, azure_tdx


@dataclass(frozen=True, slots=True)
class Gateway:
    """A forged gateway: a document's bytes and the policy that accepts it, as insecure."""

    document: bytes
    policy: Policy

    def appraise(self, document: bytes | None = None, **how: Any) -> Appraisal:
        """What a verifier says that asked with NONCE at NOW; `how` as in `verify`."""
        raw = self.document if document is None else document
        return verify(raw, Collateral(), self.policy, **{"nonce": NONCE, "now": NOW} | how)

    def objections(self, document: bytes | None = None, **how: Any) -> dict[str, str]:
        """Outcome by id of what keeps it from being accepted."""
        return {check.id: check.outcome.value for check in self.appraise(document, **how).failed}

    def judge(self, document: bytes) -> Judged:
        """For `mutants.examine`."""
        appraisal = self.appraise(document)
        accepted = appraisal.verdict in (Verdict.ACCEPTED, Verdict.ACCEPTED_INSECURE)
        return Judged(accepted, frozenset(check.id for check in appraisal.failed))

    def payload(self, label: str) -> bytes:
        """The bytes of one record."""
        text = json.loads(self.document)[label][1]
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

    def with_payload(self, label: str, payload: bytes) -> bytes:
        """The document with other bytes in one record, well encoded."""
        records = json.loads(self.document)
        records[label][1] = base64.urlsafe_b64encode(payload).rstrip(b"=").decode()
        return json.dumps(records, separators=(",", ":")).encode()

    def span(self, label: str) -> tuple[int, int]:
        """Where in the document's text one record's Base64 stands: [start, end)."""
        text = json.loads(self.document)[label][1].encode()
        start = self.document.index(text)
        return start, start + len(text)

    def without(self, *labels: str) -> bytes:
        """The document without some records."""
        records = json.loads(self.document)
        return json.dumps({name: value for name, value in records.items() if name not in labels}).encode()


def gateway_on(
    sign: Callable[[bytes], Hardware],
    policy: Policy,
    *,
    service: str = "test",
    settings: bytes | None = None,
) -> Gateway:
    """A document around whatever hardware evidence `sign` makes over the 64 bytes of the Merkle root."""
    settings = config() if settings is None else settings
    encoded = encode_manifest(manifest(settings, service=service))
    statement = build_statement("attestation", NONCE, manifest_sha384(encoded))
    root, paths = inclusion_paths([leaf_hash(statement), leaf_hash(b"another caller's")])
    place = Inclusion(0, 2, paths[0])
    document = build_document(Evidence(statement, place, encoded, settings, sign(root)), insecure=True)
    return Gateway(document, policy)


def snp_gateway(world: World, *, service: str = "test", **changes: Any) -> Gateway:
    """On AMD hardware, with the root's revocation list; `changes` as in `World.issue`."""
    crls = (world.crl(),)
    policy = Policy(
        snp=SnpPolicy(measurements=frozenset({MEASUREMENT})),
        insecure_development_root=world.hierarchy.ark.spki_sha256,
    )
    return gateway_on(
        lambda root: world.issue(**{"report_data": root, "crls": crls} | changes).evidence,
        policy,
        service=service,
    )


def tdx_gateway(intel: IntelWorld, *, service: str = "test", **changes: Any) -> Gateway:
    """On Intel hardware, quote version 5, TDX 1.5; `changes` as in `IntelWorld.issue`."""
    policy = Policy(tdx=TdxPolicy(sets=(td_set(),)), insecure_development_root=spki_sha256(intel.root))
    return gateway_on(
        lambda root: intel.issue(**{"version": 5, "report_data": root} | changes).evidence,
        policy,
        service=service,
    )


def azure_gateway(
    world: World | IntelWorld, tpm: TpmWorld, *, service: str = "test", **changes: Any
) -> Gateway:
    """Below Azure's paravisor on either vendor's hardware; `changes` as in `azure_snp` and `azure_tdx`."""
    registers = {f"pcr{index}": value for index, value in enumerate(PCRS[:16])}
    on_intel = isinstance(world, IntelWorld)
    snp = SnpPolicy(measurements=frozenset({MEASUREMENT}), require_crl=False)
    policy = Policy(
        tees=frozenset({"azure-tdx" if on_intel else "azure-snp"}),
        trust_classes=frozenset({"paravisor-vtpm"}),
        azure=AzurePolicy(sets=(ReferenceSet("guest", registers),), snp=snp, tdx=TdxPolicy(sets=(td_set(),))),
        manifest=ManifestPolicy(),
    )
    if isinstance(world, IntelWorld):
        named = replace(policy, insecure_development_root=spki_sha256(world.root))
    else:
        named = replace(policy, insecure_development_root=world.hierarchy.ark.spki_sha256)

    def sign(root: bytes) -> Hardware:
        asked = hashlib.sha256(root).digest()
        if isinstance(world, IntelWorld):
            return azure_tdx(world, tpm, **{"extra_data": asked} | changes).evidence
        return azure_snp(world, tpm, **{"extra_data": asked} | changes).evidence

    return gateway_on(sign, named, service=service)


def td_set() -> ReferenceSet:
    """What the forged TD measures."""
    td = TdFields()
    registers: Mapping[str, bytes] = {f"rtmr{index}": value for index, value in enumerate(td.rtmrs)}
    return ReferenceSet("guest", {"mrtd": td.mrtd, **registers})
