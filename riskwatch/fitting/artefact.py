"""The artefact of a fit: all targets in one text, with digests of the text and of the rows."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
import sklearn

from riskwatch.fitting.trees import RULE, FitSettings, NotFittedError, fit
from riskwatch.models.trees import Artefact, FittedModel, seal_artefact
from riskwatch.version import ENGINE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from riskwatch.models.base import RuleLogit
    from riskwatch.models.sample_recorder import LabelledSample

LIMITS: Final = (
    "All scopes of a kind share one model; scopes unlike those of the fit are extrapolation.",
    "Its figures are of the episodes it was fitted on, walking forward.",
    "On those episodes, what it says online is in sample.",
    "Outside the ranges under `seen` it goes on as at their edge.",
    "Samples overlap: count episodes and entities, not rows.",
)


def fit_artefact(
    rows: Sequence[LabelledSample],
    horizons: Mapping[str, float],
    sources: Sequence[str],
    settings: FitSettings,
    name: str = "batch",
    rules: Mapping[str, RuleLogit] | None = None,
) -> tuple[Artefact, dict[str, str]]:
    """Fit every target that has enough samples.

    Parameters
    ----------
    rows : sequence of LabelledSample
        Samples of all targets.
    horizons : mapping
        Horizon of every target, seconds, by its id.
    sources : sequence of str
        Description of the sources of the rows.
    settings : FitSettings
        Size of the models.
    name : str
        Name of the artefact.
    rules : mapping, optional
        The rule that a model is compared with, by target.

    Returns
    -------
    Artefact, dict of str to str
        The artefact with its digest; and why a target has no model, by its id.
    """
    models: dict[str, FittedModel] = {}
    reasons: dict[str, str] = {}
    for target, horizon_s in horizons.items():
        try:
            mine = [row for row in rows if row.target == target]
            rule = (rules or {}).get(target, RULE)
            models[target] = fit(mine, horizon_s, settings, rule)
        except NotFittedError as error:
            reasons[target] = str(error)
    made = Artefact(
        name=name,
        engine=ENGINE,
        versions={"numpy": np.__version__, "scikit-learn": sklearn.__version__},
        sources=tuple(sources),
        data_sha256=data_digest(rows),
        settings={name: float(value) for name, value in msgspec.structs.asdict(settings).items()},
        limits=LIMITS,
        models=models,
    )
    return msgspec.json.decode(seal_artefact(made), type=Artefact), reasons


def data_digest(rows: Sequence[LabelledSample]) -> str:
    """Return the SHA-256 of the rows in order of time, whatever order they are given in."""
    total = sha256()
    for row in sorted(rows):
        total.update(msgspec.json.encode(row, order="sorted") + b"\n")
    return total.hexdigest()
