"""The checks of ``riskwatch doctor``: whether everything that workers need is present and right.

Each module of this package is a group of checks, and yields findings. To add a check, yield one
more finding. Each group runs in a thread of its own, so that a server without an answer does not
delay the other groups.
"""

from __future__ import annotations

from queue import Empty, Queue
from threading import Thread
from typing import TYPE_CHECKING, Final

from riskwatch.doctor import broker, local, mirror, notify, store
from riskwatch.doctor.finding import Facts, Finding
from riskwatch.errors import RiskwatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from riskwatch.worker.settings import ProcessSettings

    Group = Callable[[ProcessSettings, Facts], Iterator[Finding]]

ANSWER_S: Final = 6.0
"""Longest wait for the next finding of a group, seconds; servers have 5."""
GROUPS: Final[tuple[tuple[str, Group], ...]] = (
    ("machine", local.findings),
    ("database", store.findings),
    ("broker", broker.findings),
    ("mirror", mirror.findings),
    ("routes", notify.findings),
)

__all__ = ["Finding", "examine"]


def examine(settings: ProcessSettings) -> Iterator[Finding]:
    """Run all checks, and yield each finding as soon as it is known.

    Parameters
    ----------
    settings : ProcessSettings
        Settings of the environment in which workers run.

    Yields
    ------
    Finding
        Findings in a fixed order. The function raises nothing and changes nothing.
    """
    facts = Facts()
    running = [(name, _start(group, settings, facts)) for name, group in GROUPS]
    for name, found in running:
        try:
            while (finding := found.get(timeout=ANSWER_S)) is not None:
                yield finding
        except Empty:
            do = "see whether it hangs, and whether a firewall swallows what is sent to it"
            yield Finding(name, "fail", f"no answer within {ANSWER_S:.0f} s", do)
    # Deployment and lag need the facts of both the database and the broker.
    if (about := broker.deployment_finding(facts)) is not None:
        yield about
    yield from broker.lag_findings(facts)


def _start(group: Group, settings: ProcessSettings, facts: Facts) -> Queue[Finding | None]:
    """Run a group in a thread. Its findings come through the queue, ``None`` last."""
    found: Queue[Finding | None] = Queue()

    def run() -> None:
        try:
            for finding in group(settings, facts):
                found.put(finding)
        except RiskwatchError as error:
            found.put(Finding(group.__module__.rpartition(".")[2], "fail", str(error)))
        except Exception as error:  # noqa: BLE001 - a check that fails is a finding too
            what = f"this check failed itself: {type(error).__name__}: {error}"
            found.put(Finding(group.__module__.rpartition(".")[2], "fail", what))
        found.put(None)

    Thread(target=run, name="doctor", daemon=True).start()
    return found
