"""The command as people and scripts meet it: a process, its output, its exit code."""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from attestation.formats.document import build_document
from attestation.hardware import Hardware, SnpEvidence, VtpmEvidence
from attestation.tdx.abi import parse_quote
from attestation.tdx.body import TdReport
from tests.attestation.command_line import AT, FRESH, Desk, casemate
from tests.fakes.amd import NOW, World
from tests.fakes.evidence import MEASUREMENT, NONCE, Scene
from tests.fakes.intel import IntelWorld


@pytest.fixture
def desk(genoa: World, tmp_path: Path) -> Desk:
    """A desk with everything right."""
    return Desk(Scene(genoa), tmp_path)


# verify FILE


def test_an_insecure_development_gateway_exits_3_and_says_so(desk: Desk) -> None:
    done = casemate("verify", desk.document, "--policy", desk.policy(), *AT, *FRESH)
    assert done.returncode == 3, done.stderr
    assert "ACCEPTED-INSECURE" in done.stdout
    assert "ACCEPTED:" not in done.stdout


def test_refused_evidence_exits_1_and_names_the_check(desk: Desk) -> None:
    policy = desk.policy('[snp]\nproducts = ["Turin"]\n')
    done = casemate("verify", desk.document, "--policy", policy, *AT, *FRESH)
    assert done.returncode == 1
    assert "snp.product.allowed" in done.stdout
    assert "expected: Turin" in done.stdout


def test_a_saved_document_without_a_nonce_exits_2(desk: Desk) -> None:
    done = casemate("verify", desk.document, "--policy", desk.policy(), *AT)
    assert done.returncode == 2
    assert "UNDECIDED" in done.stdout
    assert "statement.nonce" in done.stdout


def test_json_is_the_same_list_for_programs(desk: Desk) -> None:
    done = casemate("verify", desk.document, "--policy", desk.policy(), "--json", *AT, *FRESH)
    value = json.loads(done.stdout)
    assert (done.returncode, value["verdict"], value["insecure"]) == (3, "accepted-insecure", True)
    assert {check["id"] for check in value["checks"]} >= {"snp.debug", "statement.nonce", "snp.chain.root"}


def test_bytes_that_are_no_evidence_exit_1(desk: Desk) -> None:
    done = casemate("verify", desk.write("x.json", b"{}"), "--policy", desk.policy(), *AT, *FRESH)
    assert done.returncode == 1
    assert "evidence.parse" in done.stdout


def test_without_a_policy_verifying_exits_2(desk: Desk) -> None:
    done = casemate("verify", desk.document)
    assert done.returncode == 2
    assert "no policy" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "wrong",
    [
        ("--policy", "absent.toml"),
        ("--policy", "POLICY", "--at", "yesterday"),
        ("--policy", "POLICY", "--nonce", "abc"),
        ("--policy", "UNCONFIRMED"),
    ],
)
def test_what_cannot_be_used_exits_2_with_a_reason(desk: Desk, wrong: tuple[str, ...]) -> None:
    files = {
        "POLICY": desk.policy(),
        "UNCONFIRMED": desk.write("draft.toml", desk.scene.policy("[config]  # unconfirmed\n")),
    }
    done = casemate("verify", desk.document, *[files.get(word, word) for word in wrong])
    assert done.returncode == 2
    assert done.stderr.startswith("casemate: ")
    assert "Traceback" not in done.stderr


def test_an_absent_document_exits_2(desk: Desk) -> None:
    done = casemate("verify", desk.folder / "absent.json", "--policy", desk.policy())
    assert done.returncode == 2


# verify URL


