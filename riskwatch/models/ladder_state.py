"""What the ladder remembers, as rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from riskwatch.core.stage import Row, RowChanges, encode_row
from riskwatch.errors import ModelError
from riskwatch.models.evidence import Evidence
from riskwatch.models.labels import Pending
from riskwatch.models.slippage import SlippageRow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from riskwatch.models.base import Generation


class LadderState:
    """What every model has learned, which samples wait, and how good each has been.

    ============================================== ==================================
    row                                            holds
    ============================================== ==================================
    ``pending/<scope>|<target>``                   samples that wait for their label
    ``model/<scope>|<target>|<generation>``        what it learned, if it learned
    ``evidence/<scope>|<target>|<generation>``     losses over matured labels
    ``slippage/<asset>``                           what our fills cost, by size
    ============================================== ==================================

    Parameters
    ----------
    makers : mapping
        By name of a generation, what makes one that has seen nothing.
    """

    def __init__(self, makers: Mapping[str, Callable[[], Generation]]) -> None:
        self.pending: dict[str, Pending] = {}
        self.evidence: dict[str, Evidence] = {}
        self.models: dict[str, Generation] = {}
        """Those that have learned from a label."""
        self.slippage: dict[str, SlippageRow] = {}
        self._scopes: dict[str, None] = {}
        self._makers = makers
        self._dirty: dict[str, None] = {}

    def admit(self, scope: str, most: int) -> bool:
        """Whether a scope may be learned about; it is remembered if so."""
        if scope not in self._scopes and len(self._scopes) >= most:
            return False
        self._scopes[scope] = None
        return True

    def mark(self, row: str) -> None:
        """Remember that a row changed and must be written."""
        self._dirty[row] = None

    def drain(self) -> RowChanges:
        """Rows that changed since the last call, keys sorted."""
        out: RowChanges = {}
        for key in sorted(self._dirty):
            kind, _, name = key.partition("/")
            if kind == "pending":
                out[key] = encode_row(self.pending[name])
            elif kind == "evidence":
                out[key] = encode_row(self.evidence[name])
            elif kind == "slippage":
                out[key] = encode_row(self.slippage[name])
            else:
                learned = self.models[name].state()
                if learned:
                    out[key] = encode_row(learned)
        self._dirty.clear()
        return out

    def load(self, rows: dict[str, Row]) -> None:
        """Become the state that these rows describe.

        What a generation learned that is not configured now is left alone: its rows stay
        stored, and are read again when it is.

        Raises
        ------
        ValueError
            If a row is of no kind that this engine writes.
        ModelError
            If a generation cannot use what was learned under its name.
        """
        for key in sorted(rows):
            kind, _, name = key.partition("/")
            if kind == "pending":
                self.pending[name] = msgspec.json.decode(rows[key], type=Pending)
                self._scopes[name.rpartition("|")[0]] = None
            elif kind == "evidence":
                self.evidence[name] = msgspec.json.decode(rows[key], type=Evidence)
            elif kind == "slippage":
                self.slippage[name] = msgspec.json.decode(rows[key], type=SlippageRow)
            elif kind == "model":
                self._restore(name, rows[key])
            else:
                raise ValueError(f"row {key!r} is of no kind that the models know")

    def _restore(self, name: str, row: Row) -> None:
        """Make one model of what it learned."""
        generation = name.rpartition("|")[2]
        make = self._makers.get(generation)
        if make is None:
            return
        model = self.models[name] = make()
        try:
            model.restore(msgspec.json.decode(row))
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"generation {generation!r} cannot use what it learned of {name}: {error}; "
                "put its options back, or give it a new name to start afresh"
            ) from error
