"""The exact words of two explanations: a statement that says the opposite would mislead whoever signs it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from attestation.policy.explain import explain_policy
from attestation.policy.model import (
    BUILT_IN,
    ConfigPolicy,
    EvidencePolicy,
    ManifestPolicy,
    Operator,
    SnpPolicy,
    TdxPolicy,
)
from tests.attestation.test_policy_explain import EVERYTHING

BUILT_IN_WORDS = """\
Accepts NOTHING: guests on AMD SEV-SNP: no reference value is named; guests on Intel TDX: no reference \
value is named

Every statement has to hold. A line with ! accepts more than the strict default does.

In short
  - refuses EVERY guest on AMD SEV-SNP: no reference value is named
  - refuses EVERY guest on Intel TDX: no reference value is named
  - refuses guests below a cloud's paravisor, such as Azure's

Where reference values come from
  - takes reference values from this file alone

Whose machines
  - accepts anyone's machine: nothing says where it stands, and who touches it may break it
  - refuses AMD Milan, and machines that only a cloud provider vouches for (VLEK)

What may run on AMD SEV-SNP
  - refuses whatever was started, as no reference value is named
  - accepts any family ID
  - accepts any image ID
  - accepts the processors Genoa, Turin
  - accepts reports signed by a VCEK
  - requires on Genoa at least boot loader 10, TEE 0, SNP 23, microcode 84
  - requires on Turin at least fmc 1, boot loader 1, TEE 1, SNP 4, microcode 81
  - accepts only reports of privilege level 0, above which nothing in the guest stands
  - refuses any ID key
  - refuses any author key
  - refuses any host data
  - accepts two threads on one core (SMT)
  - refuses guests that can be moved to another machine
  - refuses memory on CXL devices
  - refuses devices inside the guest's protected memory (SEV-TIO)
  - refuses firmware that can still be exchanged for an older one
  - requires that memory was checked for aliases (BadRAM)
  - requires memory with error correction
  - requires AMD's list of revoked certificates to be there
  - accepts several sockets
  - accepts memory encrypted with AES-128 as well as AES-256
  - accepts power metering (RAPL), which may tell what is computed
  - accepts that the host reads encrypted memory, and sees when it changes
  - accepts that the host moves encrypted pages
  - accepts that other memory is not encrypted
  - requires no mitigations by name
  - accepts any guest version
  - accepts any firmware interface

What may run on Intel TDX
  - refuses whatever was started, as no reference value is named
  - judges MRTD and RTMRs 0 to 3: one that a reference set does not state has to be zeros
  - accepts any TDX module that Intel finds good
  - accepts any XFAM (processor features)
  - accepts platforms that Intel calls UpToDate
  - refuses platforms for which an advisory of Intel's is open
  - requires Intel's evaluation 18 or later
  - refuses any MRCONFIGID
  - refuses any MROWNER
  - refuses any MROWNERCONFIG
  - refuses service TDs, which may move or change the guest
  - refuses the attributes kl, lass, perfmon, pks
  - refuses guests that can be moved to another machine
  - refuses that the host interrupts the guest by taking its memory away (SEPT_VE_DISABLE)
  - accepts two threads on one core (SMT)

What the gateway was told
  - accepts any configuration of which all that follows is true
  - accepts that prompts go to api.anthropic.com, api.deepseek.com, api.fireworks.ai, api.groq.com, \
api.mistral.ai, api.openai.com, api.together.xyz, api.x.ai, generativelanguage.googleapis.com, \
openrouter.ai, each with at least two pins
  - refuses open development doors
  - accepts any prices, limits and plans

Its keys and its ledger
  - accepts durable keys from: hardware
  - accepts as protection against old ledgers: any that the gateway names
  - accepts any label
  - accepts any ledger epoch

How fresh it has to be
  - requires an answer to the verifier's own question (nonce)
  - accepts keys that live for 25 hours from now at most
  - accepts what Intel published 32 days ago at most
  - accepts AMD's and Intel's lists of revoked authorities of 400 days ago at most

Refused whatever a policy says
  - evidence under other root keys than AMD's and Intel's (and the one above, if there is one)
  - evidence under certificates that were revoked
  - a guest whose host may look into it (debugging)
  - features of a guest or a machine that nobody has described
  - an answer to another question than the verifier asked, if it asked one
  - evidence for another purpose or another connection
  - Intel platforms that Intel calls revoked or does not know
"""

EVERYTHING_WORDS = """\
Every statement has to hold. A line with ! accepts more than the strict default does.

