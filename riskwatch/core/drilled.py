"""A drill as a fact that goes out: it says that order paths are exercised, and changes nothing."""

from __future__ import annotations

import re
from typing import ClassVar, Final

from riskwatch.core.output import Output

CLIENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Names of order paths."""
SCHEDULE: Final = "schedule"
"""Stands where the person stands, if the configuration asked for the drill."""


class DrillSignalled(Output, frozen=True, kw_only=True, gc=False):
    """Order paths are to rehearse: as if `scope` went to HALT. Nothing real changes.

    Attributes
    ----------
    scope : str
        What is exercised.
    plan : str
        Plan that asked for it; empty if a person did.
    person, reason : str
        Who asked for it, and why.
    expect : list of str
        Order paths that must answer, beside all that are known.
    """

    topic: ClassVar[str | None] = "riskwatch.drills"

    scope: str
    plan: str
    person: str
    reason: str
    expect: list[str]

    def key(self) -> str:
        """The scope."""
        return self.scope
