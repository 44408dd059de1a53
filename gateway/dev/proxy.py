"""The verifying proxy as `casemate dev` runs it: on a port that may be any, telling its parent which.

Run as `python -m gateway.dev.proxy PARENT_PID GATEWAY_URL POLICY_FILE PORT`. The gateway is verified before
one JSON line `{"port": N, "verdict": "…"}` is written to standard output. It dies with its parent.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from pathlib import Path

import uvicorn

from attestation.policy.toml import parse_policy
from attestation.proxy import ProxyApp, server_config
from attestation.transport.httpx2_transport import AsyncVerifiedTransport
from gateway.process import die_with_parent


async def serve(url: str, policy: Path, port: int) -> None:
    """Verify, listen, tell, serve until SIGTERM. Raises AttestationError if the gateway is not what the
    policy says."""
    transport = AsyncVerifiedTransport(url, parse_policy(policy.read_bytes()))
    try:
        appraisal = await transport.verify()
        with socket.create_server(("127.0.0.1", port), backlog=128) as listener:
            port = listener.getsockname()[1]
            server = uvicorn.Server(server_config(ProxyApp(transport, url, port)))
            sys.stdout.write(json.dumps({"port": port, "verdict": appraisal.verdict.value}) + "\n")
            sys.stdout.flush()
            await server.serve(sockets=[listener])
    finally:
        await transport.aclose()


def main(parent: int, url: str, policy: Path, port: int) -> None:
    """Entry point of the proxy's process."""
    die_with_parent(parent)
    asyncio.run(serve(url, policy, port))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
