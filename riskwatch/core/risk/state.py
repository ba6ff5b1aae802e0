"""State of the risk stage, as rows.

================================== ==========================================
row                                holds
================================== ==========================================
``asset/<id>``                     last market reading, trail of deviations
``venue/<id>``                     last venue reading
``party/<counterparty>``           holdings, positions, flow, what was put out
``credit/<subject>``               credit news that still counts
``scope/<scope>``                  state, trackers, last decision, open alert
``limit/<id>|<scope>``             what was last put out of a limit
``sent/<key>``                     when scores and assessments were last put out
``issue/<kind>|<subject>``         open data-quality issues
``fault/<worker>``                 counterparties that a worker which is down answers for
``control/<scope>``                what people have in force or in hand
``command/<idempotency key>``      what came of a command
``refusals/<operator>``            refused commands in one name that people were told of
``hard/<limit id>``                a limit as people have changed it
``drill/<plan>``                   when a planned drill was signalled last
``budget``                         alerts of WATCH in this month
``scorer/...``                     the models' own rows
``meta``                           last tick
================================== ==========================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from riskwatch.core.risk.control import BudgetRow, ControlRow, HardRow, KeyRow, RefusalsRow
from riskwatch.core.risk.drills import DrillRow
from riskwatch.core.risk.rows import (
    AssetRow,
    CreditRow,
    LimitRow,
    Meta,
    PartyRow,
    ScopeRow,
    VenueRow,
)
from riskwatch.core.stage import Row, RowChanges, encode_row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.core.stage import StageState

RowT = TypeVar("RowT", bound="Row | None")
SCORER: Final = "scorer/"
_TYPES: Final[dict[str, Any]] = {
    "asset": AssetRow,
    "venue": VenueRow,
    "party": PartyRow,
    "credit": CreditRow,
    "scope": ScopeRow,
    "limit": LimitRow,
    "sent": int,
    "issue": int,
    "fault": list[str],
    "control": ControlRow,
    "command": KeyRow,
    "refusals": RefusalsRow,
    "hard": HardRow,
    "drill": DrillRow,
}


class RiskState:
    """Rows by kind and name, and which of them changed.

    Parameters
    ----------
    scorer : StageState
        State of the models, empty; its rows are kept with a prefix of their own.
    """

    def __init__(self, scorer: StageState) -> None:
        self.scorer = scorer
        self.assets: dict[str, AssetRow] = {}
        self.venues: dict[str, VenueRow] = {}
        self.parties: dict[str, PartyRow] = {}
        self.credit: dict[str, CreditRow] = {}
        self.scopes: dict[str, ScopeRow] = {}
        self.limits: dict[str, LimitRow] = {}
        self.sent: dict[str, int] = {}
        self.issues: dict[str, int] = {}
        self.faults: dict[str, list[str]] = {}
        self.controls: dict[str, ControlRow] = {}
        self.commands: dict[str, KeyRow] = {}
        self.refusals: dict[str, RefusalsRow] = {}
        self.hards: dict[str, HardRow] = {}
        self.drills: dict[str, DrillRow] = {}
        self.budget = BudgetRow(0)
        self.meta = Meta()
        self.version = 0
        self.bound: dict[str, dict[str, float]] | None = None
        """What limits say of scopes while nothing of them changes; worked out of rows again."""
        self._dirty: dict[str, None] = {}
        self._tables: dict[str, dict[str, Any]] = {
            "asset": self.assets,
            "venue": self.venues,
            "party": self.parties,
            "credit": self.credit,
            "scope": self.scopes,
            "limit": self.limits,
            "sent": self.sent,
            "issue": self.issues,
            "fault": self.faults,
            "control": self.controls,
            "command": self.commands,
            "refusals": self.refusals,
            "hard": self.hards,
            "drill": self.drills,
        }

    def mark(self, row: str) -> None:
        """Remember that a row changed (or went) and must be written."""
        self._dirty[row] = None

    def drain(self) -> RowChanges:
        """Rows that changed since the last call, keys sorted."""
        out: RowChanges = {}
        for key, row in self.scorer.drain().items():
            out[SCORER + key] = row
        for key in self._dirty:
            kind, _, name = key.partition("/")
            value = self._single(kind) if not name else self._tables[kind].get(name)
            out[key] = None if value is None else encode_row(value)
        self._dirty.clear()
        return dict(sorted(out.items()))

    def _single(self, kind: str) -> Meta | BudgetRow:
        return self.meta if kind == "meta" else self.budget

    def load(self, rows: dict[str, Row]) -> None:
        """Become the state that these rows describe.

        Raises
        ------
        ValueError
            If a row is of no kind that this engine writes.
        """
        scorer: dict[str, Row] = {}
        for key in sorted(rows):
            kind, _, name = key.partition("/")
            if key.startswith(SCORER):
                scorer[key.removeprefix(SCORER)] = rows[key]
            elif kind == "meta":
                self.meta = msgspec.json.decode(rows[key], type=Meta)
            elif kind == "budget":
                self.budget = msgspec.json.decode(rows[key], type=BudgetRow)
            elif kind in _TYPES:
                self._tables[kind][name] = msgspec.json.decode(rows[key], type=_TYPES[kind])
            else:
                raise ValueError(f"row {key!r} is of no kind that the risk stage knows")
        self.scorer.load(scorer)


def scorer_rows(rows: Mapping[str, RowT]) -> dict[str, RowT]:
    """Rows of the models among the rows of the risk stage, by their own keys."""
    return {key.removeprefix(SCORER): row for key, row in rows.items() if key.startswith(SCORER)}
