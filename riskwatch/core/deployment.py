"""Deployment ids: they say which riskwatch a command, a heartbeat or a bundle belongs to.

Every database has an id of its own (:mod:`riskwatch.store.deployment`). What one deployment signs
or publishes has no effect in another one.
"""

from __future__ import annotations

import re
from typing import Final

EMBEDDED: Final = "embedded"
"""Id of replays, the demo and tests in one process. No live worker and no live guard accepts it."""
UNBOUND: Final = ""
"""Stands for messages and records of builds that knew no deployments."""
VARIABLE: Final = "RISKWATCH_DEPLOYMENT"
"""Environment variable that names the deployment for the command line."""
_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")


def deployment_fault(text: object) -> str | None:
    """Return what a live deployment id must be, if `text` is none; else ``None``.

    Examples
    --------
    >>> deployment_fault("prod-eu"), deployment_fault("Prod"), deployment_fault("embedded")
    (None, "1 to 40 lower-case letters, digits and inner '-'", 'an id other than the reserved one')
    """
    if not isinstance(text, str) or _ID.fullmatch(text) is None:
        return "1 to 40 lower-case letters, digits and inner '-'"
    return "an id other than the reserved one" if text == EMBEDDED else None
