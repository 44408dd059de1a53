"""Checks on AMD SEV-SNP: authenticity of a report, and what a policy says about it."""

from __future__ import annotations

ENTRIES: dict[str, tuple[str, str, str, str]] = {
    "snp.report.reserved": (
        "hardware",
        "Form of AMD's report",
        "The report has the form that AMD specifies, so every signed bit has a known meaning.",
        "The values themselves; they are judged below.",
    ),
    "snp.report.algorithm": (
        "hardware",
        "Signature method",
        "The report names the one signature method that AMD uses.",
        "Whether the signature is right; a check of its own shows that.",
    ),
    "snp.report.mask_chip_key": (
        "hardware",
        "A key signs reports",
        "The machine is set up to sign its reports.",
        "Which key signed; the next checks show that.",
    ),
    "snp.certificates": (
        "hardware",
        "Readable certificates",
        "Every certificate and revocation list that was supplied could be read.",
        "Whether they are genuine.",
    ),
    "snp.chain.root": (
        "hardware",
        "AMD's root key",
        "The chain of certificates ends at AMD's own root key for this kind of processor, compared by key "
        "and not by name.",
        "The safety of AMD's root key itself, on which everything rests.",
    ),
    "snp.chain.signatures": (
        "hardware",
        "Chain of certificates",
        "AMD's root vouches, step by step, for the key that signed the report.",
        "Whether one of them was withdrawn since; the revocation list tells.",
    ),
    "snp.chain.authorities": (
        "hardware",
        "Who may issue certificates",
        "Only AMD's authorities issued certificates; the key of a single machine cannot make further ones.",
        "Nothing more than that.",
    ),
    "snp.chain.names": (
        "hardware",
        "Names in the chain",
        "All certificates belong to one family of processors and to AMD's hierarchy for it.",
        "Names alone prove nothing; the root key and the signatures do.",
    ),
    "snp.chain.validity": (
        "hardware",
        "Certificates in date",
        "Every certificate was valid at the time of the decision.",
        "The time itself is the verifier's: a verifier with a wrong clock decides wrongly.",
    ),
    "snp.crl": (
        "hardware",
        "Revocation list",
        "AMD's list of withdrawn certificates, if one was supplied, is genuine, current, and names none of "
        "these.",
        "Without a list: whether AMD withdrew a certificate. Another check tells whether one is needed.",
    ),
    "snp.vek.kind": (
        "hardware",
        "Kind of signing key",
        "Report and certificate agree on whether the chip's own key signed or one lent to a cloud provider.",
        "Which kind is acceptable; the policy decides that.",
    ),
    "snp.vek.key": (
        "hardware",
        "Type of signing key",
        "The certified key is of the type with which AMD's processors sign.",
        "Nothing about who holds it.",
    ),
    "snp.signature.encoding": (
        "hardware",
        "Form of the signature",
        "The unsigned bytes around the signature are empty, so nothing can hide there.",
        "Whether the signature is right.",
    ),
    "snp.signature": (
        "hardware",
        "The processor's signature",
        "The certified key signed exactly this report; not one bit was changed since.",
        "A key that was physically or by a flaw extracted from the processor signs just as well.",
    ),
    "snp.vek.extensions": (
        "hardware",
        "AMD's statements in the certificate",
        "The certificate says for which processor and firmware AMD issued it.",
        "Whether the report agrees; the next checks show that.",
    ),
    "snp.vek.product": (
        "hardware",
        "Family of processor",
        "Root, certificate and report name the same family of processors.",
        "Old reports (version 2) do not name a family; then certificate and root alone say it.",
    ),
    "snp.vek.tcb": (
        "hardware",
        "Certified firmware level",
        "The firmware level in the report is the one AMD certified the key for, not merely what the machine "
        "says of itself.",
        "Whether that level is recent enough; the policy decides that.",
    ),
    "snp.vek.chip": (
        "hardware",
        "The individual chip",
        "The certificate was issued for this very chip or, for a key lent to a cloud provider, for that "
        "provider.",
        "Where the chip stands and who can touch it. A provider's key names no chip.",
    ),
    "snp.measurement": (
        "software",
        "Measurement of the software",
        "The machine was started with exactly the software whose fingerprint the policy lists; or, if the "
        "policy says so, with software that a listed key signed.",
        "That this software does what it should. On Azure this is Microsoft's paravisor; the guest has a "
        "check of its own.",
    ),
    "snp.debug": (
        "software",
        "Debug mode",
        "The host cannot use the debugging interface to read or change the guest's memory.",
        "Doors that the software itself may offer.",
    ),
    "snp.vmpl": (
        "software",
        "Privilege level of the asker",
        "The report was requested by the part of the guest that the policy expects.",
        "Whether more privileged software in the same guest is trustworthy; it is part of the measurement.",
    ),
    "snp.migration": (
        "software",
        "Moving to another machine",
        "No migration agent may move the guest to another machine, unless the policy allows it.",
        "If allowed: everything depends on that agent.",
    ),
    "snp.smt": (
        "machine",
        "Shared processor cores",
        "Two hardware threads of a core are shared, or not, as the policy demands.",
        "Side channels of other kinds.",
    ),
    "snp.single_socket": (
        "machine",
        "One processor only",
        "The guest runs on one processor alone, if the policy demands it.",
        "What else runs on that processor.",
    ),
    "snp.aes_256_xts": (
        "machine",
        "Stronger memory encryption",
        "Memory is encrypted with 256-bit keys, if the policy demands it.",
        "Encryption hides content, not which parts of memory change.",
    ),
    "snp.rapl": (
        "machine",
        "Power meter switched off",
        "The power meter, which can betray secrets, is off, if the policy demands it.",
        "Side channels of other kinds.",
    ),
    "snp.ciphertext_hiding": (
        "machine",
        "Encrypted memory hidden",
        "The host cannot even look at the encrypted form of memory, if the policy demands it.",
        "Without this the host sees which parts of memory change, and may learn from that.",
    ),
    "snp.page_swap": (
        "machine",
        "Memory stays in place",
        "The host cannot move pages of the guest's memory, if the policy demands it.",
        "Side channels of other kinds.",
    ),
    "snp.tsme": (
        "machine",
        "All memory encrypted",
        "The machine encrypts all of its memory, also outside guests, if the policy demands it.",
        "The guest's own memory is encrypted in any case.",
    ),
    "snp.ecc": (
        "machine",
        "Memory that corrects errors",
        "The machine has memory that notices flipped bits, if the policy demands it.",
        "Deliberate attacks on memory that such memory does not notice.",
    ),
    "snp.cxl": (
        "machine",
        "Memory outside the machine",
        "The guest's memory may, or may not, lie on external (CXL) devices, as the policy demands.",
        "If allowed: who can touch those devices.",
    ),
    "snp.tio": (
        "machine",
        "Devices inside the trusted part",
        "The machine does not let devices into the guest's protected memory, unless the policy allows it.",
        "If allowed: which devices those are, and what their own firmware does.",
    ),
    "snp.platform.unknown": (
        "machine",
        "Nothing unknown switched on",
        "The machine reports no feature that this verifier has never heard of.",
        "One bit that real machines set without an explanation (bit 6) is tolerated.",
    ),
    "snp.abi": (
        "machine",
        "Firmware interface",
        "The guest demanded firmware with at least the interface version of the policy.",
        "Flaws of that version.",
    ),
    "snp.tcb.launch": (
        "machine",
        "Firmware level at launch",
        "The firmware was already as new as the policy demands when the guest was started.",
        "Flaws for which no fixed firmware exists yet.",
    ),
    "snp.provisional": (
        "machine",
        "Firmware cannot be exchanged",
        "The firmware in use is final, unless the policy allows otherwise: the machine cannot go back to the "
        "one before while guests run.",
        "If the policy allows provisional firmware: an exchange while the guest runs.",
    ),
    "snp.mitigations": (
        "machine",
        "Mitigations in force",
        "The protections that the policy names were in force at launch, and are now.",
        "Reports before version 5 list none, so a policy that names any refuses them.",
    ),
    "snp.guest_svn": (
        "software",
        "Version of the software",
        "The signed security version of the software is at least the one that the policy demands.",
        "What that number means; the signer of the launch decides.",
    ),
    "snp.product.allowed": (
        "machine",
        "Accepted processor family",
        "The policy accepts this family of processors.",
        "Flaws of the family that nobody has published yet.",
    ),
    "snp.milan": (
        "machine",
        "Milan processors",
        "The processor is not a Milan, or it is one of an operator whom the policy names and trusts.",
        "A Milan's secret can be extracted by its operator, who could then sign any report. Nothing in the "
        "evidence shows it.",
    ),
    "snp.tcb.reported": (
        "machine",
        "Firmware level in use",
        "The firmware that the report vouches for is at least as new as the policy demands.",
        "Flaws for which no fixed firmware exists yet.",
    ),
    "snp.tcb.committed": (
        "machine",
        "Lowest possible firmware level",
        "The machine can no longer be taken back to firmware older than the policy demands.",
        "Flaws for which no fixed firmware exists yet.",
    ),
    "snp.alias_check": (
        "machine",
        "Memory modules tested",
        "The firmware checked that memory modules do not lie about their size (the BadRAM attack), if the "
        "policy demands it.",
        "Other devices put between processor and memory; evidence cannot show those.",
    ),
    "snp.id_key": (
        "software",
        "Signer of the launch",
        "The key that signed the launch is one the policy lists, or there was none and none is wanted.",
        "How well that key is kept.",
    ),
    "snp.author_key": (
        "software",
        "Author of the launch key",
        "The key that vouches for the launch signer is one the policy lists, or there was none and none is "
        "wanted.",
        "How well that key is kept.",
    ),
    "snp.host_data": (
        "software",
        "Data set by the host at launch",
        "The host passed exactly the launch data that the policy lists, or none.",
        "The host chooses this value: it is a label unless the measured software acts on it.",
    ),
    "snp.family_id": (
        "software",
        "Product family named by the launch's signer",
        "The signed launch is of a product family that the policy lists, if it lists any.",
        "What the signer means by that name; without a list any name passes.",
    ),
    "snp.image_id": (
        "software",
        "Image named by the launch's signer",
        "The signed launch is of an image that the policy lists, if it lists any.",
        "What the signer means by that name; without a list any name passes.",
    ),
    "snp.signing_key": (
        "machine",
        "Accepted kind of key",
        "The policy accepts this kind of key: the chip's own, or one lent to a cloud provider.",
        "How a cloud provider guards a key lent to it.",
    ),
    "snp.crl.present": (
        "machine",
        "Revocation list at hand",
        "If the policy needs AMD's list of withdrawn certificates, it was there and was enforced.",
        "Withdrawals after that list was made; if the policy needs none, all withdrawals.",
    ),
    "snp.crl.age": (
        "machine",
        "Age of AMD's revocation list",
        "AMD's list of withdrawn certificates was made recently enough for the policy.",
        "Withdrawals since then: such lists live for a year, so that by default one may be 400 days old, and "
        "whoever sends the evidence can choose an old one.",
    ),
}
