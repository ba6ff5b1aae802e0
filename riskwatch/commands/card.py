"""A model card: what a model is, how good it has been, and what it may do, in plain words."""

from __future__ import annotations

import re
from inspect import getdoc
from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import micros, text
from riskwatch.models import registry
from riskwatch.models.rungs import RULES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.risk.models import GenerationConfig
    from riskwatch.store.queries import Found

MAY: Final = {
    "shadow": "nothing: its scores are stored and shown",
    "advisory": "raise WATCH",
    "bounded": "raise REDUCE, on a stated share of the firm's exposure",
    "full": "raise HALT",
}
_ROLE: Final = re.compile(r":\w+:`~?(?:[\w.]*\.)?(\w+)`")
FEW: Final = 10
"""Independent events below which a record proves little."""
_SERVED: Final = (
    "The probability that all generations give together: their mean, weighted by how well each "
    "did. Shadows have no part in it. It may go as far as the least of those that are mixed."
)


def markdown(
    name: str, configured: GenerationConfig | None, standings: list[Found], changes: list[Found]
) -> str:
    """Write the card of one generation.

    Parameters
    ----------
    name : str
        Of the generation.
    configured : GenerationConfig or None
        How it is configured, if it is.
    standings : list of dict
        Rows of ``model_standing``.
    changes : list of dict
        Rows of ``authority_change``, in order of time.
    """
    lines = [f"# Model card: {name}", "", *_what(name, configured), ""]
    lines += ["## How good it has been", ""]
    lines += [
        (
            "Over matured labels of all scopes, of what it said when the sample was taken. Samples "
            "overlap: a thousand labels of one weekend are one event."
        ),
        "",
    ]
    lines += [line for row in standings for line in _record(row)] or ["Nothing was judged yet.", ""]
    lines += ["## What it may do", ""]
    lines += [f"- {row['target']}: {_may(row)}" for row in standings]
    if configured is not None and not standings:
        lines.append(f"- everywhere: {MAY[configured.authority]}")
    lines += ["", "## How its authority came about", "", *_history(changes), ""]
    lines += ["## Limits", "", *_limits(name, standings)]
    return "\n".join(lines) + "\n"


def _what(name: str, configured: GenerationConfig | None) -> Iterator[str]:
    yield "## What it is"
    yield ""
    if configured is None:
        yield _SERVED if name == "served" else "It is not configured any more."
        return
    said = (getdoc(registry.factory(configured.model)) or "").partition("\n\n")[0]
    yield _ROLE.sub(r"`\1`", " ".join(said.split())) or f"Model `{configured.model}`."
    yield ""
    yield f"- model: `{configured.model}`"
    yield f"- authority at first: {configured.authority}; at most: " + (
        configured.max_authority or configured.authority
    )
    for option in sorted(configured.options):
        yield f"- `{option}`: {configured.options[option]}"
    card = getattr(registry.build(configured.model, configured.options), "card", None)
    if callable(card):
        facts = card()
        for fact in sorted(facts):
            yield f"- {fact}: {facts[fact]}"
    yield ""
    yield (
        "It learns from the stream, from labels that mature after the horizon; a model of one "
        "scope knows nothing of the others."
        if configured.model != RULES
        else "It never learns: people change rules."
    )


def _record(row: Found) -> list[str]:
    base = row["positives"] / row["labels"] if row["labels"] else 0.0
    # The Brier score of whoever always says the base rate is the uncertainty.
    skill = 1.0 - row["brier"] / row["uncertainty"] if row["uncertainty"] > 0.0 else None
    lines = [
        f"### {row['target']}",
        "",
        (
            f"- as of {text(micros(row['ts']))}: {row['labels']} labels, {row['positives']} true "
            f"({base:.2%}), {row['events']} independent events in {row['entities']} scopes"
        ),
        f"- log loss {row['log_loss']:.4f} nats, Brier score {row['brier']:.4f}"
        + ("" if skill is None else f", skill against the base rate {skill:+.2f}"),
        (
            f"- miscalibration {row['reliability']:.4f} (0 is perfect), resolution "
            f"{row['resolution']:.4f} of {row['uncertainty']:.4f}"
        ),
        "",
        "| said | labels | mean said | came true |",
        "|---|---|---|---|",
    ]
    for tenth, (labels, said, trues) in enumerate(row["bins"]):
        if labels:
            span = f"{tenth / 10:.1f} to {(tenth + 1) / 10:.1f}"
            lines.append(f"| {span} | {labels:.0f} | {said / labels:.3f} | {trues / labels:.3f} |")
    return [*lines, ""]


def _may(row: Found) -> str:
    said = f"{row['authority']}: it may {MAY[row['authority']]}"
    if row["authority"] == "shadow":
        said = f"shadow: it may ask for {MAY['shadow']}"
    if row["quarantined"]:
        said += "; it failed a check and waits for people"
    elif row["needed"]:
        said += f"; evidence for more {row['e_up']:.3g}, {row['needed']:.3g} is needed"
    if row["authority"] != "shadow" and row["generation"] not in (RULES, "served"):
        said += f"; evidence that it is worse than the rules {row['e_down']:.3g}"
    return said


def _history(changes: list[Found]) -> list[str]:
    if not changes:
        return ["It never changed."]
    return [
        f"- {text(micros(row['ts']))}, {row['target']}: {row['former']} to {row['authority']} by "
        f"{row['by']}, {row['reason']}: {row['detail']}"
        for row in changes
    ]


def _limits(name: str, standings: list[Found]) -> list[str]:
    lines = ["- No model lowers what a rule asks for, and none releases a HALT."]
    if name == RULES:
        lines.append("- Its probability is a scale, not a forecast: its losses say how wrong.")
    few = [row["target"] for row in standings if row["events"] < FEW]
    lines += [
        f"- {target}: fewer than {FEW} independent events: little is proven." for target in few
    ]
    return lines
