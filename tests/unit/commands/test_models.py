"""``riskwatch models``: the table of the ensemble, and the model cards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import typer
from typer.testing import CliRunner

from riskwatch.commands import models
from riskwatch.core.outputs import AuthorityChanged, ModelMeasured, ScoreUpdated
from riskwatch.core.risk.reports import score_updated
from riskwatch.core.risk.scorer import EvidenceConfig
from riskwatch.errors import RiskwatchError
from riskwatch.models.ensemble import Ensemble
from riskwatch.store import migrate
from riskwatch.store.engine import open_engine
from riskwatch.store.project import fold
from tests.unit.models.samples import ONSET, anchored, config, feed, rules, walk

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

app = typer.Typer()
app.add_typer(models.app, name="models")


def run(url: str, *args: str) -> Result:
    """Run the command on a database."""
    return CliRunner().invoke(app, ["models", *args], env={"RISKWATCH_DATABASE": url})


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the URL of a database with a generation that a person promoted."""
    folder: Path = tmp_path_factory.mktemp("judged")
    url = f"sqlite:///{folder / 'risk.db'}"
    migrate.upgrade(url)
    evidence = EvidenceConfig(status_s=600.0)
    spec = anchored(authority="shadow", max_authority="bounded")
    ensemble = Ensemble(config(rules(), spec, evidence=evidence))
    state = ensemble.fresh()
    out = []
    for us, features, labelled in walk(3, 400):
        feed(ensemble, state, [(us, features, labelled)])
        out += ensemble.report(state, us)
    moved = ensemble.move(
        state, us, ONSET, "anchored", "advisory", by="ann", why="looks good", cause_id="c/1"
    )
    out += [moved, *ensemble.report(state, us)]
    out += [score_updated(each, us) for each in feed(ensemble, state, [(us, features, False)])[0]]
    engine = open_engine(url)
    with engine.begin() as conn:
        fold(
            [o for o in out if isinstance(o, AuthorityChanged | ModelMeasured | ScoreUpdated)]
        ).write(conn)
    engine.dispose()
    return url


def test_the_ladder_says_who_may_do_what_and_why(judged: str) -> None:
    """There is one row per target and generation, with evidence, losses and the last change."""
    ran = run(judged, "--json")
    assert ran.exit_code == 0, ran.output
    rows = {(r["target"], r["generation"]): r for r in map(json.loads, ran.stdout.splitlines())}
    mine = rows[ONSET, "anchored"]
    assert (mine["authority"], mine["ceiling"], mine["reason"]) == (
        "advisory",
        "bounded",
        "command",
    )
    # A change is put out at once, the rest at intervals.
    assert mine["labels"] >= rows[ONSET, "rules"]["labels"] > 100
    assert {name for target, name in rows if target == ONSET} == {"rules", "anchored", "served"}
    assert mine["cost_us"] is None
    shown = run(judged, "--cost").stdout
    for word in ("evidence", "events", "Brier", "(command)", "never", "cost"):
        assert word in shown


def test_a_card_tells_it_in_words(judged: str) -> None:
    """A card has the model, its record, its authority, and every change of authority."""
    card = run(judged, "card", "anchored").stdout
    assert card.startswith("# Model card: anchored\n")
    assert ":class:" not in card
    for said in (
        "## What it is",
        "- model: `anchored`",
        "came true |",
        f"- {ONSET}: advisory: it may raise WATCH",
        "shadow to advisory by ann, command: looks good",
        "none releases a HALT",
    ):
        assert said in card


def test_what_is_served_has_a_card_too(judged: str) -> None:
    """The ensemble probability has a card, although it is not a configured generation."""
    assert "all generations give together" in run(judged, "card", "served").stdout


def test_a_card_of_nobody_is_refused(judged: str) -> None:
    """The error names the known generations."""
    ran = run(judged, "card", "oracle")
    assert isinstance(ran.exception, RiskwatchError)
    assert "'oracle': configured are rules, anchored" in str(ran.exception)


def test_a_score_has_a_price() -> None:
    """The time of a score is measured in microseconds, if there are features to score."""
    costs = models.costs_us(config(), {"anchored": {"severity": 0.5}})
    assert list(costs) == ["anchored"]
    assert 0.0 < costs["anchored"] < 100_000.0
