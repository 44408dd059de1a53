"""The statement tree has RFC 6962's shape, every leaf proves, and nothing else does."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.errors import MalformedEvidence
from attestation.formats import merkle
from attestation.formats.merkle import (
    inclusion_path,
    inclusion_paths,
    leaf_hash,
    node_hash,
    root_from_path,
    tree_root,
)


def rfc_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word: split at the largest power of two below n."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    inner = b"\x01" + rfc_root(leaves[:split]) + rfc_root(leaves[split:])
    return hashlib.sha512(inner).digest()


def tree(size: int) -> list[bytes]:
    """Distinct leaf hashes."""
    return [leaf_hash(index.to_bytes(4, "big")) for index in range(size)]


def test_a_leaf_hash_is_sha512_over_a_zero_byte_and_the_statement() -> None:
    assert leaf_hash(b"statement") == hashlib.sha512(b"\x00statement").digest()


def test_the_root_of_one_statement_is_its_leaf_hash() -> None:
    assert tree_root(tree(1)) == tree(1)[0]


@given(st.integers(1, 300))
@settings(deadline=None, max_examples=60)
def test_the_root_has_the_shape_of_rfc_6962(size: int) -> None:
    assert tree_root(tree(size)) == rfc_root(tree(size))


@given(st.integers(1, 130))
@settings(deadline=None, max_examples=40)
def test_every_leaf_of_any_tree_proves(size: int) -> None:
    leaves = tree(size)
    root, paths = inclusion_paths(leaves)
    for index, path in enumerate(paths):
        assert root_from_path(leaves[index], index, size, path) == root


def proves(leaf: bytes, index: int, size: int, path: tuple[bytes, ...], root: bytes) -> bool:
    """Whether a verifier would believe it."""
    try:
        return root_from_path(leaf, index, size, path) == root
    except MalformedEvidence:
        return False


@given(st.integers(2, 130), st.data())
@settings(deadline=None, max_examples=150)
def test_any_mutation_of_leaf_path_or_index_fails(size: int, data: st.DataObject) -> None:
    leaves = tree(size)
    index = data.draw(st.integers(0, size - 1))
    root, path = tree_root(leaves), inclusion_path(leaves, index)
    assert proves(leaves[index], index, size, path, root)
    step = data.draw(st.integers(0, len(path) - 1))
    bit = 1 << data.draw(st.integers(0, 7))
    spoilt = bytes([path[step][0] ^ bit]) + path[step][1:]
    other = data.draw(st.integers(0, size - 1).filter(lambda i: i != index))
    assert not proves(leaves[index], index, size, (*path[:step], spoilt, *path[step + 1 :]), root)
    assert not proves(leaves[index], index, size, path[:-1], root)
    assert not proves(leaves[index], index, size, (*path, path[0]), root)
    assert not proves(leaves[other], index, size, path, root)
    assert not proves(leaves[index], other, size, path, root)


def test_an_inner_node_does_not_pass_for_a_leaf() -> None:
    left, right = tree(2)
    assert leaf_hash(left + right) != tree_root([left, right])
    assert not proves(leaf_hash(b"\x01" + left + right), 0, 1, (), tree_root([left, right]))


@pytest.mark.parametrize(("index", "size"), [(-1, 1), (1, 1), (0, 0), (0, (1 << 20) + 1)])
def test_refuses_an_index_outside_the_tree_and_a_tree_too_large(index: int, size: int) -> None:
    with pytest.raises(MalformedEvidence):
        root_from_path(leaf_hash(b""), index, size, ())


def test_refuses_a_sibling_of_the_wrong_length() -> None:
    with pytest.raises(MalformedEvidence):
        root_from_path(leaf_hash(b""), 0, 2, (bytes(63),))


def test_an_empty_tree_has_no_root() -> None:
    with pytest.raises(ValueError, match="between 1 and"):
        tree_root([])


def test_ten_thousand_paths_cost_one_hash_for_each_inner_node(monkeypatch: pytest.MonkeyPatch) -> None:
    leaves, hashed = tree(10_000), []

    def counted(left: bytes, right: bytes) -> bytes:
        hashed.append(1)
        return node_hash(left, right)

    with monkeypatch.context() as patch:
        patch.setattr(merkle, "node_hash", counted)
        root, paths = inclusion_paths(leaves)
    assert len(hashed) == 9_999
    assert root_from_path(leaves[9_999], 9_999, 10_000, paths[9_999]) == root
