"""A batch that was committed: what it was."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from riskwatch.core.stage import RowChanges
    from riskwatch.store.batch import Batch, OutboxRecord


@dataclass(frozen=True, slots=True)
class Done:
    """What one commit was.

    Attributes
    ----------
    counts : dict of str to int
        Records ``read``, ``applied``, ``duplicate``, ``rejected``.
    rejects : dict
        Refused records by (stream, reason).
    records : list of OutboxRecord
        What was to be published.
    rows : dict of str to RowChanges
        State rows that changed, per stage.
    commit_s, publish_s : float
        Seconds of the transaction, and of publication.
    """

    counts: dict[str, int] = field(default_factory=dict)
    rejects: dict[tuple[str, str], int] = field(default_factory=dict)
    records: list[OutboxRecord] = field(default_factory=list)
    rows: dict[str, RowChanges] = field(default_factory=dict)
    commit_s: float = 0.0
    publish_s: float = 0.0


def is_empty(batch: Batch) -> bool:
    """Whether a batch has nothing to write but the counts."""
    lists = (batch.offsets, batch.journal, batch.outputs, batch.forwards, batch.dead_letters)
    return not (batch.rows or batch.published_seq or any(lists))
