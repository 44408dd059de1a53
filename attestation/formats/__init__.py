"""The wire formats of docs/spec: statement, Merkle tree, manifest, document."""
