"""What each target starts from: forged by the tests' own fakes, here and now. Evidence is never copied."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from cryptography import x509

from attestation.formats.document import build_document
from attestation.formats.records import encode_collateral
from attestation.pem import encode_pem
from attestation.pins import write_pin
from attestation.reader import b64url_encode
from attestation.snp.kds import AMD_ARC
from enclave.tee import dev
from tests.fakes.amd import World
from tests.fakes.evidence import DEVELOPMENT_TABLE, Scene, config, provider
from tests.fakes.intel import IntelWorld
from tests.fakes.intel_layout import PckFields, TdFields, body_pieces, pck_extension, tdreport
from tests.fakes.maa import MaaWorld
from tests.fakes.tpm import AzureSigned, TpmWorld, azure_snp, azure_tdx
from tests.fuzz.targets import AMD_SUFFIXES, KEY_ID, TARGETS, joined, sign_release, triples

Seeds = Sequence[bytes]


class Forge:
    """Everything forged once; RSA-4096 hierarchies take seconds each."""

    def __init__(self, world: World | None = None) -> None:
        self.world = world or World.forge("Genoa")
        self.scene = Scene(self.world)
        self.evidence = self.scene.evidence()
        self.signed = self.world.issue()
        self.by_provider = self.world.issue_vlek()
        self.intel, tpm = IntelWorld.forge(), TpmWorld.forge()
        self.td = self.intel.issue()
        self.snp_guest = azure_snp(self.world, tpm)
        self.tdx_guest = azure_tdx(self.intel, tpm)

    def json(self) -> Seeds:
        """Members of every kind, nesting and escapes."""
        value = {"a": [1, -2, True, None, "\u00fc", {"b": "\\"}], "n": 2**53}
        return [json.dumps(value).encode(), json.dumps(value, ensure_ascii=False).encode(), b"{}"]

    def json_array(self) -> Seeds:
        """Lists, flat and nested."""
        return [b'[1, "a", [null, {"b": [true]}]]', b"[]"]

    def base64url(self) -> Seeds:
        """Each remainder of the length."""
        return [b64url_encode(bytes(range(size))).encode() for size in (0, 1, 2, 3, 64)]

    def pem(self) -> Seeds:
        """One and three certificates."""
        return [encode_pem(self.signed.certificates[:count], "CERTIFICATE") for count in (1, 3)]

    def document(self) -> Seeds:
        """A VCEK's and a VLEK's document, and one for each other platform."""
        vlek = Scene(self.world, vlek=True).document()
        return [self.scene.document(), vlek, *self.other_platforms()]

    def statement(self) -> Seeds:
        """With and without an exporter."""
        session = self.scene.evidence(purpose="session", exporter=bytes(32))
        return [self.evidence.statement, session.statement]

    def manifest(self) -> Seeds:
        """With what may be absent, and without."""
        whole = {"ledger_epoch": 3, "rollback": "witness", "ohttp_key_config": bytes(41)}
        return [self.evidence.manifest, Scene(self.world, manifest=whole).evidence().manifest]

    def settings(self) -> Seeds:
        """A plain configuration, and one with everything that a verifier reads."""
        return [config(), config(provider("api.openai.com:8443", ca_pem="x"), DEVELOPMENT_TABLE)]

    def policy(self) -> Seeds:
        """A short policy, and one with tables."""
        hosts = f'[config.providers]\n"api.openai.com" = ["{write_pin(bytes(32))}"]\n'
        tables = f"[evidence]\naccept_without_nonce = true\n{hosts}[snp]\n"
        return [self.scene.policy(), self.scene.policy(tables)]

    def snp_report(self) -> Seeds:
        """Every version, both kinds of key."""
        versions = [dev.encode_report(self.world.fields(version=version)) for version in (2, 3, 4, 5)]
        return [self.signed.report, self.by_provider.report, *(body + bytes(512) for body in versions)]

    def vek_extensions(self) -> Seeds:
        """AMD's extensions of both kinds of key."""
        found = []
        for der in (self.signed.certificates[0], self.by_provider.certificates[0]):
            values = {}
            for extension in x509.load_der_x509_certificate(der).extensions:
                suffix = extension.oid.dotted_string.removeprefix(AMD_ARC)
                if suffix in AMD_SUFFIXES and isinstance(extension.value, x509.UnrecognizedExtension):
                    values[AMD_SUFFIXES.index(suffix)] = extension.value.value
            found.append(triples(values))
        return found

    def certificate(self) -> Seeds:
        """Leaf, intermediate, root; VLEK."""
        return [*self.signed.certificates, self.by_provider.certificates[0]]

    def crl(self) -> Seeds:
        """Empty, with an entry, with an extension that nobody knows."""
        ask = self.world.hierarchy.ask.certificate
        return [self.world.crl(), self.world.crl(ask), self.world.crl(ask, critical=True)]

    def release(self) -> Seeds:
        """Signed, though not by the key that is asked for: what the signature covers has its own target."""
        return [sign_release(payload) for payload in self.release_payload()]

    def release_payload(self) -> Seeds:
        """One set for each platform."""
        values = {
            "sev-snp": {"measurement": "ab" * 48},
            "tdx": {"mrtd": "cd" * 48, "rtmr0": "00" * 48},
            "azure": {"pcr0": "ef" * 32, "pcr7": "01" * 32},
        }
        sets = [
            {"platform": name, "name": f"{name} small", "values": found} for name, found in values.items()
        ]
        head = {"format": "casemate/release/1", "number": 7, "release": "2026.11", "issued": 1_790_000_000}
        return [json.dumps(head | {"sets": chosen}).encode() for chosen in (sets, sets[:1])]

    def tdx_quote(self) -> Seeds:
        """Versions 4 and 5, every size of body; an enclave's of versions 4 and 3."""
        kinds = ((4, 2), (5, 2), (5, 3), (5, 4))
        tds = [self.intel.issue(version=version, body_type=body).quote for version, body in kinds]
        header, rest = tds[0][:48], tds[0][48 + 584 :]
        enclave = header[:4] + bytes(4) + header[8:] + bytes(384) + rest
        keys, inner = rest[4:132], rest[138:]  # version 3 wraps nothing
        size = struct.pack("<I", len(keys) + len(inner))
        oldest = b"\x03" + header[1:4] + bytes(4) + header[8:] + bytes(384) + size + keys + inner
        return [*tds, enclave, oldest]

    def quote_judged(self) -> Seeds:
        """The same quotes."""
        return self.tdx_quote()

    def tdreport(self) -> Seeds:
        """What Azure's HCL report holds."""
        return [tdreport(TdFields())]

    def td_report(self) -> Seeds:
        """The signed body of each size."""
        return [b"".join(data for _, data in body_pieces(TdFields(), kind)) for kind in (2, 3, 4)]

    def td_attributes(self) -> Seeds:
        """Nothing and everything."""
        return [bytes(8), b"\xff" * 8]

    def sgx_report(self) -> Seeds:
        """A quoting enclave's report."""
        start, end = self.td.regions["qe.report"]
        return [self.td.quote[start:end]]

    def pck_chain(self) -> Seeds:
        """The chain of a quote, with and without its NUL."""
        chain = self.td.pck.pem + self.intel.ca.pem + self.intel.root.pem
        return [chain, chain + b"\0"]

    def pck_extension(self) -> Seeds:
        """A platform's and, without instance id and configuration, a processor's."""
        return [pck_extension(PckFields())]

    def tcb_info(self) -> Seeds:
        """With one and several statuses."""
        return [
            self.td.collateral.tcb_info,
            self.intel.issue(platform_status="OutOfDate").collateral.tcb_info,
        ]

    def qe_identity(self) -> Seeds:
        """As served."""
        return [self.td.collateral.qe_identity]

    def tdx_collateral(self) -> Seeds:
        """As a document carries it."""
        return [encode_collateral(self.td.collateral)]

    def hcl_report(self) -> Seeds:
        """Around an SNP report and around a TDREPORT."""
        return [self.snp_guest.evidence.hcl_report, self.tdx_guest.evidence.hcl_report]

    def hcl_judged(self) -> Seeds:
        """The same, in lengths that make either kind of the other: see the adapter."""
        return [raw + padding for raw in self.hcl_report() for padding in (b"", b"\0")]

    def runtime_data(self) -> Seeds:
        """The HCL report's JSON."""
        return [self.snp_guest.evidence.runtime_data]

    def tpm_attest(self) -> Seeds:
        """A quote by the virtual TPM."""
        return [self.snp_guest.evidence.tpm_quote]

    def tpm_signature(self) -> Seeds:
        """Bare, and within its structure."""
        bare = self.snp_guest.evidence.tpm_signature
        return [bare, bytes.fromhex("0014000b") + len(bare).to_bytes(2, "big") + bare]

    def tpm_pcrs(self) -> Seeds:
        """Every register's value."""
        return [self.snp_guest.evidence.tpm_pcrs]

    def maa_token(self) -> Seeds:
        """About both kinds of guest, nested and flat."""
        maa = MaaWorld.forge()
        return [
            maa.token(guest, nested=nested)
            for guest in (self.snp_guest, self.tdx_guest)
            for nested in (True, False)
        ]

    def maa_keys(self) -> Seeds:
        """A key by its numbers, and one by its certificate."""
        maa = MaaWorld.forge()
        certificate = base64.b64encode(self.signed.certificates[-1]).decode()
        by_certificate = {"keys": [{"kid": KEY_ID, "kty": "RSA", "x5c": [certificate]}]}
        return [replace(maa, key_id=KEY_ID).keys, json.dumps(by_certificate).encode()]

    def efi_variable(self) -> Seeds:
        """One with contents, one without."""
        return [efi_variable("BootOrder", b"\x01\x00"), efi_variable("dbx", b"")]

    def ccel(self) -> Seeds:
        """A log with an event of every kind that has a rule."""
        payloads = {
            0x04: bytes(4),
            0x0D: b"grub_cmd: linux /vmlinuz\0",
            0x80000001: b"variable",
            0x80000002: efi_variable("BootOrder", b"\x01\x00"),
            0x80000006: b"table",
            0x80000007: b"Exit Boot Services Invocation",
            0x8000000C: b"handoff",
            0x800000E0: b"authority",
        }
        events = b"".join(
            ccel_event(1 + number % 4, kind, payload)
            for number, (kind, payload) in enumerate(payloads.items())
        )
        return [CCEL_HEADER + events, CCEL_HEADER + events + b"\xff" * 64, CCEL_HEADER + bytes(64)]

    def ccel_replay(self) -> Seeds:
        """The same logs."""
        return self.ccel()

    def dstack_log(self) -> Seeds:
        """Firmware's and dstack's own events; a shortened log."""
        whole = [
            {"imr": 0, "event_type": 4, "digest": "ab" * 48, "event": "", "event_payload": "00000000"},
            dstack_event("app-id", b"\x01\x02"),
            dstack_event("a:b", b""),
        ]
        short = [entry | {"digest": ""} for entry in whole[1:]]
        return [json.dumps(events).encode() for events in (whole, short, [])]

    def dstack_replay(self) -> Seeds:
        """The same logs."""
        return self.dstack_log()

    def verify(self) -> Seeds:
        """A whole document of each platform."""
        return [self.document()[0], *self.other_platforms()]

    def bare_snp(self) -> Seeds:
        """Reports of both kinds of key, with and without what endorses them."""
        whole = joined(self.signed.report, self.signed.certificates[0], self.crl()[0])
        alone = [self.signed.report, self.by_provider.report, *self.snp_report()[2:]]
        return [whole, *map(joined, alone)]

    def bare_tdx(self) -> Seeds:
        """A quote with all of its collateral and logs, and one alone."""
        given = self.td.collateral
        collateral = (given.tcb_info, given.qe_identity, given.pck_crl, given.root_crl)
        return [
            joined(self.td.quote, *collateral, self.ccel()[0], self.dstack_log()[0]),
            joined(self.td.quote),
        ]

    def bare_azure_snp(self) -> Seeds:
        """All, and the HCL report alone, also of the other kind."""
        return [*self._bare_azure(self.snp_guest), *self._bare_azure(self.tdx_guest)]

    def bare_azure_tdx(self) -> Seeds:
        """The same, for who asks for the other kind first."""
        return [*self._bare_azure(self.tdx_guest), *self._bare_azure(self.snp_guest)]

    def _bare_azure(self, guest: AzureSigned) -> Seeds:
        found, maa = guest.evidence, MaaWorld.forge()
        tpm = (found.tpm_quote, found.tpm_signature, found.tpm_pcrs, found.runtime_data)
        opinion = (maa.token(guest), maa.keys)
        return [joined(found.hcl_report, found.td_quote, *tpm, *opinion), joined(found.hcl_report)]

    def other_platforms(self) -> Seeds:
        """Documents that carry a TDX guest's and two Azure guests' evidence."""
        found = (self.td.evidence, self.snp_guest.evidence, self.tdx_guest.evidence)
        return [
            build_document(replace(self.evidence, hardware=hardware), insecure=False) for hardware in found
        ]


