"""Checks on what a gateway sends along with its hardware's evidence."""

from __future__ import annotations

ENTRIES: dict[str, tuple[str, str, str, str]] = {
    "evidence.parse": (
        "reading",
        "Readable evidence",
        "Every part of the evidence could be read completely, and nothing in it was skipped.",
        "Whether any of it is true; everything below is about that.",
    ),
    "evidence.report_data": (
        "question",
        "The value that was asked for",
        "The hardware signed the very bytes that the asker named.",
        "Who chose those bytes, and when.",
    ),
    "statement.purpose": (
        "question",
        "Purpose of the evidence",
        "The evidence was made for the use that this verifier has in mind.",
        "Nothing about the machine; evidence for another purpose could be just as genuine.",
    ),
    "statement.nonce": (
        "question",
        "Freshness",
        "The evidence answers a random number that this verifier chose, so it was made after that.",
        "How long after. Without a nonce of the verifier's own, old evidence looks like new.",
    ),
    "statement.exporter": (
        "question",
        "One connection",
        "The evidence belongs to the very connection on which it was asked for, if the purpose says so.",
        "Evidence for the general purpose is bound to keys, not to a single connection.",
    ),
    "statement.report_data": (
        "question",
        "What the hardware signed",
        "The 64 bytes that the hardware signed lead to exactly this statement.",
        "That those bytes came from the named software; the measurement shows that.",
    ),
    "statement.manifest": (
        "question",
        "The list of keys that was signed",
        "The manifest with the gateway's keys is the one that the signed statement names.",
        "Whether its contents are acceptable; the checks of the manifest decide that.",
    ),
    "connection.key": (
        "question",
        "Key of the connection",
        "The connection that brought this evidence ends at a key which the evidence vouches for.",
        "Later connections. Each new one has to be checked anew.",
    ),
    "manifest.config": (
        "question",
        "The configuration that was signed",
        "The configuration in the evidence is, byte for byte, the one that the manifest names.",
        "Whether it is acceptable; the checks of the configuration decide that.",
    ),
    "manifest.phase": (
        "gateway",
        "Phase of the gateway",
        "The gateway has its secrets and serves, or waits for them, as this verifier expects.",
        "That it is reachable or healthy.",
    ),
    "manifest.service": (
        "gateway",
        "Name of the service",
        "The label is one that the policy lists, if it lists any.",
        "Who operates it. A label is a convenience and proves no identity.",
    ),
    "manifest.root_source": (
        "gateway",
        "Where durable keys come from",
        "Stored data is protected by a kind of key that the policy names.",
        "The protection of keys that another party holds, where the policy allows such a kind.",
    ),
    "manifest.rollback": (
        "gateway",
        "Protection against old data",
        "The policy accepts what the gateway states as its protection against an old copy of its database.",
        "How well that protection works; and if the policy accepts none, an old copy goes unnoticed.",
    ),
    "manifest.ledger_epoch": (
        "gateway",
        "Age of the account book",
        "The account book is at least as new as the policy demands, if it demands anything.",
        "What happened in it since that point.",
    ),
    "manifest.keys": (
        "gateway",
        "Keys of the gateway",
        "The manifest has the public keys that this phase needs.",
        "That a given connection uses them; the check of the connection's key shows that.",
    ),
    "manifest.not_after": (
        "gateway",
        "Keys still in force",
        "The gateway's keys had not yet expired at the time of the decision.",
        "The gateway states this time itself, and the host may set the clock that it reads.",
    ),
    "manifest.max_age": (
        "gateway",
        "Life of the keys",
        "The keys expire soon enough for the policy.",
        "That old keys are destroyed; the measured software is what sees to it.",
    ),
    "config.digest": (
        "gateway",
        "Configuration as a whole",
        "The configuration is one that the policy lists by digest, if it lists any.",
        "If the policy lists none, only the settings below were judged.",
    ),
    "config.readable": (
        "gateway",
        "Readable configuration",
        "The verifier understands every setting that may decide where prompts go.",
        "Prices, limits and plans, which may change freely.",
    ),
    "config.insecure_development": (
        "gateway",
        "Development doors",
        "No setting opens a door that is meant for development only.",
        "Other ways in that the software itself may have; the measurement names that software.",
    ),
    "config.provider.host": (
        "gateway",
        "Where prompts may go",
        "Prompts may be sent to this provider, which the policy or the shipped list names.",
        "What the provider does with them. A commercial provider sees the prompt.",
    ),
    "config.provider.pins": (
        "gateway",
        "Keys of the provider",
        "Connections to this provider are tied to listed public keys, so nobody can pose as it.",
        "The provider's own care for its keys.",
    ),
    "config.provider.tier": (
        "gateway",
        "Protection on the way to the provider",
        "The way to this provider is encrypted and pinned.",
        "Confidentiality inside the provider.",
    ),
    "config.provider.authority": (
        "gateway",
        "Who vouches for the provider",
        "The provider's certificate comes from a public authority, or from one of a provider that the "
        "policy names.",
        "Mistakes of that authority; the listed keys stand against those.",
    ),
    "transport.tls.key": (
        "connection",
        "Key of this connection",
        "This connection ends inside the verified enclave: its key is in the manifest.",
        "Sizes and timing of what is sent stay visible on the network.",
    ),
    "transport.tls.resumed": (
        "connection",
        "Complete handshake",
        "The connection proved its key afresh and resumed no earlier session.",
        "Nothing beyond this one connection.",
    ),
    "transport.phase": (
        "connection",
        "Gateway is serving",
        "The gateway has its secrets and accepts requests.",
        "That it will answer.",
    ),
    "transport.not_after": (
        "connection",
        "Keys in force on this connection",
        "The keys were in force when the connection was used.",
        "The time by any clock but the client's own.",
    ),
    "transport.hpke.key": (
        "connection",
        "Key for sealed requests",
        "There is an attested key to which the body of a request can be sealed.",
        "Address, headers and the API key are not part of the sealed body.",
    ),
}
