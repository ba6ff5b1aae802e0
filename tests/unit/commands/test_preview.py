"""The preview of a release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert

from riskwatch.commands.preview import release_preview
from riskwatch.core.enums import State
from riskwatch.core.outputs import DecisionMade
from riskwatch.core.stage import FORMAT
from riskwatch.engine.replay import open_database
from riskwatch.store.truth import STATE_ROW, WORKER_PROGRESS
from riskwatch.version import ENGINE
from tests.support.asking import SCOPE, asked, asking
from tests.support.risk import of

if TYPE_CHECKING:
    from pathlib import Path


def test_a_models_ask_for_halt_still_holds(tmp_path: Path) -> None:
    """The preview names a model's request for HALT, for every kind of scope."""
    stage = asked()
    assert of(stage.out, DecisionMade, SCOPE)[-1].state is State.HALT
    body = stage.state.drain()[f"scope/{SCOPE}"]
    with open_database(f"sqlite:///{tmp_path / 'r.db'}") as engine:
        with engine.begin() as conn:
            row = {"worker": "embedded", "stage": "risk", "key": f"scope/{SCOPE}", "body": body}
            conn.execute(insert(STATE_ROW).values(row))
            counted = dict.fromkeys(
                ("read", "applied", "duplicate", "rejected", "us", "next_seq", "next_journal"), 0
            )
            progress = {"worker": "embedded", "engine": ENGINE, "state_format": FORMAT, **counted}
            conn.execute(insert(WORKER_PROGRESS).values(progress))
        with engine.connect() as conn:
            found = release_preview(conn, asking(), SCOPE)
    assert found.state == "HALT"
    assert [why.partition(":")[0] for why in found.holding] == ["model.g.shut(1d).HALT"]
    assert any("THE CONDITION STILL HOLDS" in line for line in found.lines())
