"""Base of the guard's subscriptions: a thread that continues after every server error."""

from __future__ import annotations

import logging
from math import isfinite
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

from riskwatch.client.errors import ClientError, HistoryError
from riskwatch.client.guard.view import SwitchRow

if TYPE_CHECKING:
    from riskwatch.client.guard.trust import TrustState
    from riskwatch.core.outputs import KillSwitchChanged, Unwind

_AGAIN_S: Final = 0.2
_LONGEST_S: Final = 2.0
_CLOSE_S: Final = 5.0

log = logging.getLogger("riskwatch.client")


class SwitchSource:
    """One subscription. It passes messages to a trust state from its own thread.

    Parameters
    ----------
    name : str
        ``kafka`` or ``redis``.
    trust : TrustState
        State that receives the messages, and the times at which the server answered.
    """

    def __init__(self, name: str, trust: TrustState) -> None:
        self.name = name
        self.trust = trust
        self.stop = Event()
        self.thread = Thread(target=self._run, name=f"killswitch-{name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self.trust.mark_lost(self.name, "not connected yet")
        self.thread.start()

    def close(self) -> None:
        """Stop the thread; wait for at most five seconds."""
        self.stop.set()
        if self.thread.is_alive():
            self.thread.join(_CLOSE_S)

    def follow(self) -> None:
        """Read until :attr:`stop` is set, an error occurs, or the table must be read again."""
        raise NotImplementedError

    def _run(self) -> None:
        pause = _AGAIN_S
        while not self.stop.is_set():
            began = self.trust.clock()
            try:
                self.follow()
                pause = _AGAIN_S
                continue
            except HistoryError as error:
                self.trust.reset(str(error))
                self._report_error(error)
            except ClientError as error:
                self._report_error(error)
            except Exception as error:  # a bug must not end the subscription silently
                log.exception("kill switch: subscription to %s", self.name)
                self._report_error(error)
            if self.trust.clock() - began > _LONGEST_S:
                pause = _AGAIN_S
            self.stop.wait(pause)
            pause = min(2 * pause, _LONGEST_S)

    def _report_error(self, error: Exception) -> None:
        why = f"{type(error).__name__}: {error}"
        if self.trust.sources.get(self.name) != why:
            log.warning("kill switch: %s: %s", self.name, why)
        self.trust.mark_lost(self.name, why)
        self.trust.settle()


def usable_unwind(unwind: Unwind | None) -> Unwind | None:
    """Return an unwind that can be applied; ``None`` if it has no end or its caps are invalid.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> from decimal import Decimal
    >>> from riskwatch.core.outputs import Unwind
    >>> end = datetime(2023, 3, 11, tzinfo=UTC)
    >>> usable_unwind(Unwind(Decimal(5), 10.0, end)) is None, usable_unwind(None)
    (False, None)
    >>> absurd = ((Decimal(-1), 10.0), (Decimal("Infinity"), 10.0), (Decimal(5), -1.0))
    >>> [usable_unwind(Unwind(usd, bp, end)) for usd, bp in absurd]
    [None, None, None]
    >>> usable_unwind(Unwind(Decimal(5), 10.0, end.replace(tzinfo=None)))
    """
    if unwind is None or unwind.until.tzinfo is None:
        return None
    caps = (unwind.max_usd, unwind.max_slip_bp)
    return unwind if all(isfinite(cap) and cap >= 0 for cap in caps) else None


def row_of(output: KillSwitchChanged, place: tuple[str, int, int], applied: float) -> SwitchRow:
    """Return the table row of a message."""
    worker, epoch, seq = place
    return SwitchRow(
        scope=output.scope,
        state=output.effective,
        decision_id=output.decision_id,
        why=output.reasons[0] if output.reasons else output.cause.value,
        worker=worker,
        epoch=epoch,
        seq=seq,
        applied=applied,
        unwind=usable_unwind(output.unwind),
        restriction=output.restriction,
        members=tuple(output.members),
    )
