"""How Intel rates patch levels, and how several ratings make one.

Source: Intel PCS API version 4 ("TCB status"), Intel TDX DCAP quote verification, "TCB status". Seven
statuses are known; any other is malformed, because it could mean anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from attestation.errors import MalformedEvidence
from attestation.tdx.signed import (
    member_advisories,
    member_integer,
    member_object,
    member_objects,
    member_text,
    member_time,
)

UP_TO_DATE, REVOKED = "UpToDate", "Revoked"
NOT_SUPPORTED = "TcbNotSupported (no TCB level matches)"

_OUT_OF_DATE, _CONFIGURATION, _HARDENING = 4, 2, 1
_SHORTCOMINGS = MappingProxyType(  # what each status finds wanting
    {
        UP_TO_DATE: 0,
        "SWHardeningNeeded": _HARDENING,
        "ConfigurationNeeded": _CONFIGURATION,
        "ConfigurationAndSWHardeningNeeded": _CONFIGURATION | _HARDENING,
        "OutOfDate": _OUT_OF_DATE,
        "OutOfDateConfigurationNeeded": _OUT_OF_DATE | _CONFIGURATION,
        REVOKED: 8,
    }
)
STATUSES = tuple(_SHORTCOMINGS)


def combine(statuses: Iterable[str]) -> str:
    """One status that names all that several find wanting, as Intel combines platform, module and QE.

    Revoked beats all. Old software is not helped by hardening it: out of date hides that hardening is needed.
    """
    wanting = 0
    for status in statuses:
        wanting |= _SHORTCOMINGS[status]
    if wanting & _SHORTCOMINGS[REVOKED]:
        return REVOKED
    if wanting & _OUT_OF_DATE:
        wanting &= ~_HARDENING
    return next(status for status, bits in _SHORTCOMINGS.items() if bits == wanting)


@dataclass(frozen=True, slots=True)
class Rating:
    """A status with its date (RFC 3339, as served) and the advisories that explain it."""

    status: str
    date: str
    advisory_ids: tuple[str, ...]


def parse_rating(level: Mapping[str, Any]) -> Rating:
    """The part that every kind of TCB level has. Raises MalformedEvidence."""
    status = member_text(level, "tcbStatus")
    if status not in _SHORTCOMINGS:
        raise MalformedEvidence("collateral: tcbStatus is none that we know")
    member_time(level, "tcbDate")
    return Rating(status, member_text(level, "tcbDate"), member_advisories(level))


@dataclass(frozen=True, slots=True)
class SvnLevel:
    """A level of the TDX module or the quoting enclave: a rating from `isvsvn` upwards."""

    isvsvn: int
    rating: Rating


def parse_svn_levels(obj: Mapping[str, Any]) -> tuple[SvnLevel, ...]:
    """`tcbLevels` of a module identity or an enclave identity. Raises MalformedEvidence."""
    return tuple(
        SvnLevel(member_integer(member_object(level, "tcb"), "isvsvn", 0xFFFF), parse_rating(level))
        for level in member_objects(obj, "tcbLevels")
    )


def rate_svn(levels: Sequence[SvnLevel], isvsvn: int) -> Rating | None:
    """The rating of the first level (they are ordered, highest first) that `isvsvn` reaches."""
    return next((level.rating for level in levels if level.isvsvn <= isvsvn), None)
