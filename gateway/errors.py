"""Everything a caller can be told. Rendered as an OpenAI-shaped object; never holds content."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One answer: HTTP status, the four members of the error object, and retry advice in seconds."""

    status: int
    type: str
    code: str | None
    message: str
    param: str | None = None
    retry_after: float | None = None


class GatewayError(Exception):
    """Raised anywhere below the handlers; carries exactly one Problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code or problem.type)
        self.problem = problem
