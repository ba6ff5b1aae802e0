"""What a unit tells its metrics of each batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskwatch.contracts.refusal import Refusal
from riskwatch.contracts.shapes import tag_of as kind_of
from riskwatch.core.clock import SECOND
from riskwatch.core.risk.state import scorer_rows
from riskwatch.models.ladder_state import model_records, models_learned
from riskwatch.shell.dead import topic_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.core.stage import Row
    from riskwatch.shell.done import Done
    from riskwatch.shell.metrics import Metrics
    from riskwatch.shell.record import Record
    from riskwatch.shell.runner import Runner


class Teller:
    """Tells metrics of the batches of one runner."""

    def __init__(self, metrics: Metrics, runner: Runner) -> None:
        self._metrics = metrics
        self._runner = runner
        self._models: dict[tuple[str, str], int] = {}
        self._judges = False

    def batch(self, records: list[Record], done: Done, apply_s: float, now_us: int) -> None:
        """Tell of one batch that was committed."""
        m, name = self._metrics, self._runner.worker
        m.batch(name, done.counts, len(records), apply_s, done.commit_s, done.publish_s)
        for (stream, reason), n in done.rejects.items():
            m.rejected(topic_of(stream), reason, n)
        m.event_time(name, self._runner.us)
        changed = done.rows.get("risk", {})
        for model in models_learned(scorer_rows(changed)):
            self._models[model] = self._runner.us
        self.standings(changed)
        for (target, generation), us in self._models.items():
            m.model_age(target, generation, (self._runner.us - us) / SECOND)
        took_us = int(1e6 * (apply_s + done.commit_s + done.publish_s))
        for kind, arrived in _oldest(records).items():
            m.latency(name, kind, max(0, now_us + took_us - arrived) / SECOND)

    def standings(self, rows: Mapping[str, Row | None]) -> None:
        """Tell where models stand, of the state rows of the risk stage that are new."""
        for found in model_records(scorer_rows(rows)):
            rank = None if found.authority is None else found.authority.rank
            self._metrics.model_standing(found.target, found.generation, rank, found.log_loss)
            self._judges = True

    def forget(self) -> None:
        """Drop what was told of models: they learn elsewhere now."""
        if self._judges:
            self._metrics.forget_models()
            self._judges = False
            self._models.clear()

    def lag(self, records: Mapping[str, int]) -> None:
        """Tell how many records of each partition are still to be applied."""
        for stream, n in records.items():
            self._metrics.lag(topic_of(stream), int(stream.rpartition("/")[2]), n)


def _oldest(records: list[Record]) -> dict[str, int]:
    """When the longest-waiting event of each type arrived."""
    out: dict[str, int] = {}
    for record in records:
        if isinstance(record.event, Refusal) or not record.arrived_us:
            continue
        kind = kind_of(type(record.event))
        out[kind] = min(record.arrived_us, out.get(kind, record.arrived_us))
    return out
