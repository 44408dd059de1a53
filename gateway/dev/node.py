"""The gateway as `casemate dev` runs it: the production code on a simulated TEE that is forged at every
start.

Run as `python -m gateway.dev.node PARENT_PID STATE_DIRECTORY`, in the enclave's environment. Once its socket
is bound, and again after every epoch, one JSON line tells what a policy and a client need: `port`, `ca_pem`,
`root` (pin of the simulated hardware's root) and `measurement`. It dies with its parent.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from attestation.pinned_tls import format_pin
from enclave.boot import Enclave
from enclave.errors import EnclaveError
from enclave.memory import harden_process
from enclave.tee.dev import SimulatedTee
from gateway.config import ConfigError, parse_config
from gateway.dev.state import CHIP_FILE, CONFIG_FILE, read_credentials
from gateway.process import die_with_parent
from gateway.serve import Launch, serve
from gateway.supervisor import Timing

DRAIN_SECONDS = 5.0


def main(parent: int, directory: Path) -> int:
    """Entry point of the gateway's process; returns its exit status."""
    die_with_parent(parent)
    harden_process()
    try:
        return serve(prepare(directory))
    except (EnclaveError, ConfigError, OSError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}. {getattr(error, 'hint', '')}\n")
        return 1


def prepare(directory: Path) -> Launch:
    """Forge the hardware and read what the state directory says. Raises ConfigError, OSError."""
    config_path = directory / CONFIG_FILE
    raw = config_path.read_bytes()
    config = parse_config(raw)
    if config.platform.tee != "insecure-development" or config.insecure_development is None:
        raise ConfigError("the simulated TEE serves no configuration that does not say insecure_development")
    tee = SimulatedTee.forge(now=datetime.now(UTC), chip_secret=(directory / CHIP_FILE).read_bytes())
    return Launch(
        config_path=config_path,
        config_bytes=raw,
        tee=tee,
        credentials=read_credentials(directory),
        announce=lambda enclave, port: _announce(tee, enclave, port),
        timing=Timing(drain=DRAIN_SECONDS),
    )


def _announce(tee: SimulatedTee, enclave: Enclave, port: int) -> None:
    told = {
        "port": port,
        "ca_pem": enclave.serving.tls.ca_pem.decode("ascii"),
        "root": format_pin(tee.root_spki_sha256),
        "measurement": tee.measurement.hex(),
    }
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2])))
