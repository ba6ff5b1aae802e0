"""Caps on orders that may pass when others may not: authorised unwinds, and hedges.

A count that starts at zero with each process would allow an unwind to be used twice. The counts of
unwinds are therefore stored in a file, if one is configured. Without a file, the process does not
know what was used of an unwind whose HALT was effective before the process started. Such an unwind
is closed.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from riskwatch.client.fork import check_owner
from riskwatch.client.guard.restriction import (
    HOUR_S,
    Minutes,
    closed_within_hour,
    with_closing,
)
from riskwatch.client.guard.view import NEVER
from riskwatch.contracts.acks import Used
from riskwatch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


MAX_ENTRIES: Final = 10_000
"""Most decisions that are stored."""
_MODE: Final = 0o600
_MAX_FILE_BYTES: Final = 16 * 2**20


class _Content(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    v: Literal[1] = 1
    client: str
    closed: list[str]
    used: dict[str, Used]
    closings: dict[str, Minutes] = {}


class UsageFile:
    """A small file that stores, over restarts, what one client used of authorised unwinds.

    The file is written before the answer is returned. A new file replaces the old one, and both are
    flushed to disk, so a crash at any moment leaves either the old content or the new one. A count
    may therefore be too high (an order that was counted and never sent), and is never too low. A
    lock keeps other processes from the file.

    Parameters
    ----------
    path : Path
        The file. Its folder must exist.
    client : str
        Client that the counts belong to.

    Attributes
    ----------
    used : dict of str to Used
        Used amounts, by decision.
    closed : list of str or None
        Decisions whose unwind may not be used; ``None`` if there was no file yet.
    closings : dict of str to dict
        Closing orders of the last hour: USD by minute, by scope.

    Raises
    ------
    ConfigError
        If the file cannot be used, because counts that cannot be read must not start at zero.
    """

    def __init__(self, path: Path, client: str) -> None:
        self._path = path
        self._client = client
        self._pid = os.getpid()
        self._lock = self._locked()
        self.used: dict[str, Used] = {}
        self.closed: list[str] | None = None
        self.closings: dict[str, Minutes] = {}
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def write(self, used: dict[str, Used], closed: list[str], closings: dict[str, Minutes]) -> None:
        """Replace the stored counts.

        Raises
        ------
        OSError
            If the write cannot be confirmed. The file then holds the new counts or the old ones.
        InheritedError
            If another process created this object: the lock is shared over a fork.
        """
        check_owner(self._pid, f"kill switch: used_file {self._path}")
        content = _Content(client=self._client, closed=closed, used=used, closings=closings)
        beside = self._path.with_name(f"{self._path.name}.new")
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE)
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(content))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def close(self) -> None:
        """Release the lock, so that another process can use the file."""
        if self._lock >= 0:
            with suppress(OSError):
                os.close(self._lock)
            self._lock = -1

    def _locked(self) -> int:
        # Imported here because some platforms lack it; only clients with a usage file need it.
        from fcntl import LOCK_EX, LOCK_NB, flock  # noqa: PLC0415

        beside = self._path.with_name(f"{self._path.name}.lock")
        try:
            handle = os.open(beside, os.O_RDWR | os.O_CREAT, _MODE)
        except OSError as error:
            raise self._unusable(f"that can be locked ({error.strerror})") from error
        try:
            flock(handle, LOCK_EX | LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise self._unusable("of one process alone, another one has it") from error
        return handle

    def _read(self) -> None:
        try:
            with self._path.open("rb") as file:
                raw = file.read(_MAX_FILE_BYTES)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unusable(f"that can be read ({error.strerror})") from error
        try:
            found = msgspec.json.decode(raw, type=_Content)
        except ValueError as error:
            raise self._unusable(f"of counts ({error})") from error
        if found.client != self._client:
            raise self._unusable(f"of {self._client}, this one is of {found.client}")
        minutes = [each for by in found.closings.values() for each in by.items()]
        counts = [used.usd for used in found.used.values()] + [usd for _, usd in minutes]
        if not all(0.0 <= usd < float("inf") for usd in counts):
            raise self._unusable("of counts of zero or more")
        if not all(minute.isascii() and minute.isdecimal() for minute, _ in minutes):
            raise self._unusable("of closing orders by minute")
        self.used, self.closed, self.closings = found.used, found.closed, found.closings

    def _unusable(self, expected: str) -> ConfigError:
        return ConfigError("kill switch", "used_file", f"a file {expected}", str(self._path))


log = logging.getLogger("riskwatch.client")


class Budgets:
    """Counts the orders that pass under each cap. Several threads may use it.

    Parameters
    ----------
    file : UsageFile or None
        Stores the counts of unwinds over restarts.

    Attributes
    ----------
    begun : bool
        Whether it is known which unwinds have a known count; before that, no unwind may be used.
    """

    def __init__(self, file: UsageFile | None = None) -> None:
        self._lock = Lock()
        self._pid = os.getpid()
        self._file = file
        self._unwound: dict[str, Used] = {} if file is None else dict(file.used)
        self._hedged: dict[str, Used] = {}
        self._closings: dict[str, Minutes] = {} if file is None else dict(file.closings)
        self._quiet_until = NEVER
        known = None if file is None else file.closed
        self._closed: dict[str, None] = dict.fromkeys(known or [])
        self.begun = known is not None

    def begin(self, decisions: Iterable[str], wall: float = NEVER) -> None:
        """Close the unwinds that were effective before this process started.

        Their use so far is unknown. If a file stores the counts, no unwind is closed. What of their
        hour's closing orders was used is unknown, too, until an hour has passed since `wall`.
        """
        with self._lock:
            if self.begun:
                return
            self._closed = dict.fromkeys(decisions)
            self._quiet_until = wall + HOUR_S
            self.begun = self._write(self._unwound)

    def unwind(self, caps: dict[str, float], usd: float) -> bool:
        """Take `usd` from the unwind of every decision, or from none; return whether it was taken.

        Parameters
        ----------
        caps : dict of str to float
            Total cap in USD, by decision.
        usd : float
            Size of the order.
        """
        if os.getpid() != self._pid:  # a forked child would spend the cap of its parent again
            return False
        with self._lock:
            if not self.begun or any(name in self._closed for name in caps):
                return False
            after = _counts_after(self._unwound, caps, usd)
            if after is None or len(after) > MAX_ENTRIES or not self._write(after):
                return False
            self._unwound = after
            return True

    def can_close(self, scope: str, decision: str, usd: float, cap: float, wall: float) -> bool:
        """Whether a closing order of `usd` has room in this hour's share of a scope.

        Parameters
        ----------
        scope, decision : str
            Scope at HALT, and the decision behind it.
        usd : float
            Size of the order.
        cap : float
            Share of the hour, USD.
        wall : float
            Seconds since 1970.
        """
        if os.getpid() != self._pid:
            return False
        with self._lock:
            return self._can_close(scope, decision, usd, cap, wall)

    def close_out(self, shares: dict[str, tuple[str, float]], usd: float, wall: float) -> bool:
        """Take `usd` from this hour's share of every scope, or from none.

        Parameters
        ----------
        shares : dict of str to tuple of str and float
            Decision and share of the hour in USD, by scope.
        usd, wall : float
            As of :meth:`can_close`.
        """
        if os.getpid() != self._pid:
            return False
        with self._lock:
            for scope, (decision, cap) in shares.items():
                if not self._can_close(scope, decision, usd, cap, wall):
                    return False
            after = {
                scope: kept
                for scope, minutes in self._closings.items()
                if (kept := with_closing(minutes, wall, 0.0)) and any(kept.values())
            }
            for scope in shares:
                after[scope] = with_closing(self._closings.get(scope, {}), wall, usd)
            if len(after) > MAX_ENTRIES or not self._write(self._unwound, after):
                return False
            self._closings = after
            return True

    def hedge(self, caps: dict[str, float], usd: float) -> bool:
        """Take `usd` from the hedges of every book, or from none; return whether it was taken.

        Examples
        --------
        >>> budgets = Budgets()
        >>> [budgets.hedge({"hedge:arb": 10.0}, 6.0), budgets.hedge({"hedge:arb": 10.0}, 6.0)]
        [True, False]
        """
        if os.getpid() != self._pid:
            return False
        with self._lock:
            after = _counts_after(self._hedged, caps, usd)
            if after is None:
                return False
            self._hedged = after
            return True

    def forget(self, name: str) -> None:
        """Reset one count of hedges to zero."""
        with self._lock:
            self._hedged.pop(name, None)

    def used(self) -> dict[str, Used]:
        """Return the amounts used so far."""
        with self._lock:
            return self._unwound | self._hedged

    def _can_close(self, scope: str, decision: str, usd: float, cap: float, wall: float) -> bool:
        if not self.begun or not usd > 0.0:  # refuses NaN, too
            return False
        if decision in self._closed and wall < self._quiet_until:
            return False
        return closed_within_hour(self._closings.get(scope, {}), wall) + usd <= cap

    def close(self) -> None:
        """Close the file; no unwind passes after that."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self.begun = False

    def inherit(self) -> None:
        """Close the budgets in a forked child; the parent keeps the lock of the file."""
        self._lock = Lock()  # a thread of the parent may have held the old one
        self.begun = False
        if self._file is not None:
            self._file.close()

    def _write(self, used: dict[str, Used], closings: dict[str, Minutes] | None = None) -> bool:
        """Store the counts, if there is a file; return whether they are safe."""
        if self._file is None:
            return True
        try:
            self._file.write(
                used, list(self._closed), self._closings if closings is None else closings
            )
        except OSError as error:
            # The order is refused and may be counted in the file: a count too high is safe.
            log.error("kill switch: unwinds cannot be counted: %s", error)  # noqa: TRY400
            return False
        return True


def _counts_after(
    used: dict[str, Used], caps: dict[str, float], usd: float
) -> dict[str, Used] | None:
    """Return the counts after an order; ``None`` if a cap does not allow it."""
    if not usd > 0.0:  # refuses NaN, and negative amounts, which would raise the cap
        return None
    had = {name: used.get(name, Used(usd=0.0, orders=0)) for name in caps}
    if any(had[name].usd + usd > cap for name, cap in caps.items()):
        return None
    more = {name: Used(usd=was.usd + usd, orders=was.orders + 1) for name, was in had.items()}
    return used | more
