"""Public trades as prices: the last price and the volume of each step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from riskwatch.core.clock import SECOND, moment
from riskwatch.core.events import Quote
from riskwatch.core.money import add, canonical
from riskwatch.feeds.record import Reason
from riskwatch.feeds.shape import FileSession
from riskwatch.feeds.values import BadCellError, step_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from riskwatch.core.events import Event
    from riskwatch.feeds.document import Record

Market = tuple[str, str, str]
"""Venue, base and quote."""
LATE_STEPS: Final = 1
"""Steps for which a step waits for trades that come late."""


class PrintSession(FileSession):
    """Base of the readings of public trades; a subclass says what a record is.

    A step without a trade gives no quote. A trade that is older than a step that has been given is
    skipped as out of order.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._step = self.labels.step_us or SECOND
        self._open: dict[int, dict[Market, tuple[int, Decimal, Decimal | None]]] = {}
        self._given = -1

    def trade(self, record: Record) -> tuple[int, Market, Decimal, Decimal | None]:
        """Return time, market, price and volume in units of the base, if that is known."""
        raise NotImplementedError

    def take(self, record: Record) -> Iterator[Event]:
        """Return the quotes of the steps that are over."""
        us, market, price, volume = self.trade(record)
        if price <= 0:
            raise BadCellError(Reason.NOT_POSITIVE, price)
        step = us // self._step
        if step <= self._given:
            raise BadCellError(Reason.OUT_OF_ORDER, f"step {step} was passed on")
        markets = self._open.setdefault(step, {})
        last = markets.get(market)
        if last is None:
            markets[market] = (us, price, volume)
        else:
            both = None if volume is None or last[2] is None else add(last[2], volume)
            markets[market] = (us, price, both) if us >= last[0] else (*last[:2], both)
        for done in sorted(each for each in self._open if each < step - LATE_STEPS):
            yield from self._quotes(done)

    def finish(self) -> Iterator[Event]:
        """Return the quotes of the last steps."""
        for step in sorted(self._open):
            yield from self._quotes(step)

    def _quotes(self, step: int) -> Iterator[Event]:
        self._given = max(self._given, step)
        markets = self._open.pop(step)
        for venue, base, quote in sorted(markets):
            _, price, volume = markets[venue, base, quote]
            yield Quote(
                v=1,
                event_id=f"{venue}:{base}{quote}:trades:{step_text(self._step)}:{step}",
                ts=moment((step + 1) * self._step),
                source=f"{venue}-trades",
                source_seq=step,
                venue=venue,
                base=base,
                quote=quote,
                last=price,
                volume=None if volume is None else canonical(volume),
            )
