"""Bank statements of ISO 20022: camt.053, and the reports camt.052."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Final
from xml.etree import ElementTree as ET

from riskwatch.errors import FeedError
from riskwatch.feeds.bank import CLOSING_BALANCE, ENTRY, OPENING, BankEntry, BankSession
from riskwatch.feeds.document import Form, Record
from riskwatch.feeds.shape import FileShape, Fit, amount, name_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.events import AdjustmentKind
    from riskwatch.feeds.document import Document
    from riskwatch.feeds.shape import FileLabels, FileReport, FileSession

_NAMESPACE: Final = re.compile(rb"urn:iso:std:iso:20022:tech:xsd:camt\.05[23]\.\d{3}\.\d\d")
_OPENINGS: Final = frozenset({"OPBD", "PRCD"})
_CLOSINGS: Final = frozenset({"CLBD"})
_KINDS: Final[dict[str, AdjustmentKind]] = {"INTR": "interest", "CHRG": "fee", "COMM": "fee"}
"""Kind by the code of the subfamily of a bank transaction."""
_LINE: Final = "line"


class Camt053(FileShape):
    """Statements of one or several accounts, each with the balance before and after its entries.

    An entry is a transfer of its booking day; interest and charges are adjustments. Entries that
    are not booked are skipped. The sum of the entries is compared with the closing balance.
    """

    name = "camt053"
    about = "ISO 20022: bank statements camt.053 (all versions), and reports camt.052"
    gives = "transfer, adjustment, balance"
    forms: ClassVar = (Form.XML,)

    def fit(self, document: Document) -> Fit:
        """Return how well a file fits, by the name space of its root."""
        if document.form is not Form.XML:
            return Fit(0, (), ("XML",))
        return Fit(20 if _NAMESPACE.search(document.content()[:4096]) else 0)

    def account_of(self, document: Document) -> str | None:
        """Return the account, or of several the first: entries name their own."""
        return next((name_of(line.account) for line in _lines(document) if line.account), None)

    def records(self, document: Document, report: FileReport) -> Iterator[Record]:
        """Yield one record for each balance and each entry."""
        for row, line in enumerate(_lines(document), 1):
            report.tally.read += 1
            yield Record(row, {_LINE: line})

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        return _CamtSession(document, labels, report, f"{labels.venue}-statement")


class _CamtSession(BankSession):
    def accounts(self) -> set[str]:
        """Return the accounts of the file."""
        return {name_of(line.account) for line in _lines(self.document)}


def _lines(document: Document) -> Iterator[BankEntry]:
    """Yield the balances and entries of all statements of a file."""
    content = document.content()
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise FeedError(f"{document.path}: a statement must not define entities")
    try:
        root = ET.fromstring(content)  # noqa: S314 - entities are refused above
    except ET.ParseError as error:
        raise FeedError(f"{document.path}: is no XML: {error}") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    for number, statement in enumerate([*root.iter("Stmt"), *root.iter("Rpt")], 1):
        yield from _statement(statement, str(number))


def _statement(statement: ET.Element, number: str) -> Iterator[BankEntry]:
    account = _text(statement, "Acct/Id/IBAN") or _text(statement, "Acct/Id/Othr/Id")
    currency = _text(statement, "Acct/Ccy")
    openings, closings = [], []
    for balance in statement.findall("Bal"):
        code = _text(balance, "Tp/CdOrPrtry/Cd")
        made = _line(balance, number, account, currency)
        if code in _OPENINGS:
            openings.append((code, made._replace(what=OPENING)))
        elif code in _CLOSINGS:
            closings.append(made._replace(what=CLOSING_BALANCE))
    # Of an opening balance and one of the previous closing, which are the same, the first counts.
    yield from [line for _, line in sorted(openings, key=lambda each: each[0])][:1]
    for entry in statement.findall("Ntry"):
        made = _line(entry, number, account, currency)
        status = _text(entry, "Sts/Cd") or _text(entry, "Sts")
        reference = (
            _text(entry, "AcctSvcrRef")
            or _text(entry, "NtryDtls/TxDtls/Refs/AcctSvcrRef")
            or _text(entry, "NtryRef")
        )
        code = _text(entry, "BkTxCd/Domn/Fmly/SubFmlyCd")
        yield made._replace(entry=reference, kind=_KINDS.get(code), is_final=status in {"BOOK", ""})
    yield from closings


def _line(element: ET.Element, number: str, account: str, currency: str) -> BankEntry:
    found = element.find("Amt")
    value = amount("" if found is None else found.text)
    asset = ("" if found is None else found.get("Ccy", "")) or currency
    if _text(element, "CdtDbtInd") == "DBIT":
        value = value.copy_negate()
    parts = ("BookgDt/Dt", "BookgDt/DtTm", "Dt/Dt", "Dt/DtTm", "ValDt/Dt", "ValDt/DtTm")
    date = next((each for part in parts if (each := _text(element, part))), "")
    return BankEntry(ENTRY, number, account, name_of(asset), value, date[:10])


def _text(element: ET.Element, path: str) -> str:
    found = element.find(path)
    return "" if found is None or found.text is None else found.text.strip()
