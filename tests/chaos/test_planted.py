"""The laboratory detects each planted fault, and finds none without one."""

from __future__ import annotations

import signal
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from riskwatch.contracts.codec import decode
from riskwatch.contracts.refusal import Refusal
from riskwatch.engine import bootstrap
from riskwatch.engine.replay import ReplayJob, ReplayLimits, replay_files
from tests.chaos.lab import Lab, wait_for
from tests.chaos.verdict import Outcome, conserved, outcome, same_outcome, topics_hold
from tests.support.events import write_mixed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.kafka import Node
    from tests.support.postgres import Server

# Clients of a broker that is killed leave sockets behind, which are collected at some time.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
PARTS = 12


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Half an hour of events, all of them good."""
    path = tmp_path_factory.mktemp("events") / "mixed.ndjson"
    write_mixed(path, hours=0.6, seed=9)
    return [
        line
        for line in path.read_bytes().splitlines()
        if not isinstance(decode(line), Refusal)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def embedded(lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What the same events come to in one process."""
    folder = tmp_path_factory.mktemp("embedded")
    (folder / "e.ndjson").write_bytes(b"".join(line + b"\n" for line in lines))
    config = bootstrap.configuration()
    what = ReplayJob([folder / "e.ndjson"], f"sqlite:///{folder}/r.db", limits=ReplayLimits(1000))
    replay_files(what, bootstrap.pipeline(config), config=config)
    return outcome(f"sqlite:///{folder}/r.db")


def parts(lines: list[bytes]) -> list[list[bytes]]:
    """The same lines in a dozen parts."""
    size = -(-len(lines) // PARTS)
    return [lines[at : at + size] for at in range(0, len(lines), size)]


def breaches(lab: Lab, embedded: Outcome) -> list[str]:
    """Everything that is wrong with a finished run."""
    return [
        *same_outcome(embedded, outcome(lab.database), timedelta(minutes=15)),
        *conserved(lab),
        *topics_hold(lab),
    ]


@pytest.mark.parametrize("fault", ["torn", "ack"])
def test_a_worker_that_tears_is_caught(
    fault: str,
    root: Path,
    tmp_path: Path,
    kafka_chaos: tuple[Node, Server],
    lines: list[bytes],
    embedded: Outcome,
) -> None:
    """One SIGKILL at the wrong moment, and the end is not what it must be."""
    lab = Lab(root, tmp_path, *kafka_chaos, fault, module=("tests.chaos.faulty", fault))
    lab.extra["RISKWATCH_TEST_MARKER"] = str(tmp_path / "died")
    lab.set_up()
    try:
        lab.start("ledger-1", "risk-1")
        for part in parts(lines):
            lab.publish(part)
            lab.settle(seconds=0.5)
        lab.settle(seconds=4)
        lab.stop()
        assert (tmp_path / "died").exists()
        assert breaches(lab, embedded) != []
    finally:
        lab.destroy()


@pytest.mark.parametrize("fault", [None, "unfenced"])
def test_a_leader_that_wakes_late(
    fault: str | None,
    root: Path,
    tmp_path: Path,
    kafka_chaos: tuple[Node, Server],
    lines: list[bytes],
    embedded: Outcome,
) -> None:
    """Paused, replaced, woken: fenced it changes nothing, and without a fence that is seen."""
    module = ("riskwatch", "run") if fault is None else ("tests.chaos.faulty", fault)
    lab = Lab(root, tmp_path, *kafka_chaos, f"late-{fault}", module=module)
    lab.set_up()
    try:
        lab.start("ledger-1", "risk-1")
        whole = parts(lines)
        for part in whole[:6]:
            lab.publish(part)
        lab.settle(seconds=1.5)
        lab.signal("risk-1", signal.SIGSTOP)
        lab.fence()
        lab.start("risk-2")
        lab.wait_opened("risk-2")
        for part in whole[6:9]:
            lab.publish(part)
        lab.settle(seconds=1.5)
        lab.signal("risk-1", signal.SIGCONT)
        for part in whole[9:]:
            lab.publish(part)
        lab.settle(seconds=4)
        if fault is None:
            assert ("risk-1", 2) in lab.exits
            lab.wait_done()
        lab.stop()
        assert (breaches(lab, embedded) == []) is (fault is None)
    finally:
        lab.destroy()


def test_waiting_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What never comes is said, with the place of the logs."""
    monkeypatch.setattr("tests.chaos.lab.PATIENCE_S", 0.2)
    before = time.monotonic()
    with pytest.raises(AssertionError, match="waited too long for godot"):
        wait_for(lambda: False, "godot", tmp_path)
    assert time.monotonic() - before < 5
