"""State of the ensemble, stored as rows: models, waiting samples, evidence and authority."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from riskwatch.core.risk.scorer import ENSEMBLE
from riskwatch.core.scopes import kind_of_scope
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
    from riskwatch.models.detector import Detector
    from riskwatch.models.river_generation import OffsetGeneration


_LEARNED: Final = ("model", "pool", "detector")
"""Kinds of rows that hold what an object learned."""
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
    ``pool/<kind>|<target>|<generation>``          state of a model that all scopes of a kind share
    ``detector/<feature>``                         state of a detector of anomalies
    ============================================== ======================================

    Parameters
    ----------
    makers : mapping
        Functions by name of the generation. Each makes an untrained model for a target's id.
    pooled : tuple of str
        Generations of which all scopes of a kind share one model per target.
    detectors : mapping
        Untrained detectors by the name of their feature.
    """

    def __init__(
        self,
        makers: Mapping[str, Callable[..., Generation]],
        pooled: tuple[str, ...] = (),
        detectors: Mapping[str, Detector] = {},
    ) -> None:
        self.pending: dict[str, PendingSamples] = {}
        self.evidence: dict[str, Evidence] = {}
        self.models: dict[str, Generation] = {}
        """Models that have learned from a label."""
        self.pools: dict[str, OffsetGeneration] = {}
        """Models that all scopes of a kind share."""
        self.detectors: dict[str, Detector] = {
            name: detector.fresh() for name, detector in detectors.items()
        }
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
        self._pooled = pooled
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
            if kind not in _LEARNED:
                out[key] = encode_row(self._tables[kind][name])
                continue
            found = self._learned(kind).get(name)
            if found is None:  # it failed a check, so its row is deleted
                out[key] = None
                continue
            learned = found.state()
            if learned:
                out[key] = encode_row(learned)
        self._dirty.clear()
        return out

    def _learned(self, kind: str) -> Mapping[str, Any]:
        """Return the objects of a kind of row that hold what was learned."""
        if kind == "model":
            return self.models
        return self.pools if kind == "pool" else self.detectors

    def newborn(self, name: str) -> Generation:
        """Return an untrained model for ``<scope>|<target>|<generation>``; its pool if it has one.

        The pool is created at its first use.
        """
        scope, target, generation = name.split("|")
        if generation not in self._pooled:
            return self._makers[generation](target)
        return self.pool(f"{kind_of_scope(scope)}|{target}|{generation}").member()

    def pool(self, name: str) -> OffsetGeneration:
        """Return the pool ``<kind>|<target>|<generation>``, untrained at its first use."""
        if name not in self.pools:
            _, target, generation = name.split("|")
            self.pools[name] = self._makers[generation](target)  # type: ignore[assignment]
        return self.pools[name]

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
            if kind in _LEARNED:
                self._restore(kind, name, rows[key])
            elif kind in _TYPES:
                self._tables[kind][name] = msgspec.json.decode(rows[key], type=_TYPES[kind])
                if kind == "pending":
                    self._scopes[name.rpartition("|")[0]] = None
            else:
                raise ValueError(f"row {key!r} is of no kind that the models know")

    def _restore(self, kind: str, name: str, row: Row) -> None:
        """Restore one model, pool or detector from its row."""
        generation = name.rpartition("|")[2]
        model: Generation | Detector
        if kind == "detector":
            if name not in self.detectors:
                return
            model = self.detectors[name]
        elif generation not in self._makers or (kind == "pool" and generation not in self._pooled):
            return
        elif kind == "pool":
            model = self.pool(name)
        else:
            model = self.models[name] = self.newborn(name)
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
