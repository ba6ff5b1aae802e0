"""The finding of a check, and the facts that groups share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import msgspec

if TYPE_CHECKING:
    from riskwatch.store.deployment import Deployment

Status = Literal["ok", "warn", "fail"]
SKEW_WARN_S: Final = 1.0
SKEW_FAIL_S: Final = 5.0


class Finding(msgspec.Struct, frozen=True):
    """The result of one check.

    Attributes
    ----------
    check : str
        Name of the check.
    status : {"ok", "warn", "fail"}
        ``warn``: workers run, but a person should look. ``fail``: workers cannot work.
    seen : str
        What was found, in one line.
    do : str
        What to do about it; empty if there is nothing to do.
    """

    check: str
    status: Status
    seen: str
    do: str = ""


@dataclass(slots=True)
class Facts:
    """Facts that one group finds and another needs; ``None`` while unknown.

    Attributes
    ----------
    positions : dict of str to int
        Next offset per stream (``topic/partition``) in the database.
    bounds : dict of (str, int) to (int, int)
        First and next offset per topic and partition at the broker.
    deployment : Deployment
        Deployment of the database.
    cluster : tuple of str, str
        Id of the broker's cluster, and prefix of the topics.
    writers : dict of str to list of str
        Users with rights to write, by topic; ``None`` also if the broker checks no rights.
    """

    positions: dict[str, int] | None = None
    bounds: dict[tuple[str, int], tuple[int, int]] | None = None
    deployment: Deployment | None = None
    cluster: tuple[str, str] | None = None
    writers: dict[str, list[str]] | None = None


def skew(check: str, theirs_s: float, before_s: float, after_s: float) -> Finding:
    """Return the finding about the difference between a server's clock and this machine's.

    Parameters
    ----------
    check : str
        Name of the finding.
    theirs_s : float
        Time of the server, seconds since 1970.
    before_s, after_s : float
        Time of this machine before the request, and after the answer, seconds since 1970.

    Examples
    --------
    >>> skew("clock of x", 107.5, 100.0, 100.2).status, skew("clock of x", 100.9, 100, 101).status
    ('fail', 'ok')
    """
    # The server answered between the two times; only a time outside of them is a difference.
    off = max(before_s - theirs_s, theirs_s - after_s, 0.0)
    ahead = "ahead of" if theirs_s > after_s else "behind"
    seen = f"{off:.3f} s {ahead} this machine" if off else "the same as this machine's"
    if off <= SKEW_WARN_S:
        return Finding(check, "ok", seen)
    status: Status = "fail" if off > SKEW_FAIL_S else "warn"
    do = "let a time service (chrony, systemd-timesyncd) set the clocks of both machines"
    return Finding(check, status, seen, do)
