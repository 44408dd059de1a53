"""Encrypted HTTP Body Protocol (EHBP), both ends, without I/O. Spec: Tinfoil EHBP SPEC.md; HPKE is RFC 9180.

Suite: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. A body is a row of frames, each
`u32be length || ciphertext`; empty frames carry nothing and are skipped. The response's keys come from the
request's HPKE context, so a response that opens was made by the holder of the attested key.

What it does not do: hide path, headers or sizes, or mark the end. Cutting whole frames off the end is
invisible here; who uses this checks completeness of what was inside (`[DONE]`, JSON).
"""

from __future__ import annotations

import re
import secrets
import struct
from collections.abc import Iterator, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pyhpke import AEADId, CipherSuite, ContextInterface, KDFId, KEMId, OpenError, PyHPKEError

from attestation.errors import AttestationError

KEY_BYTES = 32
FRAME_BYTES = 64 * 1024  # plaintext per frame that we seal
MAX_FRAME_BYTES = 64 * 1024 * 1024  # ciphertext per frame that we accept; unmodified clients cap there too
MEDIA_TYPE = "application/ohttp-keys"  # of the key configuration; clients compare the whole string
KEY_PROBLEM = "urn:ietf:params:ehbp:error:key-config"
ENCAPSULATED_KEY_HEADER = "Ehbp-Encapsulated-Key"
RESPONSE_NONCE_HEADER = "Ehbp-Response-Nonce"

_TAG_BYTES = 16
_INFO = b"ehbp request"
_EXPORT_LABEL = b"ehbp response"
_CONFIG_HEAD = struct.pack(">BH", 0, KEMId.DHKEM_X25519_HKDF_SHA256.value)
_CONFIG_TAIL = struct.pack(">HHH", 4, KDFId.HKDF_SHA256.value, AEADId.AES256_GCM.value)
_SUITE = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES256_GCM)
_HEX_32 = re.compile(r"[0-9a-f]{64}\Z")


class EhbpError(AttestationError):
    """Their bytes are wrong: a malformed header or frame, or a frame that was changed, moved or cut."""


class EhbpKeyMismatch(EhbpError):  # noqa: N818 - a field term
    """The first frame does not open with any key we hold: sealed to another, probably older key."""


def key_config(public: bytes) -> bytes:
    """Return the raw 41-byte key configuration (RFC 9458 section 3.1) of a 32-byte X25519 public key."""
    if len(public) != KEY_BYTES:
        raise ValueError("an X25519 public key has 32 bytes")
    return _CONFIG_HEAD + public + _CONFIG_TAIL


def parse_key_config(raw: bytes) -> bytes:
    """Return the public key of a `key_config`. Raises EhbpError for any other key id, suite or length."""
    start, end = len(_CONFIG_HEAD), len(_CONFIG_HEAD) + KEY_BYTES
    if raw[:start] != _CONFIG_HEAD or raw[end:] != _CONFIG_TAIL:
        raise EhbpError("not an EHBP key configuration (key id 0, X25519, HKDF-SHA256, AES-256-GCM)")
    return raw[start:end]


class _Frames:
    """Cuts a byte stream, split anywhere, back into frames. Holds at most one frame that is not whole."""

    def __init__(self, max_frame: int) -> None:
        self._max_frame = max_frame
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Add bytes; yield the ciphertext of every frame now whole, empty ones excepted."""
        self._buffer += data
        while len(self._buffer) >= 4:
            length = int.from_bytes(self._buffer[:4], "big")
            if length > self._max_frame or 0 < length < _TAG_BYTES:
                raise EhbpError("a sealed frame has an impossible length")
            if len(self._buffer) < 4 + length:
                return
            frame = bytes(self._buffer[4 : 4 + length])
            del self._buffer[: 4 + length]
            if frame:
                yield frame

    def finish(self) -> None:
        """Raises EhbpError if the stream ended inside a frame."""
        if self._buffer:
            raise EhbpError("a sealed body ended within a frame")


class RequestSealer:
    """Client end of one request. `encapsulated_key` goes into the request header `Ehbp-Encapsulated-Key`."""

    def __init__(self, public_key: bytes) -> None:
        """Takes the attested 32-byte X25519 key. Raises EhbpError if it is unusable."""
        try:
            key = _SUITE.kem.deserialize_public_key(public_key)
            self._encapsulated, self._context = _SUITE.create_sender_context(key, _INFO)
        except (PyHPKEError, ValueError) as error:
            raise EhbpError("the sealing key is not a usable X25519 key") from error
        self.encapsulated_key: str = self._encapsulated.hex()

    def seal(self, chunk: bytes) -> bytes:
        """Return `chunk` as frames of at most 64 KiB plaintext; nothing for an empty chunk."""
        return b"".join(_frame(self._context.seal(piece)) for piece in _pieces(chunk))

    def response_opener(self, nonce_hex: str, *, max_frame: int = MAX_FRAME_BYTES) -> ResponseOpener:
        """Return the opener for the response whose `Ehbp-Response-Nonce` this is. Raises EhbpError."""
        nonce = _hex_32(nonce_hex, RESPONSE_NONCE_HEADER)
        return ResponseOpener(_ResponseKeys(self._context, self._encapsulated, nonce), max_frame)


class ResponseOpener:
    """Client end of one response: proves, frame by frame, that the attested key's holder made it."""

    def __init__(self, keys: _ResponseKeys, max_frame: int) -> None:
        self._keys = keys
        self._frames = _Frames(max_frame)
        self._failed = False
        self.opened = 0  # frames opened so far: 0 at the end of a body means that nothing was proven

    def feed(self, data: bytes) -> bytes:
        """Return the plaintext of the frames that `data` completes. Raises EhbpError, then for ever."""
        if self._failed:
            raise EhbpError("this sealed response failed before")
        try:
            plain = b"".join(map(self._open, self._frames.feed(data)))
        except EhbpError:
            self._failed = True
            raise
        return plain

    def finish(self) -> None:
        """Call at the end of the body. Raises EhbpError if it ended inside a frame or failed before."""
        if self._failed:
            raise EhbpError("this sealed response failed before")
        self._frames.finish()

    def _open(self, frame: bytes) -> bytes:
        plain = self._keys.open(frame)
        self.opened += 1
        return plain


