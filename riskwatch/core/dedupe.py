"""The dedupe window: a bounded set of the identities of applied events, stored as rows.

An offset identifies a re-delivered record. The window identifies a *re-sent* event, which has a new
offset and the old `event_id`. The window is a ring of blocks. Only the current block changes, so a
batch rewrites one row, whatever the size of the window.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from riskwatch.core.stage import Row, RowChanges

WIDTH: Final = 16
"""Bytes of one digest: among 2**20 identities the probability of a collision is 2**-88."""
BLOCK: Final = 4096
"""Number of identities per row."""
BLOCKS: Final = 64
"""Number of rows of the ring."""
_ORDINAL: Final = 8


def identity_digest(identity: str) -> bytes:
    """Return the digest of an event's identity (:func:`riskwatch.core.events.identity`).

    Examples
    --------
    >>> len(identity_digest("kraken/1"))
    16
    """
    return blake2b(identity.encode(), digest_size=WIDTH).digest()


class DedupeWindow:
    """The identities of the last applied events.

    The window holds at least ``(blocks - 1) * block`` identities and at most ``blocks * block``. It
    does *not* recognise an event that is sent again after that many others.

    Parameters
    ----------
    block : int, optional
        Number of identities per row.
    blocks : int, optional
        Number of rows of the ring, at least 2.

    Examples
    --------
    >>> window = DedupeWindow()
    >>> window.check_and_add("kraken/1"), window.check_and_add("kraken/1")
    (False, True)
    >>> sorted(window.drain())
    ['block/00']
    """

    def __init__(self, block: int = BLOCK, blocks: int = BLOCKS) -> None:
        if block < 1 or blocks < 2:
            raise ValueError(
                f"the window needs block >= 1 and blocks >= 2, was {block} and {blocks}"
            )
        self._size = block
        self._count = blocks
        self._ring: dict[int, list[bytes]] = {0: []}
        self._ordinal = 0
        self._current = self._ring[0]
        # Used for membership only, so its order does not matter.
        self._known: set[bytes] = set()
        self._drained = 0
        self._dirty = False

    def __len__(self) -> int:
        return len(self._known)

    def contains(self, digest: bytes) -> bool:
        """Whether the identity with this :func:`identity_digest` is in the window."""
        return digest in self._known

    def remember(self, digest: bytes) -> None:
        """Add the :func:`identity_digest` of an identity that is not in the window."""
        assert digest not in self._known, "an identity is remembered once"
        current = self._current
        if len(current) >= self._size:
            current = self._start_block()
        current.append(digest)
        self._known.add(digest)
        self._dirty = True

    def check_and_add(self, identity: str) -> bool:
        """Return whether `identity` is in the window, and add it if it is not."""
        digest = identity_digest(identity)
        if digest in self._known:
            return True
        self.remember(digest)
        return False

    def _start_block(self) -> list[bytes]:
        """Start the next block and drop the oldest, whose row it takes."""
        self._ordinal += 1
        self._current = self._ring[self._ordinal] = []
        self._known.difference_update(self._ring.pop(self._ordinal - self._count, ()))
        return self._current

    def drain(self) -> RowChanges:
        """Return the rows that changed since the last call, keys sorted."""
        if not self._dirty:
            return {}
        first = max(self._drained, self._ordinal - self._count + 1)
        rows: RowChanges = {
            self._key(ordinal): ordinal.to_bytes(_ORDINAL, "big") + b"".join(self._ring[ordinal])
            for ordinal in range(first, self._ordinal + 1)
        }
        self._drained = self._ordinal
        self._dirty = False
        return dict(sorted(rows.items()))

    def load(self, rows: dict[str, Row]) -> None:
        """Load the window from its rows; called once, before the first use.

        Raises
        ------
        ValueError
            If the rows were written by a window of another shape.
        """
        if not rows:
            return
        ring: dict[int, list[bytes]] = {}
        for key, row in rows.items():
            ordinal, body = int.from_bytes(row[:_ORDINAL], "big"), row[_ORDINAL:]
            if key != self._key(ordinal) or len(body) % WIDTH:
                raise self._shape_error()
            ring[ordinal] = [body[i : i + WIDTH] for i in range(0, len(body), WIDTH)]
        last = max(ring)
        if sorted(ring) != list(range(max(0, last - self._count + 1), last + 1)):
            raise self._shape_error()
        for ordinal in sorted(ring):
            size = len(ring[ordinal])
            if size > self._size or size < (self._size if ordinal < last else 1):
                raise self._shape_error()
            self._known.update(ring[ordinal])
        self._ring = ring
        self._ordinal = self._drained = last
        self._current = self._ring[last]

    def _key(self, ordinal: int) -> str:
        return f"block/{ordinal % self._count:02}"

    def _shape_error(self) -> ValueError:
        return ValueError(
            f"the stored window of seen events is not one of {self._count} blocks of {self._size}"
        )
