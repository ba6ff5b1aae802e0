"""What the models remember, as rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from riskwatch.core.risk.scorer import ENSEMBLE
from riskwatch.core.stage import Row, RowChanges, encode_row
from riskwatch.errors import ModelError
from riskwatch.models.aggregate import Mixture
from riskwatch.models.base import Authority
from riskwatch.models.evidence import AuthorityRecord, Evidence, LabelWait
from riskwatch.models.labels import PendingSamples
from riskwatch.models.slippage import SlippageRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from riskwatch.core.outputs import AuthorityChanged
    from riskwatch.models.base import Generation


_TYPES: Final[dict[str, Any]] = {
    "pending": PendingSamples,
    "evidence": Evidence,
    "mix": Mixture,
    "standing": AuthorityRecord,
    "clock": LabelWait,
    "slippage": SlippageRow,
}


class EnsembleState:
    """What every model has learned, which samples wait, and the record of every generation.

    ============================================== ==================================
    row                                            holds
    ============================================== ==================================
    ``pending/<scope>|<target>``                   samples that wait for their label
    ``model/<scope>|<target>|<generation>``        what it learned, if it learned
    ``evidence/<scope>|<target>|<generation>``     losses over matured labels
    ``mix/<scope>|<target>``                       weights of the served probability
    ``standing/<target>|<generation>``             authority, and what it rests on
    ``clock/<target>``                             since when it waits for a label
    ``slippage/<asset>``                           what our fills cost, by size
    ============================================== ==================================

    Parameters
    ----------
    makers : mapping
        By name of a generation, a function that makes one without labels, for a target's id.
    """

    def __init__(self, makers: Mapping[str, Callable[..., Generation]]) -> None:
        self.pending: dict[str, PendingSamples] = {}
        self.evidence: dict[str, Evidence] = {}
        self.models: dict[str, Generation] = {}
        """Models that have learned from a label."""
        self.mixtures: dict[str, Mixture] = {}
        self.records: dict[str, AuthorityRecord] = {}
        self.clocks: dict[str, LabelWait] = {}
        self.changes: list[AuthorityChanged] = []
        """Changes of authority that were not put out yet; none are left at the end of a tick."""
        self.slippage: dict[str, SlippageRow] = {}
        self.ceilings_hold = True
        """Whether no authority can be above its ceiling; rows of another configuration may be."""
        self._scopes: dict[str, None] = {}
        self._makers = makers
        self._dirty: dict[str, None] = {}
        self._tables: dict[str, dict[str, Any]] = {
            "pending": self.pending,
            "evidence": self.evidence,
            "mix": self.mixtures,
            "standing": self.records,
            "clock": self.clocks,
            "slippage": self.slippage,
        }

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
            if kind != "model":
                out[key] = encode_row(self._tables[kind][name])
            elif name not in self.models:  # it failed a check: what it learned is forgotten
                out[key] = None
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
        self.ceilings_hold = False
        for key in sorted(rows):
            kind, _, name = key.partition("/")
            if kind == "model":
                self._restore(name, rows[key])
            elif kind in _TYPES:
                self._tables[kind][name] = msgspec.json.decode(rows[key], type=_TYPES[kind])
                if kind == "pending":
                    self._scopes[name.rpartition("|")[0]] = None
            else:
                raise ValueError(f"row {key!r} is of no kind that the models know")

    def _restore(self, name: str, row: Row) -> None:
        """Make one model of what it learned."""
        generation = name.rpartition("|")[2]
        make = self._makers.get(generation)
        if make is None:
            return
        model = self.models[name] = make(name.split("|")[1])
        try:
            model.restore(msgspec.json.decode(row))
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"generation {generation!r} cannot use what it learned of {name}: {error}; "
                "put its options back, or give it a new name to start afresh"
            ) from error


class ModelRecord(NamedTuple):
    """What the rows say of one generation on one target.

    Attributes
    ----------
    target, generation : str
        Which.
    authority : Authority or None
        How far it may go; ``None`` for the served mixture, which goes as far as the least of
        those that it is made of.
    log_loss : float
        Mean over all matured labels, nats.
    """

    target: str
    generation: str
    authority: Authority | None
    log_loss: float


def model_records(rows: Mapping[str, Row | None]) -> Iterator[ModelRecord]:
    """Read what rows of a :class:`EnsembleState` say of models, whatever else is among them."""
    for key, row in rows.items():
        kind, _, name = key.partition("/")
        if kind != "standing" or row is None:
            continue
        target, _, generation = name.rpartition("|")
        found = msgspec.json.decode(row, type=AuthorityRecord)
        authority = None if generation == ENSEMBLE else Authority(found.authority)
        loss = found.table.log_loss_sum / max(1, sum(found.table.counts))
        yield ModelRecord(target, generation, authority, loss)


def models_learned(keys: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Target and generation of each model among the keys of rows of a :class:`EnsembleState`."""
    for key in keys:
        kind, _, name = key.partition("/")
        if kind == "model" and name.count("|") >= 2:
            _, target, generation = name.rsplit("|", 2)
            yield target, generation