@dataclass(frozen=True)
class Identity:
    """A TLS key with its certificate: context, pin."""

    context: ssl.SSLContext
    pin: bytes
    pem: Path


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """A self-signed key for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=2))
        .not_valid_after(NOW + timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )
    pem, secret = (tmp_path_factory.mktemp("tls") / name for name in ("c.pem", "k.pem"))
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    secret.write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, secret)
    spki = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return Identity(context, hashlib.sha256(spki).digest(), pem)


@contextmanager
def serving(
    scene: Scene, identity: Identity, *, nonce: bytes | None = None, asked: list[bytes] | None = None
) -> Iterator[str]:
    """A gateway's evidence endpoint; `nonce` answers every question with a stale one."""
    questions = [] if asked is None else asked

    class Endpoint(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            questions.append(bytes.fromhex(parse_qs(urlsplit(self.path).query)["nonce"][0]))
            document = scene.document(nonce=nonce or questions[-1])
            self.send_response(200)
            self.send_header("Content-Type", "application/cmw+json")
            self.send_header("Content-Length", str(len(document)))
            self.end_headers()
            self.wfile.write(document)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    server.socket = identity.context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_live_gateway_is_asked_with_a_fresh_nonce(desk: Desk, identity: Identity) -> None:
    scene = replace(desk.scene, manifest={"tls_spki_sha256": (identity.pin,)})
    asked: list[bytes] = []
    with serving(scene, identity, asked=asked) as url:
        for _ in range(2):
            done = casemate("verify", url, "--policy", desk.policy(), *AT)
            assert done.returncode == 3, done.stdout + done.stderr
            assert "connection.key" in done.stdout
    assert len(set(asked)) == 2


def test_a_stale_answer_exits_1(desk: Desk, identity: Identity) -> None:
    scene = replace(desk.scene, manifest={"tls_spki_sha256": (identity.pin,)})
    with serving(scene, identity, nonce=NONCE) as url:
        done = casemate("verify", url, "--policy", desk.policy(), "--json", *AT)
    failed = [check["id"] for check in json.loads(done.stdout)["checks"] if check["outcome"] == "fail"]
    assert (done.returncode, failed) == (1, ["statement.nonce"])


def test_a_diverted_connection_exits_1(desk: Desk, identity: Identity) -> None:
    """The document is genuine and fresh, but another server's key brought it."""
    with serving(desk.scene, identity) as url:
        done = casemate("verify", url, "--policy", desk.policy(), "--json", *AT)
    failed = [check["id"] for check in json.loads(done.stdout)["checks"] if check["outcome"] == "fail"]
    assert (done.returncode, failed) == (1, ["connection.key"])


def test_the_document_of_a_live_gateway_is_kept_for_a_second_look(desk: Desk, identity: Identity) -> None:
    scene = replace(desk.scene, manifest={"tls_spki_sha256": (identity.pin,)})
    kept = desk.folder / "kept.json"
    with serving(scene, identity) as url:
        live = casemate("verify", url, "--policy", desk.policy(), *AT, "--save", kept)
    nonce = live.stderr.split("--nonce ")[1].strip()
    again = casemate("verify", kept, "--policy", desk.policy(), *AT, "--nonce", nonce)
    assert (live.returncode, again.returncode) == (3, 3), live.stderr + again.stderr


def test_a_page_about_a_live_gateway_says_what_has_to_be_kept(desk: Desk, identity: Identity) -> None:
    scene = replace(desk.scene, manifest={"tls_spki_sha256": (identity.pin,)})
    page, kept = desk.folder / "page.html", desk.folder / "kept.json"
    with serving(scene, identity) as url:
        live = casemate("verify", url, "--policy", desk.policy(), *AT, "--html", page)
        assert live.returncode == 3, live.stderr
        assert "--save FILE" in live.stderr
        assert "--save FILE" in page.read_text()
        assert "casemate verify EVIDENCE" in page.read_text()
        kept_live = casemate("verify", url, "--policy", desk.policy(), *AT, "--html", page, "--save", kept)
    assert kept_live.returncode == 3
    assert "--save FILE" not in page.read_text()
    assert "connection.key is absent" in page.read_text()
    assert f"casemate verify {kept}" in page.read_text()
    quiet = casemate("verify", desk.document, "--policy", desk.policy(), *AT, *FRESH, "--html", page)
    assert quiet.stderr == ""
    assert "connection.key is absent" not in page.read_text()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "ftp://127.0.0.1:1", "https://127.0.0.1:1", "https://"]
)
def test_a_plain_or_silent_endpoint_exits_2(desk: Desk, url: str) -> None:
    done = casemate("verify", url, "--policy", desk.policy())
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


