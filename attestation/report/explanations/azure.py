"""Checks on Azure's two layers (hardware, then a paravisor with its virtual TPM) and on event logs."""

from __future__ import annotations

ENTRIES: dict[str, tuple[str, str, str, str]] = {
    "azure.hcl.type": (
        "vtpm",
        "Form of Azure's report",
        "Azure's wrapper holds the kind of hardware report that was announced.",
        "Whether that report is genuine; the hardware's own checks show it.",
    ),
    "azure.runtime_data": (
        "vtpm",
        "What the hardware vouches for",
        "The hardware signed the description that names the virtual TPM's key.",
        "The guest above: the hardware measured Microsoft's paravisor only.",
    ),
    "azure.runtime_data.copy": (
        "vtpm",
        "Copy of the description",
        "A separate copy of that description, if one was supplied, equals the signed one.",
        "Nothing beyond that.",
    ),
    "azure.ak": (
        "vtpm",
        "Key of the virtual TPM",
        "There is exactly one attestation key, and it is strong enough.",
        "How Microsoft's paravisor guards it; that software is trusted here.",
    ),
    "azure.vmpl": (
        "vtpm",
        "Privilege level of the report",
        "The hardware report was requested at VMPL 0, the highest privilege level.",
        "Who runs there: Microsoft's paravisor, or whatever else was started in its place. Only the "
        "measurement tells, if a policy compares it.",
    ),
    "azure.tdreport": (
        "vtpm",
        "Local and signed report agree",
        "The local report, which carries no signature, says what the signed quote says.",
        "Nothing beyond that.",
    ),
    "azure.quote.type": (
        "vtpm",
        "Form of the virtual TPM's quote",
        "The quote is of the kind that reports measurements, and was made inside a TPM.",
        "Whether it is genuine; its signature shows that.",
    ),
    "azure.quote.signature": (
        "vtpm",
        "Signature of the virtual TPM",
        "The virtual TPM's key, for which the hardware vouches, signed exactly this quote.",
        "That the paravisor measured honestly; that software is trusted here.",
    ),
    "azure.quote.pcrs": (
        "vtpm",
        "Measurements of the guest",
        "The listed measurements of the guest are the ones that the virtual TPM signed.",
        "Whether they belong to acceptable software; the policy decides that.",
    ),
    "azure.measurement": (
        "software",
        "Measurement of the guest",
        "The registers that the policy judges are those of one set that it lists.",
        "What registers measured that the policy does not judge; and that this software does what it should. "
        "The paravisor that took the fingerprints has to be trusted.",
    ),
    "azure.unjudged": (
        "software",
        "Registers of the guest left out",
        "The policy judges every register with a fingerprint of what the guest started (PCRs 0 to 15).",
        "If some are left out: whatever they measured may run. PCRs 16 to 23 are never judged: the guest may "
        "reset them.",
    ),
    "azure.secure_boot": (
        "software",
        "Secure boot",
        "Secure boot is on for the guest, if the policy demands it.",
        "Whose keys secure boot accepts; the measurement of the guest names them.",
    ),
    "azure.console": (
        "software",
        "Console of the guest",
        "No console is attached to the guest, if the policy demands it.",
        "Other ways in that the software itself may offer.",
    ),
    "azure.maa.present": (
        "opinion",
        "Second opinion at hand",
        "Microsoft's own verdict was supplied, if the policy demands it.",
        "Whether it is genuine and agrees; the next checks show that.",
    ),
    "azure.maa.signature": (
        "opinion",
        "Microsoft's second opinion",
        "A key that the policy lists signed Microsoft's own verdict.",
        "It is an opinion about the same evidence, not a further proof.",
    ),
    "azure.maa.issuer": (
        "opinion",
        "Author of the second opinion",
        "The opinion comes from the attestation service that the policy names.",
        "How that service decides.",
    ),
    "azure.maa.time": (
        "opinion",
        "Second opinion in date",
        "The opinion was valid at the time of the decision.",
        "Changes since it was given.",
    ),
    "azure.maa.agreement": (
        "opinion",
        "Agreement of the second opinion",
        "What Microsoft's service states equals, claim by claim, what the evidence itself says.",
        "Claims that this verifier has nothing to compare with.",
    ),
    "eventlog.parse": (
        "eventlog",
        "Readable event log",
        "The log of what was loaded while the machine started could be read completely.",
        "Whether it is true; the following checks are about that.",
    ),
    "eventlog.digests": (
        "eventlog",
        "Entries of the event log",
        "Each entry whose content is in the log has the fingerprint of that content.",
        "Entries that state only a fingerprint; their content is not in the log.",
    ),
    "eventlog.replay": (
        "eventlog",
        "Event log against the hardware",
        "Played back, the log gives the very measurements that the hardware signed; nothing is missing.",
        "Whether what was loaded is acceptable.",
    ),
}
