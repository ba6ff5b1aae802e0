"""Caps of what may still go when everything else may not: authorised unwinds, and hedges."""

from __future__ import annotations

from threading import Lock

from riskwatch.contracts.acks import Used


class Budgets:
    """Counts what went under each cap. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._used: dict[str, Used] = {}

    def take(self, caps: dict[str, float], usd: float) -> bool:
        """Take `usd` from every cap, or from none.

        Parameters
        ----------
        caps : dict of str to float
            Most USD in all, by what the cap is counted under.
        usd : float
            Size of the order.

        Examples
        --------
        >>> budgets = Budgets()
        >>> [budgets.take({"d": 10.0}, 6.0), budgets.take({"d": 10.0}, 6.0)]
        [True, False]
        """
        if not usd > 0.0:  # neither NaN nor what would give room back
            return False
        with self._lock:
            had = {name: self._used.get(name, Used(usd=0.0, orders=0)) for name in caps}
            if any(had[name].usd + usd > cap for name, cap in caps.items()):
                return False
            for name, used in had.items():
                self._used[name] = Used(usd=used.usd + usd, orders=used.orders + 1)
            return True

    def forget(self, name: str) -> None:
        """Begin one count anew."""
        with self._lock:
            self._used.pop(name, None)

    def used(self) -> dict[str, Used]:
        """What went so far."""
        with self._lock:
            return dict(self._used)