# inspect, proxy, further commands


def test_inspect_shows_a_document_and_claims_nothing(desk: Desk) -> None:
    done = casemate("inspect", desk.document)
    assert done.returncode == 0
    assert done.stdout.startswith("NOT VERIFIED")
    assert "INSECURE DEVELOPMENT" in done.stdout
    assert NONCE.hex() in done.stdout


def test_inspect_names_what_each_platform_says_it_started(desk: Desk, intel: IntelWorld) -> None:
    def shown(hardware: Hardware) -> str:
        document = build_document(replace(desk.scene.evidence(), hardware=hardware), insecure=True)
        done = casemate("inspect", desk.write("x.json", document))
        assert done.returncode == 0, done.stderr
        return done.stdout

    td = intel.issue().evidence
    body = parse_quote(td.quote).body
    assert isinstance(body, TdReport)
    assert MEASUREMENT.hex() in casemate("inspect", desk.document).stdout
    assert body.mrtd.hex() in shown(td)
    assert "PCRs" in shown(VtpmEvidence("azure-snp", b"a report", tpm_quote=b"a quote"))
    assert "cannot be read" in shown(SnpEvidence(b"no report"))


def test_inspect_refuses_what_is_no_document(desk: Desk) -> None:
    assert casemate("inspect", desk.write("x", b"[]")).returncode == 1


def test_the_proxy_does_not_start_without_a_policy_or_on_a_plain_url(desk: Desk) -> None:
    assert casemate("proxy", "https://127.0.0.1:1").returncode == 2
    assert casemate("proxy", "http://127.0.0.1:1", "--policy", desk.policy()).returncode == 2


def test_the_proxy_does_not_serve_a_gateway_that_it_refuses(desk: Desk, identity: Identity) -> None:
    with serving(desk.scene, identity) as url:
        done = casemate("proxy", url, "--policy", desk.policy(), "--port", "0")
    assert done.returncode == 1
    assert "evidence refused" in done.stderr
    assert casemate("proxy", "https://127.0.0.1:1", "--policy", desk.policy()).returncode == 2


def test_the_proxy_says_what_to_do_when_its_port_is_taken(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = casemate("proxy", "https://127.0.0.1:1", "--policy", desk.policy(), "--port", port)
    assert done.returncode == 2
    assert "name another with --port" in done.stderr


def test_an_address_without_its_scheme_is_told_that_one_is_needed(desk: Desk) -> None:
    done = casemate("verify", "localhost:8443", "--policy", desk.policy())
    assert done.returncode == 2
    assert "https://" in done.stderr


def test_an_authority_that_is_not_there_is_refused_before_anything_is_asked(desk: Desk) -> None:
    done = casemate("verify", "https://127.0.0.1:1", "--policy", desk.policy(), "--ca", "missing.pem")
    assert done.returncode == 2
    assert "missing.pem" in done.stderr
    assert "127.0.0.1" not in done.stderr


def install(folder: Path, target: str) -> Path:
    """A distribution that adds the command `extra`."""
    info = folder / "extra-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: extra\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[casemate.commands]\nextra = {target}\n")
    (folder / "extra.py").write_text("def run() -> None:\n    '''Do more.'''\n    print('more')\n")
    return folder


def test_other_distributions_add_commands(tmp_path: Path) -> None:
    path = install(tmp_path, "extra:run")
    assert casemate("extra", path=path).stdout == "more\n"
    assert "extra" in casemate("--help", path=path).stdout


def test_a_command_whose_packages_are_missing_says_what_it_needs(tmp_path: Path) -> None:
    path = install(tmp_path, "not_installed.cli:run")
    assert "casemate[server]" in casemate("--help", path=path).stdout
    done = casemate("extra", "--config", "its own", path=path)
    assert done.returncode == 2
    assert "not_installed" in done.stderr
    assert "casemate[server]" in done.stderr


def test_the_version_is_told_before_any_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "attestation.cli", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"casemate {version('casemate')}\n")
