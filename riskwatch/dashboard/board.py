"""The content of a dashboard, collected from outputs in the order of event time, with bounds."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import micros
from riskwatch.core.enums import Quality, State
from riskwatch.core.outputs import (
    AlertRaised,
    AssetValued,
    CounterpartyAssessed,
    DataQualityRaised,
    DataQualityResolved,
    DecisionMade,
    ExposureChanged,
    KillSwitchChanged,
    Output,
    ScoreUpdated,
    StageFaulted,
    alert_from_fault,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

SPARKS: Final = 48
"""Buckets of event time over the whole window, with one sample each."""
LOG_LINES: Final = 200
_OWED: Final = frozenset({"borrowed"})
_NOT_HELD: Final = frozenset({"open_order"})
_AUTHORITY: Final = {"shadow": 0, "advisory": 1, "bounded": 2, "full": 3}


@dataclass(slots=True)
class AssetLine:
    """One asset: its last valuation, and its deviation per bucket of event time (bp)."""

    last: AssetValued
    sparks: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the log of changes; `state` determines its colour."""

    ts: datetime
    scope: str
    change: str
    text: str
    state: State


@dataclass(slots=True)
class Board:
    """The content of a dashboard.

    Parameters
    ----------
    title : str
        Name of the episode or deployment.
    start, end : datetime
        Its window, for progress and sparklines.
    issuers : mapping, optional
        Issuer by asset, for the look-through column.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> board = Board("calm", datetime(2023, 3, 10, tzinfo=UTC), datetime(2023, 3, 11, tzinfo=UTC))
    >>> board.tick(datetime(2023, 3, 10, 12, tzinfo=UTC))
    >>> board.progress
    0.5
    """

    title: str
    start: datetime
    end: datetime
    issuers: Mapping[str, str] = field(default_factory=dict)
    now: datetime | None = None
    events: int = 0
    assets: dict[str, AssetLine] = field(default_factory=dict)
    switches: dict[str, KillSwitchChanged] = field(default_factory=dict)
    decisions: dict[str, DecisionMade] = field(default_factory=dict)
    scores: dict[tuple[str, str, str], ScoreUpdated] = field(default_factory=dict)
    assessed: dict[str, CounterpartyAssessed] = field(default_factory=dict)
    exposures: dict[str, ExposureChanged] = field(default_factory=dict)
    issues: dict[str, DataQualityRaised] = field(default_factory=dict)
    log: deque[LogLine] = field(default_factory=lambda: deque(maxlen=LOG_LINES))

    def tick(self, now: datetime, events: int = 0) -> None:
        """Set the event time reached, and add to the number of events."""
        self.now = now
        self.events += events

    @property
    def progress(self) -> float:
        """Share of the window that has passed, 0..1."""
        if self.now is None:
            return 0.0
        return min(1.0, max(0.0, (self.now - self.start) / (self.end - self.start)))

    def apply(self, outputs: Iterable[Output]) -> list[LogLine]:
        """Add outputs to the board; return the new lines of the log."""
        added: list[LogLine] = []
        for output in outputs:
            line = self._apply_output(
                alert_from_fault(output) if isinstance(output, StageFaulted) else output
            )
            if line is not None:
                self.log.append(line)
                added.append(line)
        return added

    def _apply_output(self, output: Output) -> LogLine | None:
        match output:
            case AssetValued():
                self._value(output)
            case ExposureChanged():
                _update_row(self.exposures, output, closed=not output.amount)
            case ScoreUpdated():
                self.scores[output.scope, output.target, output.generation] = output
            case CounterpartyAssessed():
                self.assessed[output.scope] = output
            case KillSwitchChanged():
                return self._switch(output)
            case DecisionMade():
                return self._decide(output)
            case AlertRaised():
                return LogLine(output.ts, output.scope, "ALERT", output.title, output.severity)
            case DataQualityRaised():
                self.issues[output.key()] = output
                return LogLine(
                    output.ts, output.subject, "DATA", f"{output.issue}: {output.detail}",
                    State.NORMAL,
                )  # fmt: skip
            case DataQualityResolved():
                self.issues.pop(output.key(), None)
            case _:
                pass  # limits, positions and rejects have their own views in SQL
        return None

    def _value(self, output: AssetValued) -> None:
        line = self.assets.get(output.asset)
        if line is None:
            line = self.assets[output.asset] = AssetLine(output)
        line.last = output
        span = micros(self.end) - micros(self.start)
        line.sparks[(micros(output.ts) - micros(self.start)) * SPARKS // span] = output.deviation_bp
        if len(line.sparks) > 2 * SPARKS:  # outputs outside the window
            del line.sparks[min(line.sparks)]

    def _switch(self, output: KillSwitchChanged) -> LogLine | None:
        """Return a log line for a switch that changed without a decision (its data became bad)."""
        before = self.switches.get(output.scope)
        self.switches[output.scope] = output
        was = before.effective if before else State.NORMAL
        decision = self.decisions.get(output.scope)
        decided = decision is not None and decision.state == output.effective
        if was == output.effective or decided:
            return None
        change = f"effective {was} > {output.effective}"
        why = output.reasons[0] if output.reasons else f"quality is {output.quality}"
        return LogLine(output.ts, output.scope, change, why, output.effective)

    def _decide(self, output: DecisionMade) -> LogLine | None:
        self.decisions[output.scope] = output
        if output.previous == output.state:
            return None
        why = "; ".join(output.reasons[:1]) or f"rule {output.rule}"
        change = f"{output.previous} > {output.state}"
        return LogLine(output.ts, output.scope, change, why, output.state)

    def state(self, scope: str) -> State:
        """Return the effective state of `scope`: its switch, its last decision, or NORMAL."""
        switch = self.switches.get(scope)
        if switch is not None:
            return switch.effective
        decision = self.decisions.get(scope)
        return State.NORMAL if decision is None else decision.state

    def engaged_switches(self) -> list[KillSwitchChanged]:
        """Return the switches that are not NORMAL, strictest first."""
        on = [s for s in self.switches.values() if s.effective is not State.NORMAL]
        return sorted(on, key=lambda s: (-s.effective.rank, s.scope))

    def asset_lines(self) -> list[AssetLine]:
        """Return the assets by strictness of their state, then by name."""
        lines = self.assets.values()
        return sorted(
            lines, key=lambda a: (-self.state(f"asset:{a.last.asset}").rank, a.last.asset)
        )

    def holdings_usd(self, by: str) -> list[tuple[str, Decimal]]:
        """Return USD held by ``counterparty``, ``asset`` or ``issuer``, largest first.

        It adds up the values that the risk stage published. Borrowed amounts are subtracted. Open
        orders do not count, and amounts without a price are left out.
        """
        sums: dict[str, Decimal] = {}
        for e in self.exposures.values():
            if e.value_usd is None or e.component in _NOT_HELD:
                continue
            if by == "issuer":
                name = self.issuers.get(e.asset, "")
            else:
                name = e.counterparty if by == "counterparty" else e.asset
            if name:
                sign = -1 if e.component in _OWED else 1
                sums[name] = sums.get(name, Decimal(0)) + sign * e.value_usd
        return sorted(sums.items(), key=lambda item: (-item[1], item[0]))

    def top_scores(self, limit: int) -> list[ScoreUpdated]:
        """Return the scores with the highest probabilities, one per (scope, target).

        A model whose authority lets it request a state precedes the rules, whose result the states
        already show. Among models, the one with the most authority is chosen.
        """
        best: dict[tuple[str, str], ScoreUpdated] = {}
        for (scope, target, _), score in self.scores.items():
            other = best.get((scope, target))
            if other is None or _authority(score) > _authority(other):
                best[scope, target] = score
        return sorted(best.values(), key=lambda s: (-s.probability, s.scope, s.target))[:limit]

    def data_quality(self, scope: str) -> Quality:
        """Return the quality of the data behind `scope`."""
        switch = self.switches.get(scope)
        return Quality.GOOD if switch is None else switch.quality


def _authority(score: ScoreUpdated) -> tuple[bool, int]:
    rank = _AUTHORITY.get(score.authority, -1)
    return score.generation != "rules" and rank > 0, rank


def _update_row(rows: dict[str, ExposureChanged], output: ExposureChanged, *, closed: bool) -> None:
    if closed:
        rows.pop(output.key(), None)
    else:
        rows[output.key()] = output
