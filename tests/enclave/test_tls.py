import hashlib
import ipaddress
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from enclave.tls import new_tls_identity
from tests.enclave.child import run_child

NOW = datetime.now(UTC).replace(microsecond=0)
NOT_AFTER = NOW + timedelta(hours=25)


@pytest.fixture(scope="module")
def identity():
    return new_tls_identity(("localhost", "gateway.example"), now=NOW, not_after=NOT_AFTER)


def client_context(identity):
    context = ssl.create_default_context(cadata=identity.ca_pem.decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def connect(server_context, context, hostname):
    """Shake hands through memory and return (client, server) after one byte went to the client."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname=hostname)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    pending = [client, server]
    while pending:
        pending = [end for end in pending if not _step(end)]
    server.write(b"x")
    assert client.read(1) == b"x"
    return client, server


def _step(end):
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


@pytest.mark.parametrize("hostname", ["localhost", "gateway.example", "127.0.0.1", "::1"])
def test_clients_that_trust_the_authority_connect_by_every_name(identity, hostname):
    client, _ = connect(identity.context, client_context(identity), hostname)
    assert client.version() == "TLSv1.3"
    assert client.selected_alpn_protocol() == "http/1.1"


def test_another_name_is_refused_by_such_clients(identity):
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(identity.context, client_context(identity), "other.example")


def test_loopback_addresses_are_only_named_where_loopback_is_served():
    public = new_tls_identity(("gateway.example", "192.0.2.7"), now=NOW, not_after=NOT_AFTER)
    leaf = x509.load_pem_x509_certificates(public.certificate_pem)[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["gateway.example"]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("192.0.2.7")]


def test_a_client_that_speaks_tls_1_2_at_most_is_refused(identity):
    context = client_context(identity)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol|version"):
        connect(identity.context, context, "localhost")


def test_no_ticket_is_sent(identity):
    client, _ = connect(identity.context, client_context(identity), "localhost")
    assert client.session is None or not client.session.has_ticket


def test_a_context_that_does_send_tickets_is_told_apart():
    leaky = new_tls_identity(("localhost",), now=NOW, not_after=NOT_AFTER)
    leaky.context.num_tickets = 2
    client, _ = connect(leaky.context, client_context(leaky), "localhost")
    assert client.session.has_ticket


def test_the_context_renegotiates_nothing_and_wipes_what_it_decrypted(identity):
    options = identity.context.options
    assert options & ssl.OP_NO_RENEGOTIATION
    assert options & 0x2
    assert identity.context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert identity.context.maximum_version is ssl.TLSVersion.TLSv1_3


def test_no_read_asks_for_more_memory_than_a_record_fills(identity, monkeypatch):
    asked = []
    monkeypatch.setattr(ssl.SSLObject, "read", lambda _, size, buffer=None: asked.append(size))
    identity.context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True).read(262_144)
    assert asked == [16_384]


def test_keys_are_not_logged_whatever_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    identity = new_tls_identity(("localhost",), now=NOW, not_after=NOT_AFTER)
    assert identity.context.keylog_filename is None
    monkeypatch.delenv("SSLKEYLOGFILE")
    connect(identity.context, client_context(identity), "localhost")
    assert list(tmp_path.iterdir()) == []


def test_the_pin_is_that_of_the_leaf_a_client_sees(identity):
    client, _ = connect(identity.context, client_context(identity), "localhost")
    leaf = x509.load_der_x509_certificate(client.getpeercert(binary_form=True))
    spki = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert identity.spki_sha256 == hashlib.sha256(spki).digest()
    assert isinstance(leaf.public_key(), ec.EllipticCurvePublicKey)
    assert leaf.not_valid_before_utc <= NOW - timedelta(minutes=5)
    assert leaf.not_valid_after_utc == NOT_AFTER


def test_the_authority_may_sign_no_further_authority_and_differs_each_time(identity):
    leaf, authority = x509.load_pem_x509_certificates(identity.certificate_pem)
    leaf.verify_directly_issued_by(authority)
    assert identity.ca_pem == authority.public_bytes(Encoding.PEM)
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    again = new_tls_identity(("localhost",), now=NOW, not_after=NOT_AFTER)
    assert again.spki_sha256 != identity.spki_sha256
    assert x509.load_pem_x509_certificate(again.ca_pem).subject != authority.subject


def test_an_identity_without_a_name_is_refused():
    with pytest.raises(ValueError, match="hostname"):
        new_tls_identity((), now=NOW, not_after=NOT_AFTER)


WATCH = """
import json, os, ssl, sys
from datetime import UTC, datetime, timedelta
from enclave.tls import new_tls_identity

def make():
    now = datetime.now(UTC)
    return new_tls_identity(("localhost",), now=now, not_after=now + timedelta(hours=1))

make()  # imports whatever is imported late
touched, loaded, watching = [], [], True

def watch(event, arguments):
    if watching and event.split(".")[0] in ("open", "os", "shutil", "tempfile", "socket", "subprocess"):
        touched.append(event)

real = ssl.SSLContext.load_cert_chain
def load(context, path, *more):
    global watching
    watching = False
    loaded.append([path, os.readlink(path), os.stat(path).st_nlink, list(more)])
    with open(path, "rb") as file:
        loaded[-1].append(b"PRIVATE KEY" in file.read())
    watching = True
    return real(context, path, *more)

ssl.SSLContext.load_cert_chain = load
before = sorted(os.listdir("/proc/self/fd"))
sys.addaudithook(watch)
identity = make()
watching = False
after = sorted(os.listdir("/proc/self/fd"))
held = [name for name in after if "memfd" in os.readlink("/proc/self/fd/" + name)] if before != after else []
watching = True
if CONTROL:
    open("control", "w").close()
watching = False
print(json.dumps({"touched": touched, "loaded": loaded, "before": before, "after": after, "held": held}))
"""


@pytest.mark.parametrize("control", [False, True], ids=["watched", "positive control"])
def test_the_key_passes_through_anonymous_memory_only_and_no_file_is_opened(tmp_path, control):
    environment = {"TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    seen = run_child(WATCH.replace("CONTROL", str(control)), environment=environment, cwd=tmp_path)
    ((path, target, links, more, holds_key),) = seen["loaded"]
    assert path.startswith("/proc/self/fd/")
    assert target.startswith("/memfd:")
    assert (links, more, holds_key) == (0, [], True)
    assert seen["before"] == seen["after"]
    assert seen["held"] == []
    # ftruncate through a descriptor is audited too; it names no path
    assert [event for event in seen["touched"] if event != "os.truncate"] == (["open"] if control else [])
    assert [item.name for item in tmp_path.iterdir()] == (["control"] if control else [])


FORK = """
import json, os, sys
from datetime import UTC, datetime, timedelta
from enclave.tls import new_tls_identity
from tests.enclave.test_tls import client_context, connect
now = datetime.now(UTC)
identity = new_tls_identity(("localhost",), now=now, not_after=now + timedelta(hours=1))
reader, writer = os.pipe()
if os.fork() == 0:
    client, _ = connect(identity.context, client_context(identity), "localhost")
    os.write(writer, client.version().encode())
    os._exit(0)
os.close(writer)
print(json.dumps(os.read(reader, 100).decode()))
os.wait()
"""


def test_a_context_made_before_forking_serves_in_the_child():
    assert run_child(FORK) == "TLSv1.3"