CCEL_HEADER = (
    struct.pack("<II20sI", 1, 3, bytes(20), 33)
    + b"Spec ID Event03\0"
    + struct.pack("<IBBBBIHHB", 0, 0, 2, 0, 2, 1, 0x0C, 48, 0)
)


def ccel_event(register: int, kind: int, payload: bytes) -> bytes:
    """One record in the crypto-agile form, with a SHA-384 digest of its payload."""
    head = struct.pack("<IIIH", register, kind, 1, 0x0C) + hashlib.sha384(payload).digest()
    return head + struct.pack("<I", len(payload)) + payload


def efi_variable(name: str, data: bytes) -> bytes:
    """UEFI_VARIABLE_DATA."""
    return bytes(16) + struct.pack("<QQ", len(name), len(data)) + name.encode("utf-16-le") + data


def dstack_event(name: str, payload: bytes) -> dict[str, object]:
    """A runtime event as dstack logs it."""
    measured = (0x08000001).to_bytes(4, "little") + b":" + name.encode() + b":" + payload
    digest = hashlib.sha384(measured).hexdigest()
    kind = 0x08000001
    return {"imr": 3, "event_type": kind, "digest": digest, "event": name, "event_payload": payload.hex()}


def seeds_of(forge: Forge, name: str) -> Seeds:
    """What the target `name` starts from."""
    make: Callable[[], Seeds] = getattr(forge, name.replace("-", "_"))
    return make()


def write_seeds(directory: Path) -> None:
    """Write all seeds, a directory for each target."""
    forge = Forge()
    for target in TARGETS:
        place = directory / target.name
        place.mkdir(parents=True)
        for number, seed in enumerate(seeds_of(forge, target.name)):
            (place / f"seed-{number}").write_bytes(seed)
