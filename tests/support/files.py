"""Small invented files of venues and banks, and what an import makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from riskwatch.feeds.document import open_document
from riskwatch.feeds.file_import import closing_of, plan_file, read_file_events, recognise_file
from riskwatch.feeds.record import Reject, Tally
from riskwatch.feeds.shape import FileLabels, FileReport, FileShape
from riskwatch.feeds.trial import LedgerTrial

if TYPE_CHECKING:
    from pathlib import Path

    from riskwatch.core.events import Event


@dataclass
class Imported:
    """The result of an import.

    Attributes
    ----------
    shape : str
        Name of the reader that recognised the file.
    events : list of Event
        The events.
    report : FileReport
        What the reader found beside them.
    trial : LedgerTrial
        The ledger after the events.
    rejects : list of Reject
        The skipped records.
    """

    shape: str
    events: list[Event]
    report: FileReport
    trial: LedgerTrial
    rejects: list[Reject]

    @property
    def held(self) -> dict[str, str]:
        """What the ledger holds, by account, wallet and asset."""
        found = self.trial.balances()
        return {"/".join(filter(None, key)): f"{amount:f}" for key, amount in found.items()}

    @property
    def stated(self) -> dict[str, str]:
        """The last balances that the file states, by the same keys."""
        found = {key: closing_of(lines) for key, lines in self.report.stated.items()}
        return {"/".join(filter(None, key)): f"{amount:f}" for key, amount in found.items()}

    def of(self, kind: type) -> list[Any]:
        """Return the events of one type."""
        return [event for event in self.events if isinstance(event, kind)]


def answer_nothing(option: str, why: str, guess: str | None) -> None:
    """Answer no question, as if there were no terminal."""
    del option, why, guess


def import_text(path: Path, text: str | bytes, fmt: str = "auto", **labels: Any) -> Imported:
    """Write a file, and import it with what `labels` say."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return import_path(path, fmt, **labels)


def import_path(path: Path, fmt: str = "auto", **labels: Any) -> Imported:
    """Import a file with what `labels` say."""
    document = open_document(path)
    shape = recognise_file(document, fmt)
    assert isinstance(shape, FileShape), shape.name
    plan = plan_file(document, shape, FileLabels(**{"venue": "", **labels}), answer_nothing)
    rejects: list[Reject] = []
    report = FileReport(tally=Tally(on_reject=rejects.append))
    events, trial = [], LedgerTrial()
    for event in read_file_events(plan, report):
        events.append(event)
        trial.add(event)
    assert not trial.refusals
    return Imported(shape.name, events, report, trial, rejects)
