"""Draft a policy from live evidence, with every value that was only read from it marked `unconfirmed`.

A draft says what the other side says of itself, so it proves nothing: each value has to be compared with a
source of its own (a release, an operator's list, a vendor's page) before its mark is taken away, and no
verifier accepts the policy before the last mark is gone. Once they are, the policy accepts this evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from attestation.azure.verify import VtpmClaims
from attestation.formats.manifest import Manifest
from attestation.model import Tcb
from attestation.pins import write_pin
from attestation.policy.model import (
    BUILT_IN,
    FORMAT,
    MAX_CRL_AGE_SECONDS,
    PCR_REGISTERS,
    SHIPPED_TCB_FLOORS,
    TD_ATTRIBUTES,
    TDX_REGISTERS,
)
from attestation.policy.settings import Settings
from attestation.snp.verify import SnpClaims
from attestation.tdx.verify import TdxClaims

MARK = "# unconfirmed"
_SET = "drafted"
_NO_AGENT = b"\xff" * 32
_WEAKER = "weaker than the default"
_MILAN = "its root secret was extracted, so that only its operator vouches for it"
_HEAD = """\
# A draft, made from the very evidence that it is to judge: until someone has compared each marked value with
# a source of its own, it proves nothing. Take the mark off every line that you have compared. While one is
# left, the whole file is refused. What no line mentions has its strict default (docs/spec/policy.md).
"""

Value = bool | int | str | Sequence[str]


@dataclass(frozen=True, slots=True)
class Line:
    """One key of a draft, and what to know before confirming it."""

    key: str
    value: Value
    note: str = ""


Tables = dict[str, list[Line]]


def draft_policy(
    claims: SnpClaims | TdxClaims | VtpmClaims,
    *,
    manifest: Manifest | None = None,
    settings: Settings | None = None,
    source: str = "",
    now: datetime | None = None,
) -> str:
    """Return the TOML text of a draft.

    `claims` are authentic; `manifest` is the one bound into the same evidence, `settings` what the attested
    configuration says, if there were any; `source` tells readers where the evidence was found. A list that
    is older at `now` than the default allows gets a line; without an aware time nothing is said of age.
    """
    tables: Tables = {"": _top(claims)}
    if isinstance(claims, VtpmClaims):
        hardware: SnpClaims | TdxClaims = claims.hardware
        tables |= _azure(claims)
        tables |= _direct("azure.", hardware)
    else:
        hardware = claims
        tables |= _direct("", hardware)
    tables["operators.drafted"] = _operator(hardware)
    tables["evidence"] = [] if now is None else _crl_age(hardware, now)
    if manifest is not None:
        tables["manifest"] = _manifest(manifest)
    if settings is not None:
        tables |= _config(settings)
    found = f"# Drafted from {_plain(source)}\n" if source else ""
    return _HEAD + found + "".join(_never_accepted(hardware)) + _rendered(tables)


def _top(claims: SnpClaims | TdxClaims | VtpmClaims) -> list[Line]:
    lines = [Line("tees", [_tee(claims)])]
    if isinstance(claims, VtpmClaims):
        lines.append(Line("trust_classes", ["paravisor-vtpm"], "Microsoft's paravisor is trusted as well"))
    if claims.insecure:
        hardware = claims.hardware if isinstance(claims, VtpmClaims) else claims
        root = write_pin(hardware.root_spki_sha256)
        lines.append(Line("insecure_development_root", root, "simulated hardware, which protects nothing"))
    return lines


def _tee(claims: SnpClaims | TdxClaims | VtpmClaims) -> str:
    if isinstance(claims, VtpmClaims):
        return "azure-tdx" if isinstance(claims.hardware, TdxClaims) else "azure-snp"
    return "tdx" if isinstance(claims, TdxClaims) else "sev-snp"


def _never_accepted(claims: SnpClaims | TdxClaims) -> list[str]:
    """Why no policy accepts this guest, whatever gets confirmed."""
    hides = isinstance(claims, TdxClaims) and claims.body.hides_service_td
    reasons = {
        "its host may look into it (debugging is on)": _is_debuggable(claims),
        "it can be moved, and its quote has no room to say by whom (a version 5 quote has)": hides,
    }
    return [f"# NO POLICY ACCEPTS THIS GUEST: {reason}.\n" for reason, holds in reasons.items() if holds]


def _is_debuggable(claims: SnpClaims | TdxClaims) -> bool:
    if isinstance(claims, TdxClaims):
        return claims.body.td_attributes.debug or claims.body.td_attributes.other_tud != 0
    return claims.report.policy.debug


def _direct(prefix: str, claims: SnpClaims | TdxClaims) -> Tables:
    if isinstance(claims, TdxClaims):
        registers = dict(zip(TDX_REGISTERS, (claims.body.mrtd, *claims.body.rtmrs), strict=True))
        return {f"{prefix}tdx": _tdx(claims), f"{prefix}tdx.sets.{_SET}": _registers(registers)}
    return {f"{prefix}snp": _snp(claims)} | _floor(prefix, claims)


def _snp(claims: SnpClaims) -> list[Line]:
    report, guest = claims.report, claims.report.policy
    moves = guest.migrate_ma or report.report_id_ma != _NO_AGENT
    provisional = (
        claims.current_tcb != claims.committed_tcb or report.current_version != report.committed_version
    )
    chosen = [
        (True, Line("measurements", [report.measurement.hex()], "compare with the release that should run")),
        (True, Line("products", [claims.product], _MILAN if claims.product == "Milan" else "")),
        (claims.signing_key != "vcek", Line("signing_keys", [claims.signing_key])),
        (report.vmpl != 0, Line("vmpl", report.vmpl, "another part of the guest stands above it")),
        *_named("id_key_digests", report.id_key_digest),
        *_named("author_key_digests", report.author_key_digest),
        *_named("host_data", report.host_data),
        (moves, Line("allow_migration", True, _WEAKER)),
        (guest.cxl_allow, Line("allow_cxl", True, _WEAKER)),
        (report.platform_info.tio_en, Line("allow_tio", True, _WEAKER)),
        (provisional, Line("allow_provisional_firmware", True, _WEAKER)),
        (not report.platform_info.alias_check_complete, Line("require_alias_check", False, _WEAKER)),
        (not report.platform_info.ecc_en, Line("require_ecc", False, _WEAKER)),
        (claims.crl_this_update is None, Line("require_crl", False, _WEAKER)),
    ]
    return [line for wanted, line in chosen if wanted]


def _floor(prefix: str, claims: SnpClaims) -> Tables:
    """The lowest of the three levels that a floor stands on, where the shipped floor would refuse it."""
    levels = (claims.reported_tcb, claims.committed_tcb, claims.launch_tcb)
    if all(level.at_least(SHIPPED_TCB_FLOORS[claims.product]) for level in levels):
        return {}
    names = ("bootloader", "tee", "snp", "microcode", *(("fmc",) if claims.product == "Turin" else ()))
    lines = [Line(name, min(_level(level, name) for level in levels), _WEAKER) for name in names]
    return {f"{prefix}snp.minimum_tcb.{claims.product}": lines}


def _level(tcb: Tcb, name: str) -> int:
    value: int | None = getattr(tcb, name)
    return value or 0


def _tdx(claims: TdxClaims) -> list[Line]:
    body, attributes, default = claims.body, claims.body.td_attributes, BUILT_IN.tdx
    services = (body.mrservicetd, body.init_servicetd_hash, body.current_servicetd_hash)
    bound = sorted({digest.hex() for digest in services if digest is not None and any(digest)})
    allowed = sorted(name for name in TD_ATTRIBUTES if getattr(attributes, name))
    number = claims.evaluation_number
    chosen = [
        *_named("mrconfigids", body.mrconfigid),
        *_named("mrowners", body.mrowner),
        *_named("mrownerconfigs", body.mrownerconfig),
        (bool(bound), Line("mrservicetds", bound, _WEAKER)),
        (
            claims.status not in default.statuses,
            Line("statuses", sorted({claims.status, *default.statuses}), _WEAKER),
        ),
        (bool(claims.advisory_ids), Line("advisories", sorted(claims.advisory_ids), _WEAKER)),
        (
            number < default.minimum_evaluation_number,
            Line("minimum_evaluation_number", number, _WEAKER),
        ),
        (bool(allowed), Line("allow_attributes", allowed, _WEAKER)),
        (attributes.migratable, Line("allow_migration", True, _WEAKER)),
        (not attributes.sept_ve_disable, Line("require_sept_ve_disable", False, _WEAKER)),
    ]
    return [line for wanted, line in chosen if wanted]


def _azure(claims: VtpmClaims) -> Tables:
    quoted = claims.pcrs or {}
    registers = {name: quoted.get(index, b"") for index, name in enumerate(PCR_REGISTERS)}
    lines = [] if claims.secure_boot else [Line("require_secure_boot", False, _WEAKER)]
    return {"azure": lines, f"azure.sets.{_SET}": _registers(registers)}


def _registers(values: Mapping[str, bytes]) -> list[Line]:
    """What is all zeros needs no line: that is what an absent register means."""
    return [Line(name, value.hex()) for name, value in values.items() if any(value)]


def _named(key: str, value: bytes) -> list[tuple[bool, Line]]:
    return [(any(value), Line(key, [value.hex()]))]


def _operator(claims: SnpClaims | TdxClaims) -> list[Line]:
    note = "whose machine is it, and where does it stand?"
    if isinstance(claims, TdxClaims):
        return [Line("ppids", [claims.pck.ppid.hex()], note)]
    if claims.csp_id is not None:
        return [Line("csp_ids", [claims.csp_id], note)]
    return [Line("chip_ids", [claims.report.chip_id.hex()], note)]


def _crl_age(claims: SnpClaims | TdxClaims, now: datetime) -> list[Line]:
    """The age of the enforced list in whole days, rounded up, where it is beyond the default."""
    made = claims.root_crl_issued if isinstance(claims, TdxClaims) else claims.crl_this_update
    days = 0 if made is None else -((made - now) // timedelta(days=1))
    seconds = days * 86_400
    beyond = BUILT_IN.evidence.max_crl_age_seconds < seconds <= MAX_CRL_AGE_SECONDS
    return [Line("max_crl_age_seconds", seconds, _WEAKER)] if beyond else []


def _manifest(manifest: Manifest) -> list[Line]:
    rollback, source = manifest.rollback or "none", manifest.root_source
    lines = [
        Line("rollback", [rollback], "the host may bring back an old ledger" if rollback == "none" else "")
    ]
    if source != "hardware":
        lines.append(Line("root_sources", [source], _WEAKER))
    if manifest.ledger_epoch is not None:
        lines.append(Line("minimum_ledger_epoch", manifest.ledger_epoch))
    return lines


def _config(settings: Settings) -> Tables:
    lines = [Line("insecure_development", True, _WEAKER)] if settings.insecure_development else []
    hosts: dict[str, set[bytes]] = {}
    for provider in settings.providers:
        hosts.setdefault(provider.host, set()).update(provider.pins)
    pins = [Line(_text(host), [write_pin(pin) for pin in sorted(hosts[host])]) for host in sorted(hosts)]
    return {"config": lines, "config.providers": pins}


def _rendered(tables: Tables) -> str:
    head = f'format = "{FORMAT}"\n'
    return head + "\n".join(
        (f"[{name}]\n" if name else "") + "".join(map(_line, lines))
        for name, lines in tables.items()
        if lines
    )


def _line(line: Line) -> str:
    note = f": {line.note}" if line.note else ""
    return f"{line.key} = {_value(line.value)}  {MARK}{note}\n"


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return _text(value) if isinstance(value, str) else f"[{_joined(value)}]"


def _joined(values: Iterable[str]) -> str:
    return ", ".join(map(_text, values))


def _text(value: str) -> str:
    """A TOML basic string: whatever is not plain ASCII is escaped, so that no value can end its line."""
    plain = (c if c.isascii() and c.isprintable() and c not in '"\\' else f"\\U{ord(c):08X}" for c in value)
    return f'"{"".join(plain)}"'


def _plain(value: str) -> str:
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in value)
