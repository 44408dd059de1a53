"""The edge where evidence comes in from the network, for the command line. Decides nothing itself."""

from __future__ import annotations

import os
import ssl
from urllib.parse import urlsplit

import h11
import httpcore2

from attestation.errors import CannotDecide
from attestation.transport.connection import Timeouts, run_now
from attestation.transport.engine import EVIDENCE_SECONDS, channel_context, parse_origin
from attestation.transport.evidence import leaf_pin, read_evidence
from attestation.transport.networks import BlockingNetwork

_CONNECT_SECONDS = 10.0


def fetch_evidence(
    url: str, nonce: bytes | None, *, ca: str | os.PathLike[str] | None = None
) -> tuple[bytes, bytes]:
    """Return a document and the pin (32 bytes) of the TLS key that served it, over one TLS 1.3 connection.

    The pin is a fact of this one connection: compare it with the manifest once the document is verified. No
    redirects, proxies or environment; 4 MiB and 30 s at most.

    `url` is the gateway's https URL (its path is ignored); `ca` as in `VerifiedTransport`. Raises ValueError
    for a URL that is not https, CannotDecide if nothing usable came, MalformedEvidence for the wrong type
    or a certificate that cannot be read.
    """
    origin = parse_origin(url)
    tls = channel_context(ca)
    timeouts = Timeouts(_CONNECT_SECONDS, EVIDENCE_SECONDS, _CONNECT_SECONDS)
    network = BlockingNetwork(httpcore2)
    try:
        connection = run_now(network.open(origin.host, origin.port, tls, timeouts.connect))
        try:
            document = run_now(
                read_evidence(connection, origin.header, nonce, timeouts, seconds=EVIDENCE_SECONDS)
            )
            return document, leaf_pin(connection.tls)
        finally:
            run_now(network.close(connection))
    except (httpcore2.NetworkError, httpcore2.TimeoutException, h11.ProtocolError, ssl.SSLError) as error:
        raise CannotDecide(
            f"no evidence could be fetched from {urlsplit(url).netloc}: {error}",
            hint="check the URL, and that the gateway is running",
        ) from error
