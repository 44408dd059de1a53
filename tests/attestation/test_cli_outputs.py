"""Where `casemate verify` writes: reports, attestation results, documents kept; files first, stdout last."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tests.attestation.command_line import AT, FRESH, Desk, casemate
from tests.fakes.amd import NOW, World
from tests.fakes.evidence import NONCE, Scene


@pytest.fixture
def desk(genoa: World, tmp_path: Path) -> Desk:
    """A desk with everything right, for a development gateway."""
    return Desk(Scene(genoa), tmp_path)


def judged(desk: Desk, *more: str | Path) -> tuple[str | Path, ...]:
    """The arguments that verify the desk's document."""
    return ("verify", desk.document, "--policy", desk.policy(), *AT, *FRESH, *more)


def decode(part: str) -> Any:
    """One part of a compact JWS as JSON."""
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def save_key(desk: Desk, key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> Path:
    """A private key as people keep it."""
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return desk.write("key.pem", key.private_bytes(pem, form, serialization.NoEncryption()))


def test_the_html_report_is_written_and_the_text_still_printed(desk: Desk) -> None:
    page = desk.folder / "report.html"
    done = casemate(*judged(desk, "--html", page))
    assert done.returncode == 3
    assert "ACCEPTED-INSECURE" in done.stdout
    assert page.read_text().lower().startswith("<!doctype html>")
    assert "evidence.json" in page.read_text()


def test_the_html_report_names_the_command_that_decides_the_same_again(desk: Desk) -> None:
    page, command = desk.folder / "report.html", judged(desk)
    told = casemate(*command, "--html", page).stdout
    found = re.search(r"<pre>(casemate verify [^<]+)</pre>", page.read_text())
    assert found is not None
    again = shlex.split(html.unescape(found.group(1)))
    assert again[-2:] == ["--at", NOW.strftime("%Y-%m-%dT%H:%M:%SZ")]
    assert casemate(*again[1:]).stdout == told


def test_a_report_that_cannot_be_written_leaves_stdout_empty(desk: Desk) -> None:
    done = casemate(*judged(desk, "--html", desk.folder / "absent" / "report.html"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot write" in done.stderr


def test_an_ear_goes_to_a_file_beside_the_text(desk: Desk) -> None:
    place = desk.folder / "ear.json"
    done = casemate(*judged(desk, "--ear", place))
    assert done.returncode == 3
    assert "ACCEPTED-INSECURE" in done.stdout
    assert json.loads(place.read_text())["ear_status"] == "contraindicated"


def test_an_ear_on_stdout_is_all_that_is_there(desk: Desk) -> None:
    done = casemate(*judged(desk, "--ear", "-"))
    value = json.loads(done.stdout)
    assert value["ear_status"] == "contraindicated"
    assert value["eat_nonce"] == base64.urlsafe_b64encode(NONCE).rstrip(b"=").decode()
    assert value["ear_verifier_id"]["developer"] == "Casemate"


def test_an_ear_without_a_nonce_claims_none(desk: Desk) -> None:
    done = casemate("verify", desk.document, "--policy", desk.policy(), *AT, "--ear", "-")
    value = json.loads(done.stdout)
    assert (done.returncode, value["ear_status"]) == (2, "contraindicated")
    assert "eat_nonce" not in value


def test_a_simulation_that_is_not_decided_reads_as_a_pass_on_no_output(desk: Desk) -> None:
    command = ("verify", desk.document, "--policy", desk.policy(), *AT)
    told = casemate(*command)
    assert (told.returncode, told.stdout.splitlines()[0]) == (2, "!" * 78)
    assert "  pass" not in told.stdout
    value = json.loads(casemate(*command, "--json").stdout)
    assert (value["verdict"], value["insecure"], value["rules"]) == ("undecided", True, "policy")
    assert "pass" not in {check["outcome"] for check in value["checks"]}
    assert value["inputs"] == {"document": value["evidence_sha256"]}


def test_an_ear_is_signed_with_an_ed25519_key(desk: Desk) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    done = casemate(*judged(desk, "--ear", "-", "--ear-key", save_key(desk, key)))
    header, payload, signature = done.stdout.strip().split(".")
    assert decode(header)["alg"] == "EdDSA"
    assert decode(payload)["ear_status"] == "contraindicated"
    key.public_key().verify(base64.urlsafe_b64decode(signature + "=="), f"{header}.{payload}".encode())


def test_an_ear_is_signed_with_a_p256_key(desk: Desk) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    done = casemate(*judged(desk, "--ear", "-", "--ear-key", save_key(desk, key)))
    header, payload, signature = done.stdout.strip().split(".")
    assert decode(header)["alg"] == "ES256"
    raw = base64.urlsafe_b64decode(signature + "==")
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    key.public_key().verify(der, f"{header}.{payload}".encode(), ec.ECDSA(hashes.SHA256()))


def test_an_encrypted_key_is_refused_before_anything_is_judged(desk: Desk) -> None:
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    hidden = serialization.BestAvailableEncryption(b"secret")
    key = desk.write("key.pem", ed25519.Ed25519PrivateKey.generate().private_bytes(pem, form, hidden))
    done = casemate(*judged(desk, "--ear", "-", "--ear-key", key))
    assert (done.returncode, done.stdout) == (2, "")
    assert "unencrypted" in done.stderr