class RequestOpener:
    """Server end of one request. Tries `private_key` first, then `older_keys`, on the first frame."""

    def __init__(
        self,
        private_key: bytes,
        encapsulated_key_hex: str,
        *,
        older_keys: Sequence[bytes] = (),
        max_frame: int = MAX_FRAME_BYTES,
    ) -> None:
        """Keys are raw 32-byte X25519. Raises EhbpError if the encapsulated key is malformed."""
        self._encapsulated = _hex_32(encapsulated_key_hex, ENCAPSULATED_KEY_HEADER)
        self._candidates = [_recipient(key, self._encapsulated) for key in (private_key, *older_keys)]
        self._context: ContextInterface | None = None
        self._frames = _Frames(max_frame)
        self._failed = False
        self.opened_by: int | None = None
        """Which key opened it: 0 for `private_key`, n for the n-th of `older_keys`; None before that."""

    def feed(self, data: bytes) -> bytes:
        """Return the plaintext of the frames that `data` completes.

        Raises EhbpKeyMismatch if the first frame opens with no key, EhbpError for anything else; after either
        the opener is spent.
        """
        if self._failed:
            raise EhbpError("this sealed request failed before")
        try:
            return b"".join(map(self._open, self._frames.feed(data)))
        except EhbpError:
            self._failed = True
            raise

    def finish(self) -> None:
        """Call at the end of the body. Raises EhbpError if it is empty, cut within a frame, or failed."""
        if self._failed:
            raise EhbpError("this sealed request failed before")
        self._frames.finish()
        if self._context is None:
            raise EhbpError("a request with an encapsulated key has an empty body")

    def response_sealer(self) -> ResponseSealer:
        """Return a sealer with a fresh nonce. Raises EhbpError before the first frame has opened."""
        if self._context is None:
            raise EhbpError("no frame of the request has opened yet: there is no context to answer in")
        return ResponseSealer(self._context, self._encapsulated)

    def _open(self, frame: bytes) -> bytes:
        if self._context is not None:
            try:
                return self._context.open(frame)
            except OpenError as error:
                raise EhbpError("a sealed frame was changed, repeated or moved") from error
        for number, candidate in enumerate(self._candidates):
            try:
                plain = candidate.open(frame)
            except OpenError:
                continue
            self._context, self.opened_by = candidate, number
            return plain
        raise EhbpKeyMismatch("the request is sealed to a key that is not held here")


class ResponseSealer:
    """Server end of one response. `nonce_hex` goes into the response header `Ehbp-Response-Nonce`."""

    def __init__(self, context: ContextInterface, encapsulated: bytes) -> None:
        nonce = secrets.token_bytes(KEY_BYTES)
        self.nonce_hex: str = nonce.hex()
        self._keys = _ResponseKeys(context, encapsulated, nonce)

    def seal(self, chunk: bytes) -> bytes:
        """Return `chunk` as frames of at most 64 KiB plaintext; nothing for an empty chunk."""
        return b"".join(_frame(self._keys.seal(piece)) for piece in _pieces(chunk))


class _ResponseKeys:
    """AES-256-GCM under keys that both ends derive from the request's context; frame i uses iv XOR i."""

    def __init__(self, context: ContextInterface, encapsulated: bytes, nonce: bytes) -> None:
        secret = context.export(_EXPORT_LABEL, KEY_BYTES)
        salt = encapsulated + nonce
        self._key = AESGCM(HKDF(SHA256(), 32, salt, b"key").derive(secret))
        self._iv = int.from_bytes(HKDF(SHA256(), 12, salt, b"nonce").derive(secret), "big")
        self._count = 0

    def seal(self, plain: bytes) -> bytes:
        return self._key.encrypt(self._next_iv(), plain, None)

    def open(self, frame: bytes) -> bytes:
        try:
            return self._key.decrypt(self._next_iv(), frame, None)
        except InvalidTag as error:
            raise EhbpError(
                "a sealed response frame does not open: not from the attested key, or changed"
            ) from error

    def _next_iv(self) -> bytes:
        iv = (self._iv ^ self._count).to_bytes(12, "big")
        self._count += 1
        return iv


def _recipient(private_key: bytes, encapsulated: bytes) -> ContextInterface:
    try:
        key = _SUITE.kem.deserialize_private_key(private_key)
        return _SUITE.create_recipient_context(encapsulated, key, _INFO)
    except (PyHPKEError, ValueError) as error:
        raise EhbpError("the encapsulated key is not a usable X25519 key") from error


def _hex_32(text: str, header: str) -> bytes:
    if not _HEX_32.match(text):
        raise EhbpError(f"{header} is not 64 lowercase hex digits")
    return bytes.fromhex(text)


def _pieces(chunk: bytes) -> Iterator[bytes]:
    return (chunk[start : start + FRAME_BYTES] for start in range(0, len(chunk), FRAME_BYTES))


def _frame(ciphertext: bytes) -> bytes:
    return len(ciphertext).to_bytes(4, "big") + ciphertext
