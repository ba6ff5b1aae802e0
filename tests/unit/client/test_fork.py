"""A forked child may not use the handles of its parent: no cap is spent twice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from riskwatch.client import InheritedError
from riskwatch.client.fork import check_owner

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).parents[3]
PARENT: Final = """
import os, sys
from pathlib import Path
from tests.unit.client.guard.test_switch import COIN, Guarded, ORDER
from riskwatch.core.enums import State

def answer_of(pid):
    assert os.waitpid(pid, 0)[1] == 0, "the child failed"
"""
SPEND: Final = """
guarded = Guarded(used_file=Path(sys.argv[1])).old()
guarded.know(guarded.truth.decide(COIN, State.HALT, guarded.unwind(usd="100")))

def spend(who):
    sent = 0
    while guarded.switch.allows(**ORDER, reduces=True, usd=1.0, slip_bp=1.0):
        sent += 1
    print(who, sent, flush=True)
    return guarded.switch.allows(**ORDER, reduces=True, usd=1.0, slip_bp=1.0)

guarded.switch.allows(**ORDER, reduces=True, usd=40.0, slip_bp=1.0)
pid = os.fork()
if pid == 0:
    print("why", spend("child").reason, flush=True)
    os._exit(0)
answer_of(pid)
spend("parent")
"""
LOCKED: Final = """
import threading
guarded = Guarded(hedges={"arb": 10.0}).know()
held, go = threading.Event(), threading.Event()

def hold():
    with guarded.trust.lock, guarded.switch._budgets._lock:
        held.set()
        go.wait()

thread = threading.Thread(target=hold)
thread.start()
held.wait()
pid = os.fork()
if pid == 0:
    answer = guarded.switch.allows(book="arb", hedge=True, usd=1.0)
    guarded.switch.acknowledgement()
    guarded.switch.close()
    print("child", bool(answer), bool(guarded.switch.allows(cancel=True)), flush=True)
    os._exit(0)
answer_of(pid)
go.set()
thread.join()
print("parent", bool(guarded.switch.allows(book="arb")), flush=True)
"""
OWN: Final = """
guarded = Guarded(used_file=Path(sys.argv[1]))
pid = os.fork()
if pid == 0:
    guarded.switch.close()
    try:
        Guarded(used_file=Path(sys.argv[1]))
    except Exception as error:
        print(error, flush=True)
    Guarded(used_file=Path(sys.argv[1] + ".child"))
    try:
        guarded.switch.start()
    except Exception as error:
        print(type(error).__name__, error, flush=True)
    os._exit(0)
answer_of(pid)
"""


def run(script: str, args: Sequence[object] = ()) -> list[str]:
    """Run a parent in a process of its own; return the lines that it and its child printed."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PARENT + script]
    done = subprocess.run(
        [*command, *map(str, args)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_two_processes_never_spend_one_cap_twice(tmp_path: Path) -> None:
    """A cap of 100 USD with 40 used lets 60 more pass in total, whoever asks first."""
    lines = run(SPEND, [tmp_path / "used.json"])
    assert [lines[0], lines[2]] == ["child 0", "parent 60"]
    assert "inherited by fork" in lines[1]


def test_a_child_never_waits_for_a_lock_of_its_parent() -> None:
    """A fork while a thread holds every lock leaves a child that refuses, and does not hang."""
    assert run(LOCKED) == ["child False True", "parent True"]


def test_the_parent_keeps_its_file_and_the_child_opens_its_own(tmp_path: Path) -> None:
    """A child that closes the inherited guard does not free the parent's file."""
    taken, started = run(OWN, [tmp_path / "used.json"])
    assert "one process alone" in taken
    assert started.startswith("InheritedError kill switch: it was inherited by fork")


def test_a_handle_names_its_owner() -> None:
    """The creating process may use a handle, and no other process."""
    check_owner(os.getpid(), "publisher")
    with pytest.raises(InheritedError, match="publisher: it was inherited by fork"):
        check_owner(os.getpid() + 1, "publisher")


MIRROR: Final = """
from riskwatch.client.mirror import MirrorReader
reader = MirrorReader("redis://127.0.0.1:1/0")
print("parent", reader.killswitch("firm").why, flush=True)
pid = os.fork()
if pid == 0:
    reading = reader.killswitch("firm")
    known = reader.killswitch_all().known
    print(reading.kind, reading.effective.value, reading.why, known, flush=True)
    reader.close()
    os._exit(0)
answer_of(pid)
"""


def test_a_mirror_reader_of_the_parent_knows_nothing() -> None:
    """In the child every reading is absent, which means HALT, and the reason names the fork."""
    parent, child = run(MIRROR)
    assert parent.startswith("parent Redis does not answer")
    assert child.startswith("absent HALT mirror: it was inherited by fork")
    assert child.endswith("False")
