"""Merkle tree over pending statements, so that one hardware report answers any number of nonces.

Shape: RFC 6962 section 2.1 (RFC 9162 section 2.1): a tree of n > 1 leaves splits at the largest power of two
below n; nothing is duplicated or padded. Hash: SHA-512, because report data is 64 bytes on every platform.
Leaf and inner node carry different prefixes, so that neither can pass for the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from attestation.errors import MalformedEvidence

HASH_BYTES = 64
MAX_TREE_SIZE = 1 << 20


def leaf_hash(data: bytes) -> bytes:
    """Return SHA-512(0x00 || data), 64 bytes."""
    return hashlib.sha512(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-512(0x01 || left || right), 64 bytes."""
    return hashlib.sha512(b"\x01" + left + right).digest()


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over at least one leaf *hash*; with one leaf the root is that leaf hash."""
    return inclusion_paths(leaves)[0]


def inclusion_path(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the sibling hashes that lead from leaf `index` to the root, lowest first."""
    return inclusion_paths(leaves)[1][index]


def inclusion_paths(leaves: Sequence[bytes]) -> tuple[bytes, tuple[tuple[bytes, ...], ...]]:
    """Return the root and the path of every leaf in one pass: n - 1 hashes instead of n for each leaf.

    An inner node is folded level by level; an odd node out rises unchanged, which gives exactly the RFC's
    shape. Raises ValueError for an empty tree: nobody has anything to prove with it.
    """
    if not leaves or len(leaves) > MAX_TREE_SIZE:
        raise ValueError("a statement tree has between 1 and 2^20 leaves")
    paths: list[list[bytes]] = [[] for _ in leaves]
    level, width = list(leaves), 1
    while len(level) > 1:
        for position, path in enumerate(paths):
            sibling = (position // width) ^ 1
            if sibling < len(level):
                path.append(level[sibling])
        level = _fold(level)
        width *= 2
    return level[0], tuple(tuple(path) for path in paths)


def _fold(level: Sequence[bytes]) -> list[bytes]:
    pairs = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    return pairs + list(level[len(pairs) * 2 :])


def root_from_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root that `path` claims for leaf hash `leaf` at `index` of a tree with `size` leaves.

    The caller compares it with what the hardware signed. Raises MalformedEvidence if index, size and path
    length cannot belong together, so that one leaf has exactly one acceptable path.
    """
    if not 0 <= index < size <= MAX_TREE_SIZE:
        raise MalformedEvidence("inclusion: index is outside the tree")
    node, position, last, rest = leaf, index, size - 1, list(path)
    while last > 0:
        if position % 2 == 1 or position < last:
            sibling = _next_sibling(rest)
            node = node_hash(sibling, node) if position % 2 == 1 else node_hash(node, sibling)
        position, last = position // 2, last // 2
    if rest:
        raise MalformedEvidence("inclusion: the path is longer than the tree is deep")
    return node


def _next_sibling(rest: list[bytes]) -> bytes:
    if not rest or len(rest[0]) != HASH_BYTES:
        raise MalformedEvidence("inclusion: the path is too short or holds a wrong hash length")
    return rest.pop(0)
