"""A small file that remembers, over restarts, what went through authorised unwinds.

It is written before the answer is given, by another file that takes its place, and both are forced
to the disk: a crash at any moment leaves what was there before or what is there now. A count may
come to be too high by this (an order that was counted and never sent), and never too low.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from riskwatch.contracts.acks import Used
from riskwatch.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

MOST: Final = 10_000
"""Most decisions that are remembered."""
_MODE: Final = 0o600
_LONGEST: Final = 16 * 2**20


class _Content(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    v: Literal[1] = 1
    client: str
    closed: list[str]
    used: dict[str, Used]


class UsedFile:
    """The file of one client; a lock keeps other processes from it.

    Parameters
    ----------
    path : Path
        The file. Its folder must be there.
    client : str
        Whose counts they are.

    Attributes
    ----------
    used : dict of str to Used
        What went, by decision.
    closed : list of str or None
        Decisions whose unwind may not be used; ``None`` where there was no file yet.

    Raises
    ------
    ConfigError
        If it cannot be used: counts that cannot be read must not begin anew.
    """

    def __init__(self, path: Path, client: str) -> None:
        self._path = path
        self._client = client
        self._lock = self._locked()
        self.used: dict[str, Used] = {}
        self.closed: list[str] | None = None
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def write(self, used: dict[str, Used], closed: list[str]) -> None:
        """Make these the counts.

        Raises
        ------
        OSError
            If that cannot be made sure of. The file then has them, or what it had.
        """
        content = _Content(client=self._client, closed=closed, used=used)
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
        """Let another process have it."""
        if self._lock >= 0:
            with suppress(OSError):
                os.close(self._lock)
            self._lock = -1

    def _locked(self) -> int:
        # Where there are no such locks there are no such files either: only a path asks for them.
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
                raw = file.read(_LONGEST)
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
        if not all(0.0 <= used.usd < float("inf") for used in found.used.values()):
            raise self._unusable("of counts of zero or more")
        self.used, self.closed = found.used, found.closed

    def _unusable(self, expected: str) -> ConfigError:
        return ConfigError("kill switch", "used_file", f"a file {expected}", str(self._path))
