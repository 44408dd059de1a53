"""What runs below Azure's paravisor, by its virtual TPM, against `[azure]`.

The hardware's own checks judge the paravisor, not the guest. Sources: TCG PC Client Platform Firmware Profile
(PCR usage), docs/spec/azure.md.
"""

from __future__ import annotations

from datetime import datetime

from attestation.appraise.rules import all_judged, judged, listed, reference_set, switch
from attestation.azure.maa import check_maa
from attestation.azure.verify import VtpmClaims
from attestation.check import Check, Outcome
from attestation.policy.model import AzurePolicy, MaaPolicy

_AZURE = "docs/spec/policy.md#azure"
_PCRS = range(16)


def appraise_vtpm(claims: VtpmClaims, policy: AzurePolicy, *, now: datetime) -> list[Check]:
    """The guest's PCRs, the configuration of its machine, and Microsoft's own opinion if it is asked for."""
    secure_boot = (True,) if policy.require_secure_boot else (True, False)
    console = (False,) if policy.require_console_disabled else (True, False)
    return [
        _measurement(claims, policy),
        all_judged("azure.unjudged", policy.unjudged_registers, _AZURE),
        switch("azure.secure_boot", claims.secure_boot, secure_boot, _AZURE),
        switch("azure.console", claims.console_enabled, console, _AZURE),
        *_second_opinion(claims, policy.maa, now),
    ]


def _measurement(claims: VtpmClaims, policy: AzurePolicy) -> Check:
    """PCRs 0 to 15; those above are for debugging and the running system, and are reset at will."""
    quoted = claims.pcrs or {}
    missing = [str(index) for index in _PCRS if index not in quoted]
    if missing:
        names = listed(one.name for one in policy.sets)
        found = f"not supplied or not quoted: {', '.join(missing)}"
        return judged("azure.measurement", Outcome.UNDECIDED, f"PCRs 0 to 15 of {names}", found, _AZURE)
    measured = {f"pcr{index}": quoted[index] for index in _PCRS}
    return reference_set("azure.measurement", policy.sets, measured, policy.unjudged_registers, _AZURE)


def _second_opinion(claims: VtpmClaims, policy: MaaPolicy, now: datetime) -> list[Check]:
    """A token can only refuse: nothing is accepted because Microsoft says so."""
    wanted = "a token of " + listed(policy.issuers) if policy.issuers else "not asked for"
    found = "supplied" if claims.maa_token else "none supplied"
    if policy.issuers and claims.maa_token:
        checks = check_maa(claims.maa_token, claims.maa_keys, claims, policy.issuers, now=now)
        return [judged("azure.maa.present", Outcome.PASS, wanted, found, _AZURE), *checks]
    outcome = Outcome.UNDECIDED if policy.required else Outcome.NOTED
    return [judged("azure.maa.present", outcome, wanted, found, _AZURE)]
