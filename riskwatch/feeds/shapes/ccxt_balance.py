"""A balance of ccxt (``fetch_balance``): a complete snapshot of one wallet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from riskwatch.core.clock import moment
from riskwatch.core.events import AccountSnapshot, Balance
from riskwatch.core.money import ZERO, add, sub
from riskwatch.feeds.document import Form, Record
from riskwatch.feeds.record import Reason
from riskwatch.feeds.shape import ACCOUNT, AS_OF, FileSession, FileShape, Fit, amount, needed_name
from riskwatch.feeds.values import BadCellError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.events import Event
    from riskwatch.feeds.document import Document
    from riskwatch.feeds.shape import FileLabels, FileReport

_PARTS = ("free", "used", "total")


class CcxtBalance(FileShape):
    """The free and the used amount of each coin, and nothing of coins that are not listed."""

    name = "ccxt-balance"
    about = "ccxt: fetch_balance, as JSON"
    gives = "balance, account_snapshot"
    variants: ClassVar = (frozenset({"free", "used", "total"}),)
    needs: ClassVar = (ACCOUNT,)
    forms: ClassVar = (Form.JSON,)

    def fit(self, document: Document) -> Fit:
        """Return how well a file fits: the three parts, each with coins."""
        value = document.value
        if document.form is not Form.JSON or not isinstance(value, dict):
            return Fit(0, (), ("a JSON object",))
        missing = tuple(part for part in _PARTS if not isinstance(value.get(part), dict))
        found = tuple(part for part in _PARTS if part not in missing)
        return Fit(0 if missing else 20, found, missing)

    def needed(self, document: Document) -> tuple[str, ...]:
        """Return the options that are needed: some venues state no time."""
        found = super().needed(document)
        return found if document.value.get("timestamp") else (*found, AS_OF)

    def records(self, document: Document, report: FileReport) -> Iterator[Record]:
        """Yield one record for each coin."""
        value = document.value
        coins = sorted({coin for part in _PARTS for coin in value[part]})
        for row, coin in enumerate(coins, 1):
            report.tally.read += 1
            cells = {part: value[part].get(coin) for part in _PARTS}
            debt = value.get("debt")
            yield Record(row, {"coin": coin, "debt": (debt or {}).get(coin), **cells})

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        return _CcxtBalanceSession(document, labels, report, f"{labels.venue}-ccxt")


class _CcxtBalanceSession(FileSession):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._assets: list[str] = []
        self._wallet = self.labels.wallet or None
        stamp = self.document.value.get("timestamp")
        self._us = self.time(stamp) if stamp else self.labels.as_of_us or 0

    def take(self, record: Record) -> Iterator[Event]:
        """Return the balance of a coin; one of which nothing is held is left to the snapshot."""
        cells = record.cells
        asset = needed_name(cells["coin"])
        whole = amount(cells["total"], ZERO)
        used = amount(cells["used"], ZERO)
        free = amount(cells["free"], sub(whole, used))
        debt = amount(cells["debt"], ZERO)
        if not (whole or used or free or debt):
            raise BadCellError(Reason.NO_EFFECT, asset)
        if cells["total"] is not None:
            self.report.compare(add(free, used), whole)
        self._assets.append(asset)
        place = f"{self.labels.account}:{self._wallet or ''}:{asset}:{self._us}"
        yield Balance(
            v=1, event_id=place, ts=moment(self._us), source=self.source, asset=asset, free=free,
            locked=used, borrowed=debt or None, wallet=self._wallet, book=self.labels.book,
            counterparty=self.labels.venue, account=self.labels.account,
        )  # fmt: skip

    def finish(self) -> Iterator[Event]:
        """Return the statement that these are all coins of the wallet."""
        labels = self.labels
        yield AccountSnapshot(
            v=1, event_id=f"{labels.account}:{self._wallet or ''}:snapshot:{self._us}",
            ts=moment(self._us), source=self.source, counterparty=labels.venue,
            account=labels.account, wallet=self._wallet, assets=self._assets,
        )  # fmt: skip
