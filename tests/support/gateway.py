"""A reference order gateway: it asks the guard before each order that it sends to a venue."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from riskwatch.client import Answer, KillSwitch

PACE_S: Final = 0.001
WAIT_S: Final = 30.0


@dataclass
class Venue:
    """A simulated venue: takes orders, lets them rest, and takes them back."""

    resting: dict[int, float] = field(default_factory=dict)
    taken: int = 0
    last: float = float("-inf")

    def place(self) -> int:
        """Take an order; returns its number."""
        self.taken += 1
        self.last = time.monotonic()
        self.resting[self.taken] = self.last
        return self.taken

    def cancel(self, number: int) -> None:
        """Take an order back."""
        del self.resting[number]


class Gateway:
    """Trades as fast as it may in one scope, and cancels what rests once it may not.

    Parameters
    ----------
    guard : KillSwitch
        What is asked.
    order : dict
        What each order touches.
    """

    def __init__(self, guard: KillSwitch, **order: Any) -> None:
        self.guard = guard
        self.venue = Venue()
        self.order = order
        self.refused: Answer | None = None
        self.refused_at = float("inf")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._trade, name="gateway")

    def _trade(self) -> None:
        while not self._stop.wait(PACE_S):
            answer = self.guard.allows(**self.order)
            if answer:
                self.refused, self.refused_at = None, float("inf")
                self.venue.place()
                continue
            if self.refused is None:
                self.refused_at = time.monotonic()
            self.refused = answer
            for number in list(self.venue.resting):
                assert self.guard.allows(**self.order, cancel=True)
                self.venue.cancel(number)

    def trades(self) -> Gateway:
        """Wait until it trades."""
        taken = self.venue.taken
        wait(lambda: self.venue.taken > taken, "it does not trade")
        return self

    def stops(self, since: float, within: float) -> float:
        """Wait until it stopped and nothing rests; returns how long after `since` that was."""
        deadline = since + within + 5
        wait(lambda: self.refused is not None and not self.venue.resting, "it trades on", deadline)
        took = self.refused_at - since
        assert took <= within, f"stopped after {took:.2f} s, {within} s were stated"
        assert self.venue.last <= self.refused_at
        return took

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)


def wait(holds: Callable[[], Any], why: str, deadline: float | None = None) -> Any:
    """Ask until something holds."""
    until = time.monotonic() + WAIT_S if deadline is None else deadline
    while not (found := holds()):
        assert time.monotonic() < until, why
        time.sleep(0.002)
    return found


def stays(holds: Callable[[], bool], seconds: float) -> Iterator[bool]:
    """Ask again and again for so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield holds()
        time.sleep(0.01)
