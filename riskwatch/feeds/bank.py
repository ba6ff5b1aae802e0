"""Entries of banks as events: what the readers of all kinds of bank statements share."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from riskwatch.core.clock import DAY
from riskwatch.core.money import ZERO, add
from riskwatch.feeds.document import Record
from riskwatch.feeds.record import Reason
from riskwatch.feeds.shape import FileSession, name_of, text
from riskwatch.feeds.values import BadCellError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from riskwatch.core.events import AdjustmentKind, Event

OPENING: Final = "opening"
CLOSING_BALANCE: Final = "closing"
ENTRY: Final = "entry"


class BankEntry(NamedTuple):
    """One line of a statement: an entry, or the balance before or after all entries.

    Attributes
    ----------
    what : str
        ``opening``, ``entry`` or ``closing``.
    statement : str
        Id of the statement in its file.
    account, asset : str
        Account as the bank writes it, and currency.
    amount : Decimal
        Signed: positive for what comes in.
    date : str
        Day of the booking.
    entry : str
        The bank's reference of an entry; empty if it has none.
    kind : str or None
        Kind of adjustment if it is no payment: interest or a fee.
    is_final : bool
        Whether it is booked.
    """

    what: str
    statement: str
    account: str
    asset: str
    amount: Decimal
    date: str
    entry: str = ""
    kind: AdjustmentKind | None = None
    is_final: bool = True


class BankSession(FileSession):
    """The reading of one statement; a record has one cell, the :class:`BankEntry`."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._sums: dict[str, Decimal] = {}
        self._several = len(self.accounts()) > 1

    def accounts(self) -> set[str]:
        """Return the accounts of the file, as names."""
        return set()

    def take(self, record: Record) -> Iterator[Event]:
        """Return the event of an entry; balances are compared with the sum of the entries."""
        line: BankEntry = record.cells["line"]
        if self._several:
            self.labels = replace(self.labels, account=name_of(line.account))
        if not line.is_final:
            raise BadCellError(Reason.NOT_FINAL, line.entry)
        day = self.time(line.date)
        if line.what == OPENING:
            self._sums[line.statement] = line.amount
            return
        if line.what == CLOSING_BALANCE:
            found = self._sums.get(line.statement)
            if found is not None:
                self.report.compare(found, line.amount)
            # Nothing follows on this day, so the balance is that of its last microsecond.
            self.state(day + DAY - 1, record.row, line.asset, (ZERO, line.amount))
            return
        before = self._sums.get(line.statement)
        if before is not None:
            balance = self._sums[line.statement] = add(before, line.amount)
            self.state(day, record.row, line.asset, (line.amount, balance))
        entry = line.entry or self.row_id(Record(0, _plain(line)))
        if line.kind is None:
            yield self.movement(entry, day, line.asset, line.amount)
        else:
            yield self.adjustment(entry, day, line.asset, line.amount, line.kind)


def _plain(line: BankEntry) -> dict[str, str]:
    """Return an entry as cells, so that an id can be made of it."""
    return {name: text(value) for name, value in zip(line._fields, line, strict=True)}
