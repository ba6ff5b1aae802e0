"""Bank statements of SWIFT: MT940."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, Final

from riskwatch.errors import FeedError
from riskwatch.feeds.bank import CLOSING_BALANCE, ENTRY, OPENING, BankEntry, BankSession
from riskwatch.feeds.document import Form, Record
from riskwatch.feeds.shape import FileShape, Fit, amount, name_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.events import AdjustmentKind
    from riskwatch.feeds.document import Document
    from riskwatch.feeds.shape import FileLabels, FileReport, FileSession

_START: Final = re.compile(r"^(?:\{1:[^\n]*)?:20:", re.MULTILINE)
_NO_REFERENCE: Final = frozenset({"", "NONREF"})
_DEBITS: Final = frozenset({"D", "RC"})
_KINDS: Final[dict[str, AdjustmentKind]] = {"NINT": "interest", "NCHG": "fee", "NCOM": "fee"}
"""Kind by the code of a transaction; the first letter says how the code is agreed."""


class Mt940(FileShape):
    """Statements of one or several accounts, each with the balance before and after its entries."""

    name = "mt940"
    about = "SWIFT: bank statements MT940"
    gives = "transfer, adjustment, balance"
    forms: ClassVar = (Form.SWIFT,)

    def fit(self, document: Document) -> Fit:
        """Return how well a file fits: any message that begins like one does."""
        return Fit(20 if document.form is Form.SWIFT else 0)

    def account_of(self, document: Document) -> str | None:
        """Return the account, or of several the first: entries name their own."""
        return next((name_of(line.account) for line in _lines(document) if line.account), None)

    def records(self, document: Document, report: FileReport) -> Iterator[Record]:
        """Yield one record for each balance and each entry."""
        for row, line in enumerate(_lines(document), 1):
            report.tally.read += 1
            yield Record(row, {"line": line})

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        return _Mt940Session(document, labels, report, f"{labels.venue}-statement")


class _Mt940Session(BankSession):
    def accounts(self) -> set[str]:
        """Return the accounts of the file."""
        return {name_of(line.account) for line in _lines(self.document)}


def _lines(document: Document) -> Iterator[BankEntry]:
    """Yield the balances and entries of all statements of a file."""
    import mt940  # noqa: PLC0415 - only a bank statement needs it

    content = document.content()
    try:
        content_text = content.decode("utf-8")
    except UnicodeDecodeError:
        content_text = content.decode("latin-1")
    content_text = content_text.replace("\r\n", "\n")
    starts = [match.start() for match in _START.finditer(content_text)]
    for number, (start, end) in enumerate(
        zip(starts, [*starts[1:], len(content_text)], strict=True), 1
    ):
        try:
            statement = mt940.parse(content_text[start:end])
        except (ValueError, RuntimeError, KeyError) as error:
            raise FeedError(f"{document.path}: statement {number} is no MT940: {error}") from error
        yield from _statement(statement, str(number))


def _statement(statement: Any, number: str) -> Iterator[BankEntry]:
    account = str(statement.data.get("account_identification") or "")
    opening = _balance(statement, ("final_opening_balance", "intermediate_opening_balance"))
    if opening is not None:
        yield opening._replace(what=OPENING, statement=number, account=account)
    for entry in statement.transactions:
        data = entry.data
        value = abs(data["amount"].amount)
        debit = str(data.get("status") or "").upper() in _DEBITS
        bank = str(data.get("bank_reference") or "")
        own = str(data.get("customer_reference") or "")
        day = data.get("entry_date") or data["date"]
        yield BankEntry(
            ENTRY,
            number,
            account,
            name_of(data["amount"].currency or data.get("currency")),
            amount(str(value.copy_negate() if debit else value)),
            f"{day:%Y-%m-%d}",
            bank if bank not in _NO_REFERENCE else "" if own in _NO_REFERENCE else own,
            _KINDS.get(str(data.get("id") or "")),
        )
    closing = _balance(statement, ("final_closing_balance", "intermediate_closing_balance"))
    if closing is not None:
        yield closing._replace(what=CLOSING_BALANCE, statement=number, account=account)


def _balance(statement: Any, names: tuple[str, ...]) -> BankEntry | None:
    """Return a balance of a statement; ``None`` if it has none."""
    found = next((each for n in names if (each := statement.data.get(n)) is not None), None)
    if found is None:
        return None
    value = found.amount
    return BankEntry(
        ENTRY, "", "", name_of(value.currency), amount(str(value.amount)), f"{found.date:%Y-%m-%d}"
    )
