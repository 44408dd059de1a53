"""TCB info version 3 for TDX: which patch levels of one kind of platform are good, and how good.

Source: Intel PCS API version 4, "Get TDX TCB Info". Levels are ordered; the first that matches counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from attestation.errors import MalformedEvidence
from attestation.tdx.body import TdReport
from attestation.tdx.pck import PckExtensions
from attestation.tdx.signed import (
    member_bytes,
    member_integer,
    member_object,
    member_objects,
    member_text,
    member_time,
    parse_signed,
)
from attestation.tdx.tcb import Rating, SvnLevel, parse_rating, parse_svn_levels, rate_svn

_COMPONENTS = 16
_MODULE_COMPONENTS = 2  # of the TDX components, the first two are the module's when it has no identity


@dataclass(frozen=True, slots=True)
class TcbLevel:
    """What a platform has to reach, component for component, for a rating."""

    sgx_components: tuple[int, ...]
    pcesvn: int
    tdx_components: tuple[int, ...]
    rating: Rating


@dataclass(frozen=True, slots=True)
class ModuleIdentity:
    """Whose TDX module it has to be. `id` is None for the entry of modules older than identities."""

    id: str | None
    mrsigner: bytes
    attributes: bytes
    attributes_mask: bytes
    levels: tuple[SvnLevel, ...]


@dataclass(frozen=True, slots=True)
class TcbInfo:
    """One TCB info, with the exact bytes that Intel signed and the signature (r and s)."""

    signed: bytes
    signature: bytes
    issue_date: datetime
    next_update: datetime
    evaluation_number: int
    fmspc: bytes
    pceid: bytes
    module: ModuleIdentity
    identities: tuple[ModuleIdentity, ...]
    levels: tuple[TcbLevel, ...]


def parse_tcb_info(raw: bytes) -> TcbInfo:
    """Parse TCB info as the PCS serves it, signature included. Raises MalformedEvidence."""
    envelope = parse_signed(raw, "tcbInfo")
    info = envelope.members
    kind = member_text(info, "id"), member_integer(info, "version"), member_integer(info, "tcbType")
    if kind != ("TDX", 3, 0):
        raise MalformedEvidence("not TCB info of version 3 and type 0 for TDX")
    identities = member_objects(info, "tdxModuleIdentities") if "tdxModuleIdentities" in info else []
    parsed = tuple(
        _identity(entry, member_text(entry, "id"), parse_svn_levels(entry)) for entry in identities
    )
    if len({identity.id for identity in parsed}) != len(parsed):
        raise MalformedEvidence("TCB info identifies one TDX module twice")
    return TcbInfo(
        signed=envelope.signed,
        signature=envelope.signature,
        issue_date=member_time(info, "issueDate"),
        next_update=member_time(info, "nextUpdate"),
        evaluation_number=member_integer(info, "tcbEvaluationDataNumber"),
        fmspc=member_bytes(info, "fmspc", 6),
        pceid=member_bytes(info, "pceId", 2),
        module=_identity(member_object(info, "tdxModule"), None, ()),
        identities=parsed,
        levels=tuple(_level(level) for level in member_objects(info, "tcbLevels")),
    )


def _identity(
    entry: Mapping[str, Any], identifier: str | None, levels: tuple[SvnLevel, ...]
) -> ModuleIdentity:
    return ModuleIdentity(
        id=identifier,
        mrsigner=member_bytes(entry, "mrsigner", 48),
        attributes=member_bytes(entry, "attributes", 8),
        attributes_mask=member_bytes(entry, "attributesMask", 8),
        levels=levels,
    )


def _level(level: Mapping[str, Any]) -> TcbLevel:
    tcb = member_object(level, "tcb")
    return TcbLevel(
        sgx_components=_components(tcb, "sgxtcbcomponents"),
        pcesvn=member_integer(tcb, "pcesvn", 0xFFFF),
        tdx_components=_components(tcb, "tdxtcbcomponents"),
        rating=parse_rating(level),
    )


def _components(tcb: Mapping[str, Any], name: str) -> tuple[int, ...]:
    found = tuple(member_integer(component, "svn", 0xFF) for component in member_objects(tcb, name))
    if len(found) != _COMPONENTS:
        raise MalformedEvidence(f"collateral: {name} has not {_COMPONENTS} entries")
    return found


def module_version(body: TdReport) -> int:
    """Version of the TDX module at launch; 0 is one from before modules had identities."""
    return body.tee_tcb_svn[1]


def module_name(body: TdReport) -> str | None:
    """The name by which Intel rates the module's version, `TDX_1A` for 26; None for version 0."""
    version = module_version(body)
    return f"TDX_{version:02X}" if version else None


def module_identity(info: TcbInfo, body: TdReport) -> ModuleIdentity | None:
    """The entry that the module of this TD is judged by; None if there is none for its version."""
    name = module_name(body)
    if name is None:
        return info.module
    return next((identity for identity in info.identities if identity.id == name), None)


def rate_module(identity: ModuleIdentity, body: TdReport) -> Rating | None:
    """The rating of the module's SVN, byte 0 of TEE_TCB_SVN; None if it is below all levels."""
    return rate_svn(identity.levels, body.tee_tcb_svn[0])


def rate_platform(info: TcbInfo, pck: PckExtensions, body: TdReport) -> Rating | None:
    """The rating of the first level that the platform reaches in every component; None if it reaches none.

    A module with an identity is rated by that: then its two components say nothing about the platform.
    """
    first = _MODULE_COMPONENTS if module_version(body) else 0
    for level in info.levels:
        if (
            _reaches(pck.components, level.sgx_components)
            and pck.pcesvn >= level.pcesvn
            and _reaches(body.tee_tcb_svn[first:], level.tdx_components[first:])
        ):
            return level.rating
    return None


def _reaches(have: Sequence[int], needed: Sequence[int]) -> bool:
    return all(mine >= floor for mine, floor in zip(have, needed, strict=True))
