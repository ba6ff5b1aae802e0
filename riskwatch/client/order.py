"""Which messages are news: repeats and the words of voided writers are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.client.errors import HistoryError

if TYPE_CHECKING:
    from riskwatch.client.message import Message
    from riskwatch.core.outputs import Output

WINDOW: Final = 20_000
"""Messages whose ids are remembered."""
LANES: Final = 200_000
"""Most lanes of one topic."""


class Order:
    """Lets every message pass once, and none that is older than what passed before it.

    A lane is what has an order of its own. On a plain topic that is a worker. On a compacted
    topic it is a worker and a key: compaction may leave the last record of one key, a repeat,
    behind a newer record of another key, and by the worker alone that key would be lost.

    Parameters
    ----------
    by_key : bool
        Whether the topic is compacted.
    window : int
        Messages whose ids are remembered.

    Attributes
    ----------
    repeated, outdated : int
        Messages that were dropped as seen before, and as written in a voided term.
    """

    def __init__(self, *, by_key: bool, window: int = WINDOW) -> None:
        self.repeated = 0
        self.outdated = 0
        self._by_key = by_key
        self._window = window
        self._last: dict[tuple[str, str], tuple[int, int]] = {}
        self._ids: set[str] = set()
        self._seen: dict[tuple[str, int], str] = {}
        self._forgot = False

    def passes(self, message: Message[Output]) -> bool:
        """Whether `message` is news.

        Raises
        ------
        HistoryError
            If a worker uses a number again for something else, or there are too many lanes.
        """
        lane = (message.worker, message.key if self._by_key else "")
        epoch, seq = self._last.get(lane, (-1, -1))
        if message.seq <= seq:
            self._same(message)
            self.repeated += 1
            return False
        if message.epoch < epoch:
            self.outdated += 1
            return False
        if len(self._last) >= LANES and lane not in self._last:
            raise HistoryError(f"{message.topic} has more than {LANES} keys: not read any further")
        self._last[lane] = (message.epoch, message.seq)
        news = message.output.id not in self._ids
        self._remember(message)
        self.repeated += not news
        return news

    def _same(self, message: Message[Output]) -> None:
        """Check that an old number stands for what it stood for."""
        known = self._seen.get((message.worker, message.seq))
        if known == message.output.id or (known is None and not self._forgot):
            return
        was = "long ago" if known is None else f"as {known}"
        raise HistoryError(
            f"{message.topic}: worker {message.worker} wrote number {message.seq} {was} and now as "
            f"{message.output.id}: its database was replaced, what it says is another history"
        )

    def _remember(self, message: Message[Output]) -> None:
        if len(self._seen) >= self._window:
            oldest = next(iter(self._seen))
            self._ids.discard(self._seen.pop(oldest))
            self._forgot = True
        self._seen[message.worker, message.seq] = message.output.id
        self._ids.add(message.output.id)
