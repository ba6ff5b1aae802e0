"""State of the ensemble, stored as rows: models, waiting samples, evidence and authority."""

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
    """Everything that the ensemble stores.

    ============================================== ======================================
    row                                            content
    ============================================== ======================================
    ``pending/<scope>|<target>``                   samples that wait for their label
    ``model/<scope>|<target>|<generation>``        state of a model that has learned
    ``evidence/<scope>|<target>|<generation>``     losses over matured labels
    ``mix/<scope>|<target>``                       weights of the aggregate probability
    ``standing/<target>|<generation>``             authority record of a generation
    ``clock/<target>``                             time since which it waits for a label
    ``slippage/<asset>``                           slippage of our fills, by size
    ============================================== ======================================

    Parameters
    ----------
    makers : mapping
        Functions by name of the generation. Each makes an untrained model for a target's id.
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
        """Changes of authority that were not reported yet; empty at the end of a tick."""
        self.slippage: dict[str, SlippageRow] = {}
        self.ceilings_hold = True
        """False after rows were loaded: their authorities may be above the configured ceilings."""
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
        """Register a scope for learning; return whether it is registered (at most `most` are)."""
        if scope not in self._scopes and len(self._scopes) >= most:
            return False
        self._scopes[scope] = None
        return True

    def mark(self, row: str) -> None:
        """Mark a row as changed, so that it is written."""
        self._dirty[row] = None

    def drain(self) -> RowChanges:
        """Return the rows that changed since the last call, keys sorted."""
        out: RowChanges = {}
        for key in sorted(self._dirty):
            kind, _, name = key.partition("/")
            if kind != "model":
                out[key] = encode_row(self._tables[kind][name])
            elif name not in self.models:  # it failed a check, so its row is deleted
                out[key] = None
            else:
                learned = self.models[name].state()
                if learned:
                    out[key] = encode_row(learned)
        self._dirty.clear()
        return out

    def load(self, rows: dict[str, Row]) -> None:
        """Load stored rows.

        Rows of a generation that is not configured now are not read. They stay stored, and are
        read again once the generation is configured.

        Raises
        ------
        ValueError
            If a row is of a kind that this engine does not write.
        ModelError
            If a generation cannot use the state that was stored under its name.
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
        """Restore one model from its row."""
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
    """Summary of the stored record of one generation on one target.

    Attributes
    ----------
    target, generation : str
        Id of the target, and name of the generation.
    authority : Authority or None
        Stored authority; ``None`` for the aggregate, whose authority is the lowest of the
        mixed generations.
    log_loss : float
        Mean over all matured labels, nats.
    """

    target: str
    generation: str
    authority: Authority | None
    log_loss: float


def model_records(rows: Mapping[str, Row | None]) -> Iterator[ModelRecord]:
    """Read the authority records among rows of an :class:`EnsembleState`; skip other rows."""
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
    """Yield target and generation of each model among row keys of an :class:`EnsembleState`."""
    for key in keys:
        kind, _, name = key.partition("/")
        if kind == "model" and name.count("|") >= 2:
            _, target, generation = name.rsplit("|", 2)
            yield target, generation
