"""A fitted model as a file: what it holds, what it was fitted on, and a digest over all of it."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import Final

import msgspec

from riskwatch.models.trees import Tree

FORMAT: Final = "riskwatch-trees-1"
MAX_BYTES: Final = 2_097_152
"""Most bytes of an artefact."""


class Fitted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model of one target.

    Attributes
    ----------
    features : tuple of str
        Names of its inputs.
    monotone : tuple of int
        Per feature, 1 where more of it never lowers the answer, else 0.
    baseline : float
        Log-odds before any tree.
    trees : tuple of Tree
        Its trees.
    slope, intercept : float
        Calibration: ``logit = intercept + slope * margin``, with `slope` positive.
    seen : tuple of (float, float)
        Per feature, least and largest value of the fit. Beyond them it has nothing to say that
        it knows of.
    rows, positives, entities, episodes : int
        What it was fitted on: samples, true ones, scopes and separate recordings.
    metrics : dict of str to float
        Out of fold, walking forward: ``log_loss`` (nats), ``brier``, ``average_precision``, the
        same of the rule (``rule_...``) and of the base rate (``base_...``), and ``rows``.
    """

    features: tuple[str, ...]
    monotone: tuple[int, ...]
    baseline: float
    trees: tuple[Tree, ...]
    slope: float
    intercept: float
    seen: tuple[tuple[float, float], ...]
    rows: int
    positives: int
    entities: int
    episodes: int
    metrics: dict[str, float]


class Artefact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``riskwatch fit`` writes and a generation ``batch`` runs on.

    Attributes
    ----------
    format : str
        :data:`FORMAT`.
    name : str
        What it is called.
    engine, versions : str, dict of str to str
        Engine and libraries that fitted it.
    sources : tuple of str
        What it was fitted on, as it was named to the command.
    data_sha256 : str
        Over the rows of the fit.
    settings : dict of str to float
        Of the fit.
    limits : tuple of str
        What it must not be used for, in plain words.
    models : dict of str to Fitted
        By target.
    sha256 : str
        Over all of the above.
    """

    format: str = FORMAT
    name: str
    engine: str
    versions: dict[str, str]
    sources: tuple[str, ...]
    data_sha256: str
    settings: dict[str, float]
    limits: tuple[str, ...]
    models: dict[str, Fitted]
    sha256: str = ""


def digest_of(artefact: Artefact) -> str:
    """SHA-256 of what an artefact says, whatever its own digest says."""
    bare = msgspec.structs.replace(artefact, sha256="")
    return sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()


def sealed(artefact: Artefact) -> str:
    """Text of an artefact with its digest in it."""
    whole = msgspec.structs.replace(artefact, sha256=digest_of(artefact))
    return msgspec.json.encode(whole, order="sorted").decode("utf-8") + "\n"


@lru_cache(maxsize=8)  # a generation is made for every scope and target, of the same text
def opened(text: str) -> Artefact:
    """Artefact of a text.

    Raises
    ------
    ValueError
        If it is none, of another format, or not what its digest says.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"an artefact must have at most {MAX_BYTES:,} bytes, had {len(text):,}")
    try:
        made = msgspec.json.decode(text, type=Artefact)
    except msgspec.MsgspecError as error:
        raise ValueError(f"the artefact cannot be read: {error}") from error
    if made.format != FORMAT:
        raise ValueError(f"the artefact must be of format {FORMAT}, was {made.format!r}")
    if made.sha256 != digest_of(made):
        raise ValueError(
            "the artefact is not what its digest says: it was changed after it was fitted"
        )
    return made
