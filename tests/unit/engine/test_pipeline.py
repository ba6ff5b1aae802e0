"""The routing of a pipeline: which stage takes an input, the order, and the journal."""

from __future__ import annotations

from typing import Any

import pytest

from riskwatch.contracts.codec import decode
from riskwatch.core.events import Fill, Quote, Tick
from riskwatch.core.readings import CounterpartyReading, FlowFeatures, MarketReading
from riskwatch.engine.pipeline import Effects, Pipeline, StageSlot
from tests.support.toy import Rows, fill_line

FLOW = FlowFeatures(0, 0, 0, 0, 0, {}, {}, 0, 0)


class Telling:
    """A stage that tells a list what it was handed, and answers as it was told to."""

    def __init__(self, name: str, told: list[str], answers: dict[type, Any] | None = None) -> None:
        self.name = name
        self.told = told
        self.answers = answers or {}

    def step(self, state: Rows, event: Any) -> list[Any]:
        """Note the input; answer a reading or nothing."""
        state.put("n", int(state.values.get("n", 0)) + 1)
        self.told.append(f"{self.name} {type(event).__name__}")
        answer = self.answers.get(type(event))
        return [] if answer is None else [answer]


def three(told: list[str], *, journal: str = "risk") -> list[StageSlot]:
    """Make ledger, market and risk; the first two answer ticks with a reading."""
    reading, market = CounterpartyReading(1, "kraken", [], [], FLOW), MarketReading(1, [], [])
    rows = (
        (Telling("ledger", told, {Tick: reading}), (Fill, Tick)),
        (Telling("market", told, {Tick: market}), (Quote, Tick)),
        (Telling("risk", told), (CounterpartyReading, MarketReading, Tick)),
    )
    return [StageSlot(stage, Rows(), takes, journal=stage.name in journal) for stage, takes in rows]


def test_a_tick_goes_through_all_stages_readings_first() -> None:
    """Risk hears what ledger and market have to say before time passes for it."""
    told: list[str] = []
    Pipeline(three(told)).apply(Tick(1), Effects())
    assert told == [
        "ledger Tick", "risk CounterpartyReading", "market Tick", "risk MarketReading", "risk Tick"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("journal", "keep", "expected"),
    [
        ("risk", False, ["CounterpartyReading", "MarketReading", "Tick"]),
        ("market risk", False, ["CounterpartyReading", "Tick", "MarketReading"]),
        ("", False, []),
        ("", True, ["Fill", "Tick", "CounterpartyReading", "MarketReading"]),
    ],
)
def test_inputs_are_journalled_once_where_first_needed(
    journal: str, keep: bool, expected: list[str]
) -> None:
    """The journal has the inputs of the slots that ask for it, in the order of those slots."""
    pipeline, effects = Pipeline(three([], journal=journal), keep_events=keep), Effects()
    pipeline.apply(decode(fill_line(1, 0)), effects)
    pipeline.apply(Tick(1), effects)
    assert [type(x).__name__ for x in effects.inputs] == expected
    assert effects.outputs == []


def test_readings_that_nobody_takes_leave() -> None:
    """A worker that runs the ledger alone passes its readings on."""
    pipeline, effects = Pipeline(three([])[:1]), Effects()
    pipeline.apply(Tick(1), effects)
    assert [type(x) for x in effects.outputs] == [CounterpartyReading]
    assert pipeline.takes(Fill)
    assert not pipeline.takes(Quote)


def test_rows_are_loaded_and_drained_per_stage() -> None:
    """Stages without changes are left out."""
    slots = three([])
    pipeline = Pipeline(slots)
    pipeline.load({"ledger": {"n": b"4"}})
    pipeline.apply(decode(fill_line(1, 0)), Effects())
    assert pipeline.drain() == {"ledger": {"n": b"5"}}
    assert pipeline.drain() == {}


@pytest.mark.parametrize("names", [[], ["ledger", "ledger"]])
def test_stages_have_names_of_their_own(names: list[str]) -> None:
    """Rows are kept by stage name."""
    with pytest.raises(ValueError, match="names of their own"):
        Pipeline(StageSlot(Telling(name, []), Rows(), (Fill,)) for name in names)
