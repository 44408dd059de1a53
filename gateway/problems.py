"""Every refusal a client can get, as values; and their one rendering, an OpenAI-shaped error object.

The texts are fixed: they may name a field of the request or a limit, never a value of it (DESIGN section 5).
"""

from __future__ import annotations

import math

import msgspec

from attestation.ehbp import KEY_PROBLEM
from gateway.errors import GatewayError, Problem

Headers = list[tuple[bytes, bytes]]

_INVALID = "invalid_request_error"

INVALID_KEY = Problem(401, _INVALID, "invalid_api_key", "Missing or incorrect API key.")
NO_CREDIT = Problem(402, "insufficient_quota", "insufficient_credits", "The account's credit is too low.")
NOT_FOUND = Problem(404, _INVALID, "not_found", "There is nothing at this path.")
METHOD_NOT_ALLOWED = Problem(405, _INVALID, "method_not_allowed", "This path does not serve that method.")
NO_FIRST_EVENT = Problem(
    408, "timeout_error", "request_timeout", "The model did not begin to answer in time."
)
SLOW_BODY = Problem(408, "timeout_error", "request_timeout", "The request body stopped arriving.")
AGENT_NOT_FOUND = Problem(404, _INVALID, "agent_not_found", "There is no such agent.", "agentId")
REPLAYED = Problem(409, _INVALID, "replayed", "This sealed request was received before. Seal it anew.")
TOO_LARGE = Problem(413, _INVALID, "body_too_large", "The request body is too large.")
WRONG_TYPE = Problem(415, _INVALID, "unsupported_media_type", "Send the body as application/json.")
HEADERS_TOO_LARGE = Problem(431, _INVALID, "headers_too_large", "The request's headers are too large.")
BAD_HTTP = Problem(400, _INVALID, "malformed_request", "This is not a well-formed HTTP request.")
INTERNAL = Problem(500, "server_error", "internal_error", "The gateway failed to handle this request.")
STALE_KEY = Problem(422, KEY_PROBLEM, "key_config", "The body is sealed to a key that is not held here.")
BAD_SEAL = Problem(400, _INVALID, "malformed_seal", "The sealed body is malformed, changed or incomplete.")
EMPTY_BODY = Problem(400, _INVALID, None, "The request has no body.")
TOO_SLOW = Problem(408, "timeout_error", "request_timeout", "The model did not finish its answer in time.")
UPSTREAM_REFUSED = Problem(400, _INVALID, None, "The model's provider refused the request as invalid.")
UPSTREAM_ERROR = Problem(502, "upstream_error", "upstream_error", "The model's provider failed.")
UPSTREAM_UNTRUSTED = Problem(
    502, "upstream_error", "upstream_untrusted", "The provider's key is not pinned. Nothing was sent to it."
)
UNAVAILABLE = Problem(503, "server_error", "unavailable", "Not available right now.", retry_after=1.0)
BUSY = Problem(503, "server_error", "unavailable", "Too many bodies are in flight.", retry_after=1.0)
UNKNOWN_MODEL = Problem(400, _INVALID, "model_not_found", "No such model. See GET /api/v1/models.", "model")
MODEL_NOT_FOUND = Problem(404, _INVALID, "model_not_found", "No such model. See GET /api/v1/models.", "model")


def bad_request(message: str, param: str | None = None, code: str | None = None) -> GatewayError:
    """A 400 whose text the caller of this function wrote; it may name fields, never values."""
    return GatewayError(Problem(400, _INVALID, code, message, param))


def rate_limited(retry_after: float) -> Problem:
    """429 with advice, in seconds, on when to come back."""
    return Problem(429, "rate_limit_error", "rate_limit", "Too many requests.", retry_after=retry_after)


def from_refusal(code: str, retry_after: float) -> Problem:
    """What a keeper's refusal means to a client."""
    if code == "invalid_api_key":
        return INVALID_KEY
    if code == "insufficient_credits":
        return NO_CREDIT
    if code == "rate_limit":
        return rate_limited(retry_after)
    return UNAVAILABLE


def from_provider(status: int, retry_after: float | None) -> Problem:
    """What a provider's status means to a client. Its body and headers are never shown."""
    if status in (400, 413, 422):
        return UPSTREAM_REFUSED
    if status == 408:
        return NO_FIRST_EVENT
    if status == 429:
        return rate_limited(1.0 if retry_after is None else retry_after)
    return UPSTREAM_ERROR


def error_object(problem: Problem) -> dict[str, object]:
    """The OpenAI form, all four members always there; RFC 9457's for a stale key, as EHBP clients expect."""
    if problem is STALE_KEY:
        return {"type": problem.type, "title": problem.message, "status": problem.status}
    return {
        "error": {
            "message": problem.message,
            "type": problem.type,
            "code": problem.code,
            "param": problem.param,
        }
    }


def error_body(problem: Problem) -> bytes:
    """The bytes of `error_object`."""
    return msgspec.json.encode(error_object(problem))


def error_headers(problem: Problem) -> Headers:
    """Headers that belong to a problem: type, and advice that SDKs follow.

    SDKs retry a 408 by themselves, each time at the provider's cost; `x-should-retry` stops that.
    """
    media_type = b"application/problem+json" if problem is STALE_KEY else b"application/json"
    headers = [(b"content-type", media_type)]
    if problem.retry_after is not None:
        headers.append((b"retry-after", str(max(1, math.ceil(problem.retry_after))).encode()))
        headers.append((b"retry-after-ms", str(max(1, math.ceil(problem.retry_after * 1000))).encode()))
    if problem.status == 408:
        headers.append((b"x-should-retry", b"false"))
    if problem is SLOW_BODY:
        headers.append((b"connection", b"close"))  # what is missing of the body is not waited for again
    if problem.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers
