"""Every parser that reads what a stranger wrote, with the one rule that all of them keep.

Any bytes at all give a value or the parser's documented error, whose message is short and printable, and no
input makes a parser allocate more than its own size allows. `make fuzz` searches for inputs that break this,
guided by coverage; tests/attestation/test_parsers_any_bytes.py tries thousands of fixed and random ones.
This module imports none of the tests' fakes: it runs in the fuzzer's own environment too.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from itertools import repeat
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.appraise.baseline import Baseline
from attestation.errors import MalformedEvidence, PolicyInvalid
from attestation.hardware import Hardware, SnpEvidence, TdxEvidence, VtpmEvidence
from attestation.model import Collateral, TdxCollateral
from attestation.policy.model import Policy
from attestation.reader import b64url_encode
from attestation.snp.kds import AMD_ARC
from attestation.tdx.abi import parse_quote

FIXED_BYTES = (
    512 * 1024
)  # what a parser may take whatever the input: compiled patterns, caches, small objects
MESSAGE_CHARACTERS = 400

Refusals = tuple[type[Exception], ...]


@dataclass(frozen=True, slots=True)
class Target:
    """One parser. `parse` names it as `module:function`, or as `module:function?adapter` of `_ADAPTERS`.

    `refuses` is what it may raise; `factor` is how many bytes it may allocate for each byte of input.
    """

    name: str
    parse: str
    refuses: Refusals = (MalformedEvidence,)
    factor: int = 100

    @property
    def is_stage(self) -> bool:
        """Whether it is a whole stage of verification: it judges, and takes its time."""
        return self.place.partition(":")[2].startswith(("verify", "authenticate"))

    @property
    def place(self) -> str:
        """`module:function`."""
        return self.parse.partition("?")[0]

    def function(self) -> Callable[[bytes], object]:
        """The parser as a function of bytes. Imports it now, so that a fuzzer can instrument it."""
        adapter = self.parse.partition("?")[2]
        module, _, name = self.place.partition(":")
        found = getattr(import_module(module), name)
        return _ADAPTERS[adapter](found) if adapter else found


class RuleBroken(AssertionError):  # noqa: N818 - a verdict on the parser
    """A parser did what no parser here may do."""


def hold_to_the_rule(target: Target, parse: Callable[[bytes], object], raw: bytes) -> bool:
    """Parse `raw`; True if it was accepted, False if refused as documented. Anything else is raised.

    Counts what Python allocates if `tracemalloc` runs.
    """
    before = _restart_peak()
    try:
        parse(raw)
        accepted = True
    except target.refuses as error:
        _check_message(str(error))
        accepted = False
    if tracemalloc.is_tracing():
        grown = tracemalloc.get_traced_memory()[1] - before
        if grown > FIXED_BYTES + target.factor * len(raw):
            raise RuleBroken(f"{target.name}: {grown} bytes allocated for {len(raw)} bytes of input")
    return accepted


def _restart_peak() -> int:
    if not tracemalloc.is_tracing():
        return 0
    tracemalloc.reset_peak()
    return tracemalloc.get_traced_memory()[0]


def _check_message(message: str) -> None:
    if not message or len(message) > MESSAGE_CHARACTERS or not (message.isascii() and message.isprintable()):
        raise RuleBroken(f"an error message of {len(message)} characters, or with unprintable ones")


def pairs(raw: bytes) -> dict[int, bytes]:
    """Read (key, length, content) triples of one, one and `length` bytes; the last one may be cut short."""
    found: dict[int, bytes] = {}
    offset = 0
    while offset + 2 <= len(raw):
        found[raw[offset]] = raw[offset + 2 : offset + 2 + raw[offset + 1]]
        offset += 2 + raw[offset + 1]
    return found


def triples(values: Mapping[int, bytes]) -> bytes:
    """The inverse of `pairs`, for values of up to 255 bytes."""
    return b"".join(bytes([key, len(value)]) + value for key, value in values.items())


AMD_SUFFIXES = (".1", ".2", *(f".3.{number}" for number in range(1, 10)), ".4", ".5")
RELEASE_KEY = Ed25519PrivateKey.from_private_bytes(b"casemate fuzzing, a release key.")
RELEASE_HEADER = b'{"alg":"EdDSA","typ":"casemate-release+jws"}'
KEY_ID = "forged-key"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)

Parser = Callable[..., Any]


def sign_release(payload: bytes) -> bytes:
    """A release file that `RELEASE_KEY` signed, whatever it says."""
    signed = f"{b64url_encode(RELEASE_HEADER)}.{b64url_encode(payload)}".encode()
    return signed + b"." + b64url_encode(RELEASE_KEY.sign(signed)).encode()


def _amd_extensions(parse: Parser) -> Parser:
    """Extension values by OID, out of bytes that a fuzzer can mutate."""

    def read(raw: bytes) -> object:
        found = pairs(raw)
        named = {AMD_ARC + AMD_SUFFIXES[key % len(AMD_SUFFIXES)]: value for key, value in found.items()}
        return parse(named)

    return read


def _signed_release(parse: Parser) -> Parser:
    """The payload of a release file with a good signature."""
    keys = (RELEASE_KEY.public_key().public_bytes_raw(),)
    return lambda raw: parse(sign_release(raw), keys)


def _judged_hcl(judge: Parser) -> Parser:
    """An HCL report, judged with nothing beside it."""
    return lambda raw: judge(
        VtpmEvidence("azure-snp" if len(raw) % 2 else "azure-tdx", raw),
        collateral=Collateral(),
        amd_roots={},
        intel_roots=frozenset(),
        development_root=None,
        now=NOW,
    )


def _judged_quote(judge: Parser) -> Parser:
    """A TDX quote, judged without collateral."""
    return lambda raw: judge(
        parse_quote(raw), TdxCollateral(), roots=frozenset(), development_root=None, now=NOW
    )


def sections(raw: bytes) -> Iterator[bytes]:
    """Pieces, each after its length in two bytes; cut short at the end, and empty ones for ever after."""
    rest = raw
    while rest:
        size = int.from_bytes(rest[:2], "little")
        yield rest[2 : 2 + size]
        rest = rest[2 + size :]
    yield from repeat(b"")


def joined(*pieces: bytes) -> bytes:
    """The inverse of `sections`, for pieces below 64 KiB."""
    return b"".join(len(piece).to_bytes(2, "little") + piece for piece in pieces)


def _by_both_rules(verify: Parser, hardware: Hardware) -> None:
    """Judge bare evidence by the built-in policy and by the baseline."""
    for rules in (Policy(), Baseline()):
        verify(hardware, Collateral(), rules, now=NOW)


def _snp(verify: Parser) -> Parser:
    """Sections: the report, a certificate, a CRL."""

    def judge(raw: bytes) -> None:
        take = sections(raw)
        report, *endorsements = (next(take) for _ in range(3))
        certificates, crls = (tuple(filter(None, [piece])) for piece in endorsements)
        _by_both_rules(verify, SnpEvidence(report, certificates, crls))

    return judge


def _tdx(verify: Parser) -> Parser:
    """Sections: the quote, TCB info, QE identity, both CRLs, event logs."""

    def judge(raw: bytes) -> None:
        take = sections(raw)
        quote, info, identity, crl, root_crl, ccel, dstack = (next(take) for _ in range(7))
        collateral = TdxCollateral(tcb_info=info, qe_identity=identity, pck_crl=crl, root_crl=root_crl)
        _by_both_rules(verify, TdxEvidence(quote, collateral, ccel or None, dstack or None))

    return judge


def _azure(tee: Literal["azure-snp", "azure-tdx"]) -> Callable[[Parser], Parser]:
    """Sections: HCL report, TD quote, TPM quote, its signature, PCRs, runtime data, MAA token, its keys."""

    def of(verify: Parser) -> Parser:
        def judge(raw: bytes) -> None:
            take = sections(raw)
            hcl, quote, tpm, signature, pcrs, runtime, token, keys = (next(take) for _ in range(8))
            evidence = VtpmEvidence(
                tee,
                hcl,
                td_quote=quote,
                tpm_quote=tpm,
                tpm_signature=signature,
                tpm_pcrs=pcrs,
                runtime_data=runtime,
                maa_token=token,
                maa_keys=keys,
            )
            _by_both_rules(verify, evidence)

        return judge

    return of


# How a parser that takes more than bytes, or something else, is given them.
_ADAPTERS: dict[str, Callable[[Parser], Parser]] = {
    "amd_extensions": _amd_extensions,
    "certificates": lambda parse: lambda raw: parse(raw, "CERTIFICATE", "a chain"),
    "azure_snp": _azure("azure-snp"),
    "azure_tdx": _azure("azure-tdx"),
    "ccel": lambda replay: lambda raw: replay(raw, None, [bytes(48)] * 4),
    "document": lambda verify: lambda raw: verify(raw, Collateral(), Policy(), nonce=bytes(32), now=NOW),
    "dstack": lambda replay: lambda raw: replay(None, raw, [bytes(48)] * 4),
    "judged_hcl": _judged_hcl,
    "judged_quote": _judged_quote,
    "key_id": lambda find: lambda raw: find(raw, KEY_ID),
    "signed_release": _signed_release,
    "snp": _snp,
    "tdx": _tdx,
    "text": lambda parse: lambda raw: parse(raw.decode("latin-1")),
    "unsigned_release": lambda parse: lambda raw: parse(raw, (bytes(32),)),
}

_NOTHING: Refusals = ()
_POLICY = (MalformedEvidence, PolicyInvalid)
_TOML = 1_500  # tomllib keeps several dictionaries for every key, and a key takes three bytes

TARGETS: tuple[Target, ...] = (
    Target("json", "attestation.reader:parse_json_object"),
    Target("json-array", "attestation.reader:parse_json_array"),
    Target("base64url", "attestation.reader:b64url_decode?text"),
    Target("pem", "attestation.pem:parse_pem?certificates"),
    Target("document", "attestation.formats.document:parse_document"),
    Target("statement", "attestation.formats.statement:parse_statement"),
    Target("manifest", "attestation.formats.manifest:parse_manifest"),
    Target("settings", "attestation.policy.settings:read_settings", factor=_TOML),
    Target("policy", "attestation.policy.toml:parse_policy", _POLICY, factor=_TOML),
    Target("release", "attestation.policy.release:parse_release?unsigned_release"),
    Target("release-payload", "attestation.policy.release:parse_release?signed_release"),
    Target("certificate", "attestation.x509:load_certificate"),
    Target("crl", "attestation.x509:load_crl"),
    Target("snp-report", "attestation.snp.abi:parse_report"),
    Target("vek-extensions", "attestation.snp.kds:parse_extension_values?amd_extensions"),
    Target("tdx-quote", "attestation.tdx.abi:parse_quote"),
    Target("tdreport", "attestation.tdx.body:parse_tdreport"),
    Target("td-report", "attestation.tdx.body:parse_td_report"),
    Target("td-attributes", "attestation.tdx.body:parse_td_attributes"),
    Target("sgx-report", "attestation.tdx.body:parse_sgx_report"),
    Target("pck-chain", "attestation.tdx.chain:parse_pem_chain"),
    Target("pck-extension", "attestation.tdx.pck:parse_extension"),
    Target("tcb-info", "attestation.tdx.tcb_info:parse_tcb_info"),
    Target("qe-identity", "attestation.tdx.qe_identity:parse_qe_identity"),
    Target("tdx-collateral", "attestation.formats.records:parse_collateral"),
    Target("hcl-report", "attestation.azure.hcl:parse_hcl"),
    Target("runtime-data", "attestation.azure.hcl:parse_runtime_data"),
    Target("tpm-attest", "attestation.azure.tpm:parse_attest"),
    Target("tpm-signature", "attestation.azure.tpm:parse_signature"),
    Target("tpm-pcrs", "attestation.azure.tpm:parse_pcrs"),
    Target("maa-token", "attestation.azure.token:parse_token"),
    Target("maa-keys", "attestation.azure.token:signing_key?key_id"),
    Target("ccel", "attestation.eventlog.ccel:parse_ccel"),
    Target("dstack-log", "attestation.eventlog.dstack:parse_dstack_log"),
    Target("efi-variable", "attestation.eventlog.events:parse_variable"),
    # Whole stages: these turn whatever is wrong into checks and raise nothing.
    Target("ccel-replay", "attestation.eventlog.replay:check_event_logs?ccel", _NOTHING),
    Target("dstack-replay", "attestation.eventlog.replay:check_event_logs?dstack", _NOTHING),
    Target("quote-judged", "attestation.tdx.verify:authenticate_quote?judged_quote"),
    Target("hcl-judged", "attestation.azure.verify:authenticate_vtpm?judged_hcl"),
    Target("verify", "attestation.verify:verify?document", _NOTHING, factor=200),
    Target("bare-snp", "attestation.verify:verify_hardware?snp", _NOTHING),
    Target("bare-tdx", "attestation.verify:verify_hardware?tdx", _NOTHING),
    Target("bare-azure-snp", "attestation.verify:verify_hardware?azure_snp", _NOTHING),
    Target("bare-azure-tdx", "attestation.verify:verify_hardware?azure_tdx", _NOTHING),
)


def target_named(name: str) -> Target:
    """The target of this name. Raises KeyError."""
    return {target.name: target for target in TARGETS}[name]
