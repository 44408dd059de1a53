"""The commands of the client, one module each; `attestation.cli` puts them together."""