In short
  - accepts guests on AMD SEV-SNP, which the processor itself measured
  - accepts guests on Intel TDX, which the processor itself measured
  ! accepts Azure guests on AMD SEV-SNP, below Microsoft's paravisor
  ! accepts Azure guests on Intel TDX, below Microsoft's paravisor
  ! INSECURE: accepts simulated hardware under the key \
sha256/BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=; it protects nothing
  - is version 3 of its owner's policy

Where reference values come from
  - takes reference values from this file alone
  - names keys of releases (1), but no release that they could sign

Whose machines
  - accepts machines of Rack 7: AMD processors by number (1), Intel platforms by number (2), all that \
CN=cc-us-east-2.amazonaws.com vouches for
  - accepts machines of other: Intel platforms by number (1)
  - refuses anybody else's machine

What may run on AMD SEV-SNP
  - accepts the listed launch measurements (1)
  - accepts the reference set 8 vCPU (measurement)
  ! accepts whatever a listed ID key signed (1), whatever it measures
  - requires one of the listed values (1) as family ID
  - requires one of the listed values (1) as image ID
  ! accepts the processors Milan, Turin
  ! warns: Milan's root secret was extracted, so that only its named operator vouches for it
  ! accepts reports signed by a VLEK
  - requires on Milan at least boot loader 4, TEE 0, SNP 24, microcode 219
  ! requires on Turin at least fmc 1, boot loader 2, TEE 3, SNP 4, microcode 5
  ! accepts reports of privilege level 2, above which another part of the guest stands
  - requires one of the listed values (1) as ID key
  - requires one of the listed values (1) as author key
  - requires one of the listed values (1) as host data
  - refuses two threads on one core (SMT)
  ! accepts that an agent moves the guest to another machine
  ! accepts memory on CXL devices
  ! accepts devices inside the guest's protected memory (SEV-TIO)
  ! accepts firmware that can still be exchanged for an older one
  ! accepts memory that nobody checked for aliases (BadRAM)
  ! accepts memory without error correction
  ! accepts that AMD's list of revoked certificates is missing
  - requires a single socket
  - requires memory encrypted with AES-256-XTS
  - requires power metering (RAPL) to be off
  - requires that the host cannot read encrypted memory
  - requires that the host cannot move encrypted pages
  - requires that all other memory is encrypted too
  - requires on Turin the mitigations 0x3f
  - requires guest version 65547 or later
  - requires firmware interface 1.31 or later

What may run on Intel TDX
  - accepts the reference set c3 (mrtd, rtmr2)
  ! does not look at rtmr3: whatever they measured may have run
  - judges the others of MRTD and RTMRs 0 to 3: one that a reference set does not state has to be zeros
  - accepts only the listed TDX modules (1)
  - requires one of the listed values (1) as XFAM (processor features)
  ! accepts platforms that Intel calls SWHardeningNeeded, UpToDate
  ! accepts the open advisories INTEL-SA-00960, and no others
  - requires Intel's evaluation 20 or later
  - requires one of the listed values (1) as MRCONFIGID
  - requires one of the listed values (1) as MROWNER
  - requires one of the listed values (1) as MROWNERCONFIG
  ! accepts one of the listed service TDs (1), which may move or change the guest
  ! accepts the attributes pks
  - refuses the attributes kl, lass, perfmon
  ! accepts guests that can be moved to another machine
  ! accepts that the host interrupts the guest by taking its memory away (SEPT_VE_DISABLE)
  - refuses two threads on one core (SMT)

What may run below Azure's paravisor
  - accepts the reference set DC8 (pcr0, pcr15)
  ! does not look at pcr5: whatever they measured may have run
  - judges the others of PCRs 0 to 15: one that a reference set does not state has to be zeros
  ! accepts that secure boot is off
  - refuses a console that the host can reach
  - requires that a token of https://sharedeus2.eus2.attest.azure.net is there and agrees
  - does not look at PCRs 16 to 23, which the guest itself may reset

Which paravisor on AMD SEV-SNP
  - accepts the listed launch measurements (1)
  - accepts any family ID
  - accepts any image ID
  - accepts the processors Genoa, Turin
  - accepts reports signed by a VCEK
  - requires on Genoa at least boot loader 10, TEE 0, SNP 23, microcode 84
  - requires on Turin at least fmc 1, boot loader 1, TEE 1, SNP 4, microcode 81
  - accepts only reports of privilege level 0, above which nothing in the guest stands
  - refuses any ID key
  - refuses any author key
  - refuses any host data
  - accepts two threads on one core (SMT)
  - refuses guests that can be moved to another machine
  - refuses memory on CXL devices
  - refuses devices inside the guest's protected memory (SEV-TIO)
  - refuses firmware that can still be exchanged for an older one
  - requires that memory was checked for aliases (BadRAM)
  - requires memory with error correction
  - requires AMD's list of revoked certificates to be there
  - accepts several sockets
  - accepts memory encrypted with AES-128 as well as AES-256
  - accepts power metering (RAPL), which may tell what is computed
  - accepts that the host reads encrypted memory, and sees when it changes
  - accepts that the host moves encrypted pages
  - accepts that other memory is not encrypted
  - requires no mitigations by name
  - accepts any guest version
  - accepts any firmware interface

