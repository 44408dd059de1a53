"""What a worker sees when there is no keeper to ask."""

from __future__ import annotations


class KeeperGone(ConnectionError):  # noqa: N818 - field term
    """The keeper died or closed: no answer will come, and nothing can be admitted or settled any more."""
