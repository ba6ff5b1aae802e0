"""The file with the use of unwinds: a count is never too low, also after a crash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from riskwatch.client.guard.budget import Budgets, UsageFile
from riskwatch.contracts.acks import Used
from riskwatch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

CAP: Final = {"d": 400.0}
KILLS: Final = 4
SPENDER: Final = """
import sys
from pathlib import Path
from riskwatch.client.guard.budget import Budgets
from riskwatch.client.guard.budget import UsageFile
budgets = Budgets(UsageFile(Path(sys.argv[1]), "desk-1"))
budgets.begin([])
while budgets.unwind({"d": 400.0}, 1.0):
    print("sent", flush=True)
print("over", flush=True)
"""


def spend(file: Path, until: int) -> int:
    """Send orders in a process that is killed after `until`; return how many it sent."""
    command = [sys.executable, "-c", SPENDER, str(file)]
    sent = 0
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[4]
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line == "over\n":
                break
            sent += 1
            if sent == until:
                child.kill()
    return sent


def test_a_process_that_is_killed_cannot_spend_twice(tmp_path: Path) -> None:
    """Repeated SIGKILL does not let more than the cap be sent in total."""
    file = tmp_path / "used.json"
    sent = sum(spend(file, 60) for _ in range(KILLS))
    assert sent >= 60 * KILLS
    sent += spend(file, -1)
    assert sent <= CAP["d"]
    # Each kill loses at most one order, which was counted and not sent.
    assert sent >= CAP["d"] - KILLS
    assert spend(file, -1) == 0


def test_what_cannot_be_written_is_not_sent(tmp_path: Path) -> None:
    """Without its folder no order passes; orders pass again once the folder is back."""
    folder = tmp_path / "f"
    folder.mkdir()
    budgets = Budgets(UsageFile(folder / "used.json", "desk-1"))
    budgets.begin([])
    assert budgets.unwind(CAP, 1.0)
    folder.rename(tmp_path / "away")
    assert not budgets.unwind(CAP, 1.0)
    (tmp_path / "away").rename(folder)
    assert budgets.unwind(CAP, 1.0)
    budgets.close()
    assert UsageFile(folder / "used.json", "desk-1").used == {"d": Used(usd=2.0, orders=2)}


def test_nothing_goes_before_it_is_known_what_stood() -> None:
    """No unwind passes before `begin`; the unwinds given to its first call stay closed."""
    budgets = Budgets()
    assert not budgets.unwind(CAP, 1.0)
    budgets.begin(["old"])
    assert budgets.unwind(CAP, 1.0)
    budgets.begin(["d"])
    assert budgets.unwind(CAP, 1.0)
    assert not budgets.unwind({"old": 5.0}, 1.0)
    assert not budgets.unwind({"d": 400.0, "old": 5.0}, 1.0)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda path: path.write_text("{"), "of counts"),
        (lambda path: path.write_text('{"v":2,"client":"desk-1","closed":[],"used":{}}'), "counts"),
        (lambda path: path.write_text('{"client":"desk-2","closed":[],"used":{}}'), "of desk-1"),
        (
            lambda path: path.write_text(
                '{"client":"desk-1","closed":[],"used":{"d":{"usd":-5,"orders":1}}}'
            ),
            "zero or more",
        ),
        (lambda path: path.mkdir(), "can be read"),
    ],
)
def test_counts_that_cannot_be_read_do_not_begin_anew(
    tmp_path: Path, spoil: Callable[[Path], object], why: str
) -> None:
    """An unusable file is an error that names the file and the problem."""
    path = tmp_path / "used.json"
    spoil(path)
    with pytest.raises(ConfigError, match=why):
        UsageFile(path, "desk-1")
    with pytest.raises(ConfigError, match="can be locked"):
        UsageFile(tmp_path / "nowhere" / "used.json", "desk-1")
