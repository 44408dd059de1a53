"""The hot routes, as raw ASGI: a full framework handler would cost more than the server itself."""

from __future__ import annotations

from gateway import problems
from gateway.callers import Callers
from gateway.context import AppContext
from gateway.envelope import Bodies
from gateway.errors import GatewayError, Problem
from gateway.exchange import ClientLeft, Exchange, Receive, Scope, Send
from gateway.forgetting import forget
from gateway.log import Fault, Served, where
from gateway.pipeline import serve

CLIENT_LEFT = 499


class ChatRoute:
    """`POST …/chat/completions` and `POST …/chat`."""

    def __init__(self, context: AppContext) -> None:
        self._context = context
        self._callers = Callers()
        self._bodies = Bodies(context.config.limits.inflight_body_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, or tell the problem; log one line either way."""
        exchange = Exchange(self._context, scope, receive, send)
        try:
            if scope["method"] != "POST":
                exchange.extra.append((b"allow", b"POST"))
                raise GatewayError(problems.METHOD_NOT_ALLOWED)
            served = await serve(self._context, exchange, self._callers, self._bodies)
        except GatewayError as error:
            forget(error)
            served = _refusal(exchange, error.problem.status, error.problem.code)
            await _tell(exchange, error.problem)
        except ClientLeft as error:
            forget(error)
            served = _refusal(exchange, CLIENT_LEFT, "client_left")
        except Exception as error:  # noqa: BLE001 - the last line: never shown, never logged but for its place
            self._context.log.write(Fault(exchange.request_id, type(error).__name__, where(error)))
            forget(error)
            served = _refusal(exchange, 500, "internal_error")
            await _tell(exchange, problems.INTERNAL)
        self._context.log.write(served)


async def _tell(exchange: Exchange, problem: Problem) -> None:
    try:
        await exchange.fail(problem)
    except ClientLeft:
        exchange.abort()


def _refusal(exchange: Exchange, status: int, code: str | None) -> Served:
    return Served(
        request=exchange.request_id,
        route="chat",
        status=status,
        milliseconds=exchange.milliseconds,
        code=code,
        sealed=exchange.sealed,
        complete=False,
    )