Which paravisor on Intel TDX
  - accepts the reference set paravisor (mrtd)
  - judges MRTD and RTMRs 0 to 3: one that a reference set does not state has to be zeros
  - accepts any TDX module that Intel finds good
  - accepts any XFAM (processor features)
  - accepts platforms that Intel calls UpToDate
  - refuses platforms for which an advisory of Intel's is open
  - requires Intel's evaluation 18 or later
  - refuses any MRCONFIGID
  - refuses any MROWNER
  - refuses any MROWNERCONFIG
  - refuses service TDs, which may move or change the guest
  - refuses the attributes kl, lass, perfmon, pks
  - refuses guests that can be moved to another machine
  - refuses that the host interrupts the guest by taking its memory away (SEPT_VE_DISABLE)
  - accepts two threads on one core (SMT)

What the gateway was told
  - requires one of the listed configurations (1)
  - accepts that prompts go to 127.0.0.1:9, each by the pins that are listed
  ! INSECURE: accepts open development doors
  - accepts any prices, limits and plans

Its keys and its ledger
  ! accepts durable keys from: operator
  - accepts as protection against old ledgers: witness
  - requires the label a
  - requires ledger epoch 9 or later

How fresh it has to be
  ! accepts evidence of any age if the verifier asked no question of its own
  - accepts keys that live for 1 minutes from now at most
  - accepts what Intel published 61 seconds ago at most
  - accepts AMD's and Intel's lists of revoked authorities of 62 seconds ago at most

Refused whatever a policy says
  - evidence under other root keys than AMD's and Intel's (and the one above, if there is one)
  - evidence under certificates that were revoked
  - a guest whose host may look into it (debugging)
  - features of a guest or a machine that nobody has described
  - an answer to another question than the verifier asked, if it asked one
  - evidence for another purpose or another connection
  - Intel platforms that Intel calls revoked or does not know
"""


def test_the_built_in_policy_is_said_in_these_words() -> None:
    assert explain_policy(BUILT_IN) == BUILT_IN_WORDS


def test_a_policy_that_says_something_about_everything_is_said_in_these_words() -> None:
    assert explain_policy(EVERYTHING) == EVERYTHING_WORDS


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"config": ConfigPolicy(providers={})},
            "- accepts that prompts go to nobody, each by the pins that are listed",
        ),
        ({"manifest": ManifestPolicy(root_sources=frozenset())}, "- accepts durable keys from: nowhere"),
        (
            {"manifest": ManifestPolicy(rollback=frozenset())},
            "- accepts as protection against old ledgers: nothing",
        ),
        ({"manifest": ManifestPolicy(services=frozenset())}, "- requires the label none"),
        ({"manifest": ManifestPolicy(services=frozenset({"b", "a"}))}, "- requires the label a or b"),
        ({"snp": SnpPolicy(products=frozenset())}, "- accepts the processors none"),
        ({"tdx": TdxPolicy(statuses=frozenset())}, "- accepts platforms that Intel calls nothing"),
        (
            {"evidence": EvidencePolicy(max_age_seconds=7200)},
            "- accepts keys that live for 2 hours from now at most",
        ),
        (
            {"evidence": EvidencePolicy(max_age_seconds=120)},
            "- accepts keys that live for 2 minutes from now at most",
        ),
        (
            {"evidence": EvidencePolicy(max_age_seconds=61)},
            "- accepts keys that live for 61 seconds from now at most",
        ),
        (
            {"evidence": EvidencePolicy(max_age_seconds=172_800)},
            "! accepts keys that live for 2 days from now at most",
        ),
        (
            {"operators": (Operator("a", csp_ids=frozenset({"CN=z", "CN=b"})),)},
            "- accepts machines of a: all that CN=b vouches for, all that CN=z vouches for",
        ),
    ],
)
def test_other_policies_say(changes: dict[str, Any], line: str) -> None:
    assert f"  {line}\n" in explain_policy(replace(BUILT_IN, **changes))
