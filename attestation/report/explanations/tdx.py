"""Checks on Intel TDX: authenticity of a quote and standing of its platform, and what policies say."""

from __future__ import annotations

ENTRIES: dict[str, tuple[str, str, str, str]] = {
    "tdx.quote.tee": (
        "hardware",
        "Kind of evidence",
        "The evidence speaks of a TDX virtual machine, not of another Intel technology.",
        "Whether it is genuine.",
    ),
    "tdx.quote.header": (
        "hardware",
        "Form of Intel's quote",
        "Version, key type and sender of the quote are ones that Intel specifies and this verifier knows.",
        "The values inside; they are judged below.",
    ),
    "tdx.quote.padding": (
        "hardware",
        "Nothing behind the quote",
        "Only empty bytes follow the quote, so nothing unsigned can hide there.",
        "Nothing about the quote itself.",
    ),
    "tdx.quote.signature": (
        "hardware",
        "Signature on the quote",
        "The attestation key signed exactly this quote; not one bit was changed since.",
        "Whose key that is; the next checks show it.",
    ),
    "tdx.module.running": (
        "hardware",
        "No step back of the TDX module",
        "The TDX module that runs now is not older than the one that launched this guest, if the quote names "
        "both.",
        "Quotes of the older layout do not name it. How good a module is, its standing with Intel tells, and "
        "only for the one that launched the guest.",
    ),
    "tdx.qe.binding": (
        "hardware",
        "Owner of the attestation key",
        "Intel's quoting enclave on that machine made the attestation key.",
        "Whether that enclave is genuine; its signature shows that.",
    ),
    "tdx.qe.signature": (
        "hardware",
        "The machine's signature",
        "The machine's certified key vouches for the quoting enclave.",
        "A key that was physically or by a flaw extracted from the processor signs just as well.",
    ),
    "tdx.qe.identity": (
        "hardware",
        "Identity of the quoting enclave",
        "The quoting enclave is Intel's own, as Intel describes it.",
        "Flaws of that enclave that Intel has not published.",
    ),
    "tdx.pck.root": (
        "hardware",
        "Intel's root key",
        "The chain of certificates ends at Intel's own root key, compared by key and not by name.",
        "The safety of Intel's root key itself, on which everything rests.",
    ),
    "tdx.pck.signatures": (
        "hardware",
        "Chain of certificates",
        "Intel's root vouches, step by step, for the machine's key.",
        "Whether one of them was withdrawn since; the revocation lists tell.",
    ),
    "tdx.pck.authorities": (
        "hardware",
        "Who may issue certificates",
        "Only Intel's authorities issued certificates; the key of a single machine cannot make further ones.",
        "Nothing more than that.",
    ),
    "tdx.pck.names": (
        "hardware",
        "Names in the chain",
        "The certificates have the names that Intel gives them.",
        "Names alone prove nothing; the root key and the signatures do.",
    ),
    "tdx.pck.validity": (
        "hardware",
        "Certificates in date",
        "Every certificate was valid at the time of the decision.",
        "The time itself is the verifier's: a verifier with a wrong clock decides wrongly.",
    ),
    "tdx.pck.extension": (
        "hardware",
        "Intel's statements in the certificate",
        "The certificate says for which machine and firmware level Intel issued it.",
        "Whether that level is good enough; Intel's list of levels tells.",
    ),
    "tdx.crl.root": (
        "hardware",
        "Revocation list of the root",
        "Intel's list of withdrawn authorities is genuine, current, and names none of these.",
        "Withdrawals after that list was made.",
    ),
    "tdx.crl.pck": (
        "hardware",
        "Revocation list of machines",
        "Intel's list of withdrawn machines is genuine, current, and does not name this one.",
        "Withdrawals after that list was made.",
    ),
    "tdx.tcb_info.signature": (
        "hardware",
        "Intel's list of firmware levels",
        "The list against which the machine is judged was signed by Intel.",
        "Whether it is the newest list; a policy can demand a minimum.",
    ),
    "tdx.tcb_info.current": (
        "hardware",
        "List of firmware levels in date",
        "That list was in force at the time of the decision.",
        "Lists that Intel published during its term.",
    ),
    "tdx.tcb_info.platform": (
        "hardware",
        "List for this type of machine",
        "The list is the one for this type of machine.",
        "Nothing about the single machine.",
    ),
    "tdx.qe_identity.signature": (
        "hardware",
        "Intel's description of the quoting enclave",
        "The description against which the quoting enclave is judged was signed by Intel.",
        "Whether it is the newest one; a policy can demand a minimum.",
    ),
    "tdx.qe_identity.current": (
        "hardware",
        "Description of the enclave in date",
        "That description was in force at the time of the decision.",
        "Descriptions that Intel published during its term.",
    ),
    "tdx.module.identity": (
        "hardware",
        "The TDX module",
        "Intel's own TDX module, in a version that Intel lists, separates this guest from the host.",
        "Flaws of the module that Intel has not published.",
    ),
    "tdx.tcb.level": (
        "hardware",
        "Standing of the machine with Intel",
        "Intel knows the machine's firmware level and has not withdrawn it.",
        "Whether known weaknesses remain; the policy decides which standing is good enough.",
    ),
    "tdx.measurement": (
        "software",
        "Measurement of the software",
        "The registers that the policy judges are those of one set that it lists.",
        "What registers measured that the policy does not judge; and that this software does what it should. "
        "On Azure this is Microsoft's paravisor; the guest has a check of its own.",
    ),
    "tdx.unjudged": (
        "software",
        "Registers left out",
        "The policy judges every register with a fingerprint of what was started.",
        "If some are left out: whatever they measured may run, such as any kernel or program.",
    ),
    "tdx.mrseam": (
        "machine",
        "Accepted TDX module",
        "The policy accepts this TDX module, if it lists any.",
        "Without a list any module passes that Intel lists.",
    ),
    "tdx.xfam": (
        "software",
        "Processor features",
        "The guest was started with processor features that the policy lists, if it lists any.",
        "Without a list any features pass; which of them the software uses is the software's own choice.",
    ),
    "tdx.debug": (
        "software",
        "Debug mode",
        "The host cannot use the debugging interface to read or change the guest's memory.",
        "Doors that the software itself may offer.",
    ),
    "tdx.migration": (
        "software",
        "Moving to another machine",
        "The guest cannot be moved to another machine, unless the policy allows it.",
        "If allowed: everything depends on the helper machine that moves it.",
    ),
    "tdx.sept_ve": (
        "software",
        "No surprises from the host",
        "The host cannot disturb the guest by taking memory away in a way that the guest must handle, if the "
        "policy demands it.",
        "Other ways to disturb it; the host can always stop it.",
    ),
    "tdx.attributes": (
        "software",
        "Further features",
        "No feature is switched on that the policy does not allow, and none that is unknown.",
        "What allowed features may betray.",
    ),
    "tdx.config_id": (
        "software",
        "Configuration named at launch",
        "The configuration value set at launch is one that the policy lists, or none.",
        "The host chooses this value: it is a label unless the measured software acts on it.",
    ),
    "tdx.owner": (
        "software",
        "Owner named at launch",
        "The owner value set at launch is one that the policy lists, or none.",
        "The host chooses this value: it is a label unless the measured software acts on it.",
    ),
    "tdx.owner_config": (
        "software",
        "Owner's configuration named at launch",
        "The owner's configuration value set at launch is one that the policy lists, or none.",
        "The host chooses this value: it is a label unless the measured software acts on it.",
    ),
    "tdx.service_td": (
        "software",
        "Helper machines",
        "No other virtual machine may serve or change this one, or only those that the policy lists.",
        "If some are listed: everything depends on them. A quote of the older layout names none: it passes "
        "if the guest cannot be moved, which is all that they could do.",
    ),
    "tdx.tcb.status": (
        "machine",
        "Accepted standing with Intel",
        "The policy accepts Intel's verdict on the machine's firmware.",
        "Flaws that Intel has not published, and those that come with an accepted verdict.",
    ),
    "tdx.tcb.advisories": (
        "machine",
        "Open security advisories",
        "No advisory of Intel is open for this machine, except those that the policy accepts.",
        "What the accepted advisories allow an attacker.",
    ),
    "tdx.tcb.evaluation": (
        "machine",
        "Recent enough list from Intel",
        "The machine was judged by an evaluation of Intel's whose number is at least the policy's minimum.",
        "Later evaluations: Intel signs old ones anew every day, so whoever sends the evidence may choose "
        "any from that number on, with a fresh date.",
    ),
    "tdx.collateral.age": (
        "machine",
        "Age of Intel's lists",
        "Intel's lists of firmware levels and of withdrawn machines, and its description of the quoting "
        "enclave, were issued recently enough for the policy.",
        "What they know: Intel signs old evaluations anew every day, so a fresh date can stand on old "
        "knowledge. Only the minimum evaluation number bounds that.",
    ),
    "tdx.crl.age": (
        "machine",
        "Age of the root's revocation list",
        "Intel's list of withdrawn authorities was made recently enough for the policy.",
        "Withdrawals since then: such lists live for a year, so that by default one may be 400 days old, and "
        "whoever sends the evidence can choose an old one.",
    ),
    "tdx.smt": (
        "machine",
        "Shared processor cores",
        "Two hardware threads of a core are shared, or not, as the policy demands.",
        "Side channels of other kinds.",
    ),
}
