"""JSON that Intel signs: TCB info and QE identity, as served, with the exact bytes that are signed.

Source: Intel PCS API version 4. The answer is `{"NAME":{...},"signature":"<r||s>"}`, where the signature
(ECDSA P-256, SHA-256), 128 lowercase hexadecimal digits, is over the inner object's bytes exactly as they
stand there. Only those bytes are ever parsed, so that nothing is believed that was not signed. Everything
raises MalformedEvidence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from attestation.errors import MalformedEvidence
from attestation.members import integer, text
from attestation.reader import hex_bytes, parse_json_object

MAX_JSON = 512 * 1024
_SIGNATURE = 64
_ENVELOPES = MappingProxyType(
    {
        name: re.compile(
            rb'\s*+\{\s*+"%b"\s*+:\s*+(\{.*\})\s*+,\s*+"signature"\s*+:\s*+"([0-9a-f]{%d})"\s*+\}\s*+'
            % (name.encode("ascii"), 2 * _SIGNATURE),
            re.DOTALL,
        )
        for name in ("tcbInfo", "enclaveIdentity")
    }
)
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class SignedJson:
    """The signed bytes, the signature (r and s, 32 bytes each), and what the bytes say."""

    signed: bytes
    signature: bytes
    members: Mapping[str, Any]


def parse_signed(raw: bytes, name: str) -> SignedJson:
    """Take an answer of the PCS apart; `name` is `tcbInfo` or `enclaveIdentity`.

    A greedy match finds the widest candidate for the inner object; whatever it swallowed too much is no JSON
    object and is refused below.
    """
    if len(raw) > MAX_JSON:
        raise MalformedEvidence(f"{name} of more than {MAX_JSON} bytes")
    match = _ENVELOPES[name].fullmatch(raw)
    if match is None:
        raise MalformedEvidence(f"not an object of {name} and a signature, in this order")
    signed = bytes(match[1])
    return SignedJson(signed, bytes.fromhex(match[2].decode("ascii")), parse_json_object(signed))


def member(obj: Mapping[str, Any], name: str) -> Any:
    """A member that has to be there."""
    if name not in obj:
        raise MalformedEvidence(f"collateral lacks {name}")
    return obj[name]


def member_text(obj: Mapping[str, Any], name: str) -> str:
    """A short printable text."""
    member(obj, name)
    return text(obj, name, "collateral")


def member_integer(obj: Mapping[str, Any], name: str, limit: int | None = None) -> int:
    """An integer from 0 to `limit`."""
    member(obj, name)
    value = integer(obj, name, "collateral")
    if limit is not None and value > limit:
        raise MalformedEvidence(f"collateral: {name} is more than {limit}")
    return value


def member_bytes(obj: Mapping[str, Any], name: str, size: int) -> bytes:
    """Exactly `size` bytes in hexadecimal; Intel writes either case."""
    value = member(obj, name)
    return hex_bytes(value.lower() if isinstance(value, str) else value, size)


def member_time(obj: Mapping[str, Any], name: str) -> datetime:
    """A moment, in seconds and UTC."""
    match = _TIME.fullmatch(member_text(obj, name))
    if match is None:
        raise MalformedEvidence(f"collateral: {name} is not a time like 2026-01-31T23:59:59Z")
    try:
        return datetime(*(int(part) for part in match.groups()), tzinfo=UTC)  # type: ignore[misc, arg-type]
    except ValueError as error:
        raise MalformedEvidence(f"collateral: {name} is no date") from error


def member_object(obj: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object."""
    value = member(obj, name)
    if not isinstance(value, dict):
        raise MalformedEvidence(f"collateral: {name} is not an object")
    return value


def member_objects(obj: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    """A list of objects."""
    value = member(obj, name)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise MalformedEvidence(f"collateral: {name} is not a list of objects")
    return value


def member_advisories(obj: Mapping[str, Any]) -> tuple[str, ...]:
    """`advisoryIDs`, which may be absent: short printable texts such as INTEL-SA-00960."""
    value = obj.get("advisoryIDs", [])
    if not isinstance(value, list):
        raise MalformedEvidence("collateral: advisoryIDs is not a list")
    return tuple(text({"advisoryIDs": item}, "advisoryIDs", "collateral") for item in value)
