"""Checks that hold for every kind of hardware, and the baseline that is applied without a policy."""

from __future__ import annotations

ENTRIES: dict[str, tuple[str, str, str, str]] = {
    "platform.tee": (
        "machine",
        "Accepted technology",
        "The policy accepts this technology of confidential computing.",
        "Flaws of that technology that nobody has published yet.",
    ),
    "platform.trust_class": (
        "machine",
        "Who measured the software",
        "The policy accepts who measured the software: the hardware itself, or a cloud provider's paravisor.",
        "With a paravisor, its maker has to be trusted in addition to the hardware's.",
    ),
    "platform.operator": (
        "machine",
        "Operator of the machine",
        "The machine belongs to an operator whom the policy names, if it names any.",
        "Without names any genuine machine passes, also one in an attacker's hands.",
    ),
    "baseline.debug": (
        "baseline",
        "Debug mode",
        "The host cannot use the debugging interface to read or change the guest's memory.",
        "Everything else that a policy would look at.",
    ),
    "baseline.migration": (
        "baseline",
        "Moving to another machine",
        "No migration agent may move the guest to another machine.",
        "Everything else that a policy would look at.",
    ),
    "baseline.tcb_status": (
        "baseline",
        "Standing of the machine with Intel",
        "Intel calls the machine's firmware up to date, or sound with hardened software.",
        "Whether the software is hardened, and everything else that a policy would look at.",
    ),
    "baseline.service_td": (
        "baseline",
        "Helper machines",
        "No other virtual machine serves this one, so none can have changed it.",
        "Everything else that a policy would look at.",
    ),
    "baseline.paravisor": (
        "vtpm",
        "Which paravisor speaks for the virtual TPM",
        "Nothing: the fingerprint of the paravisor is shown, and was compared with nothing.",
        "Whether this is Microsoft's paravisor: on such a machine anybody can start software of his own that "
        "makes up a TPM. Only a policy that lists the paravisor's measurement tells.",
    ),
}
