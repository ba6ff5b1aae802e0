"""The dedupe window: the identities of the last applied events, with digests of their content.

An offset identifies a re-delivered record. The window identifies a *re-sent* event, which has a new
offset and the old `event_id`. An identity counts within its topic. The digest of the content tells
a repeat from another event under the same identity. The window is a ring of blocks. Only the
current block changes, so a batch rewrites two rows, whatever the size of the window.

Builds before engine 0.3.0 kept identities across topics and no content. Their entries stay valid
until they leave the window: an event with such an identity is a repeat, whatever its content.
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
CONTENT_WIDTH: Final = 8
"""Bytes of the digest of a content: another content is taken for a repeat once in 2**64 times."""
NOT_COMPARED: Final = bytes(CONTENT_WIDTH)
"""Stands for the content of messages between workers, whose identity alone decides."""
_BLOCK_ROW: Final = "block/"
_CONTENT_ROW: Final = "content/"
_OLDER: Final = b""
"""Stands for the content of an entry that a build before engine 0.3.0 wrote."""


def identity_digest(topic: str, identity: str) -> bytes:
    """Return the digest of an event's identity (:func:`riskwatch.core.events.identity`) in a topic.

    Examples
    --------
    >>> len(identity_digest("riskwatch.fills", "kraken/1"))
    16
    """
    # Neither a topic nor an identity has a line break, so no two pairs give the same bytes.
    return blake2b(f"{topic}\n{identity}".encode(), digest_size=WIDTH).digest()


def older_identity_digest(identity: str) -> bytes:
    """Return the digest of an identity as builds before engine 0.3.0 stored it."""
    return blake2b(identity.encode(), digest_size=WIDTH).digest()


def content_digest(content: bytes) -> bytes:
    """Return the digest of the canonical content of an event; never :data:`NOT_COMPARED`."""
    digest = blake2b(content, digest_size=CONTENT_WIDTH).digest()
    return digest if digest != NOT_COMPARED else b"\x01" + NOT_COMPARED[1:]


class DedupeWindow:
    """The identities of the last applied events, and the digests of their content.

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
    >>> mark = identity_digest("riskwatch.fills", "kraken/1")
    >>> window.remember(mark, content_digest(b"one"))
    >>> window.content(mark) == content_digest(b"one")
    True
    >>> sorted(window.drain())
    ['block/00', 'content/00']
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
        self._contents: dict[bytes, bytes] = {}
        self._older = 0
        self._drained = 0
        self._dirty = False

    def __len__(self) -> int:
        return len(self._contents)

    @property
    def has_older(self) -> bool:
        """Whether entries of a build before engine 0.3.0 are left."""
        return self._older > 0

    def content(self, mark: bytes) -> bytes | None:
        """Return the digest of the content under an :func:`identity_digest`; ``None`` if absent."""
        return self._contents.get(mark)

    def contains_older(self, identity: str) -> bool:
        """Whether a build before engine 0.3.0 applied an event of this identity, of any topic."""
        return self._contents.get(older_identity_digest(identity)) == _OLDER

    def remember(self, mark: bytes, content: bytes = NOT_COMPARED) -> None:
        """Add an identity that is not in the window, by its digest, with that of its content."""
        assert mark not in self._contents, "an identity is remembered once"
        assert len(content) == CONTENT_WIDTH, "only older entries have no content"
        current = self._current
        if len(current) >= self._size:
            current = self._start_block()
        current.append(mark)
        self._contents[mark] = content
        self._dirty = True

    def _start_block(self) -> list[bytes]:
        """Start the next block and drop the oldest, whose rows it takes."""
        self._ordinal += 1
        self._current = self._ring[self._ordinal] = []
        for mark in self._ring.pop(self._ordinal - self._count, ()):
            if self._contents.pop(mark) == _OLDER:
                self._older -= 1
        return self._current

    def drain(self) -> RowChanges:
        """Return the rows that changed since the last call, keys sorted."""
        if not self._dirty:
            return {}
        first = max(self._drained, self._ordinal - self._count + 1)
        rows: RowChanges = {}
        for ordinal in range(first, self._ordinal + 1):
            head, marks = ordinal.to_bytes(_ORDINAL, "big"), self._ring[ordinal]
            rows[self._key(_BLOCK_ROW, ordinal)] = head + b"".join(marks)
            # Entries of an older build are the first of their block, and have no content.
            contents = b"".join([self._contents[mark] for mark in marks])
            if contents:
                rows[self._key(_CONTENT_ROW, ordinal)] = head + contents
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
        blocks = {key: row for key, row in rows.items() if key.startswith(_BLOCK_ROW)}
        if not blocks:
            return
        ring: dict[int, list[bytes]] = {}
        for key, row in blocks.items():
            ordinal, body = int.from_bytes(row[:_ORDINAL], "big"), row[_ORDINAL:]
            if key != self._key(_BLOCK_ROW, ordinal) or len(body) % WIDTH:
                raise self._shape_error()
            ring[ordinal] = _split(body, WIDTH)
        last = max(ring)
        if sorted(ring) != list(range(max(0, last - self._count + 1), last + 1)):
            raise self._shape_error()
        for ordinal in sorted(ring):
            size = len(ring[ordinal])
            if size > self._size or size < (self._size if ordinal < last else 1):
                raise self._shape_error()
            contents = self._load_contents(rows, ordinal, size)
            self._older += contents.count(_OLDER)
            self._contents.update(zip(ring[ordinal], contents, strict=True))
        self._ring = ring
        self._ordinal = self._drained = last
        self._current = self._ring[last]

    def _load_contents(self, rows: dict[str, Row], ordinal: int, size: int) -> list[bytes]:
        """Return the digests of content of one block, the oldest first."""
        head = ordinal.to_bytes(_ORDINAL, "big")
        row = rows.get(self._key(_CONTENT_ROW, ordinal), head)
        body = row[_ORDINAL:]
        if row[:_ORDINAL] != head or len(body) % CONTENT_WIDTH or len(body) > size * CONTENT_WIDTH:
            raise self._shape_error()
        contents = _split(body, CONTENT_WIDTH)
        return [_OLDER] * (size - len(contents)) + contents

    def _key(self, row: str, ordinal: int) -> str:
        return f"{row}{ordinal % self._count:02}"

    def _shape_error(self) -> ValueError:
        return ValueError(
            f"the stored window of seen events is not one of {self._count} blocks of {self._size}"
        )


def _split(body: bytes, width: int) -> list[bytes]:
    return [body[i : i + width] for i in range(0, len(body), width)]
