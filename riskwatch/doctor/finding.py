"""What a check found, and what one group tells another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import msgspec

Status = Literal["ok", "warn", "fail"]
SKEW_WARN_S: Final = 1.0
SKEW_FAIL_S: Final = 5.0


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    Attributes
    ----------
    check : str
        What.
    status : {"ok", "warn", "fail"}
        ``warn``: workers run, and somebody should look. ``fail``: workers cannot do their work.
    seen : str
        What was there, in one line.
    do : str
        What to do about it; empty where there is nothing to do.
    """

    check: str
    status: Status
    seen: str
    do: str = ""


@dataclass(slots=True)
class Facts:
    """What was learned on the way; ``None`` where nothing was.

    Attributes
    ----------
    positions : dict of str to int
        Next offset per stream (``topic/partition``) in the database.
    bounds : dict of (str, int) to (int, int)
        First and next offset per topic and partition at the broker.
    """

    positions: dict[str, int] | None = None
    bounds: dict[tuple[str, int], tuple[int, int]] | None = None


def skew(check: str, theirs_s: float, before_s: float, after_s: float) -> Finding:
    """Compare a server's clock with ours.

    Parameters
    ----------
    check : str
        Name of the finding.
    theirs_s : float
        What the server said, seconds since 1970.
    before_s, after_s : float
        Our clock before it was asked, and after it answered.

    Examples
    --------
    >>> skew("clock of x", 107.5, 100.0, 100.2).status, skew("clock of x", 100.9, 100, 101).status
    ('fail', 'ok')
    """
    # The answer was made at some time in between: only what is outside is surely a difference.
    off = max(before_s - theirs_s, theirs_s - after_s, 0.0)
    ahead = "ahead of" if theirs_s > after_s else "behind"
    seen = f"{off:.3f} s {ahead} this machine" if off else "the same as this machine's"
    if off <= SKEW_WARN_S:
        return Finding(check, "ok", seen)
    status: Status = "fail" if off > SKEW_FAIL_S else "warn"
    do = "let a time service (chrony, systemd-timesyncd) set the clocks of both machines"
    return Finding(check, status, seen, do)
