"""Caps of what may still go when everything else may not: authorised unwinds, and hedges.

A count that began anew with the process would let an unwind be used twice. So the counts of
unwinds are in a file, if there is one; and where nothing tells what was used of an unwind, because
its HALT stood when the process began without such a file, nothing more goes through it.
"""

from __future__ import annotations

import logging
from threading import Lock
from typing import TYPE_CHECKING

from riskwatch.client.guard.used import MOST
from riskwatch.contracts.acks import Used

if TYPE_CHECKING:
    from collections.abc import Iterable

    from riskwatch.client.guard.used import UsedFile

log = logging.getLogger("riskwatch.client")


class Budgets:
    """Counts what went under each cap. Safe to use from several threads.

    Parameters
    ----------
    file : UsedFile or None
        What remembers the counts of unwinds over restarts.

    Attributes
    ----------
    begun : bool
        Whether it is known of which unwinds the count is known; before, none may be used.
    """

    def __init__(self, file: UsedFile | None = None) -> None:
        self._lock = Lock()
        self._file = file
        self._unwound: dict[str, Used] = {} if file is None else dict(file.used)
        self._hedged: dict[str, Used] = {}
        known = None if file is None else file.closed
        self._closed: dict[str, None] = dict.fromkeys(known or [])
        self.begun = known is not None

    def begin(self, standing: Iterable[str]) -> None:
        """Close what stood before this process began: nobody knows what was used of it.

        Where the counts are known from a file, nothing needs to be closed.
        """
        with self._lock:
            if self.begun:
                return
            self._closed = dict.fromkeys(standing)
            self.begun = self._write(self._unwound)

    def unwind(self, caps: dict[str, float], usd: float) -> bool:
        """Take `usd` from the unwind of every decision, or from none.

        Parameters
        ----------
        caps : dict of str to float
            Most USD in all, by decision.
        usd : float
            Size of the order.
        """
        with self._lock:
            if not self.begun or any(name in self._closed for name in caps):
                return False
            after = _taken(self._unwound, caps, usd)
            if after is None or len(after) > MOST or not self._write(after):
                return False
            self._unwound = after
            return True

    def hedge(self, caps: dict[str, float], usd: float) -> bool:
        """Take `usd` from the hedges of every book, or from none.

        Examples
        --------
        >>> budgets = Budgets()
        >>> [budgets.hedge({"hedge:arb": 10.0}, 6.0), budgets.hedge({"hedge:arb": 10.0}, 6.0)]
        [True, False]
        """
        with self._lock:
            after = _taken(self._hedged, caps, usd)
            if after is None:
                return False
            self._hedged = after
            return True

    def forget(self, name: str) -> None:
        """Begin one count of hedges anew."""
        with self._lock:
            self._hedged.pop(name, None)

    def used(self) -> dict[str, Used]:
        """What went so far."""
        with self._lock:
            return self._unwound | self._hedged

    def close(self) -> None:
        """Let go of the file; no unwind goes any more."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self.begun = False

    def _write(self, used: dict[str, Used]) -> bool:
        """Whether the counts are where they outlive the process, if they have to be."""
        if self._file is None:
            return True
        try:
            self._file.write(used, list(self._closed))
        except OSError as error:
            # Refused, and perhaps counted in the file: too high is safe, too low is not.
            log.error("kill switch: unwinds cannot be counted: %s", error)  # noqa: TRY400
            return False
        return True


def _taken(used: dict[str, Used], caps: dict[str, float], usd: float) -> dict[str, Used] | None:
    """Counts after an order; ``None`` if a cap does not allow it."""
    if not usd > 0.0:  # neither NaN nor what would give room back
        return None
    had = {name: used.get(name, Used(usd=0.0, orders=0)) for name in caps}
    if any(had[name].usd + usd > cap for name, cap in caps.items()):
        return None
    more = {name: Used(usd=was.usd + usd, orders=was.orders + 1) for name, was in had.items()}
    return used | more
