"""The deployment that a guard obeys: the given one, or the first that it verified.

A message of another deployment is never applied. It is logged, and shown in the reasons of answers
and in acknowledgements. Messages of builds that knew no deployments name none. They count as long
as the guard knows no deployment; a guard that knows one takes only their switches, which a
heartbeat of its own deployment must confirm.
"""

from __future__ import annotations

import logging
from typing import Final

from riskwatch.core.deployment import EMBEDDED, UNBOUND, deployment_fault
from riskwatch.errors import ConfigError

SOURCE: Final = "deployment"
"""Name under which refused messages are shown among the states of subscriptions."""
_MAX_LOGGED: Final = 100

log = logging.getLogger("riskwatch.client")


class DeploymentPin:
    """The deployment that a guard obeys.

    Parameters
    ----------
    given : str or None
        Its id; ``None`` for the first one that a heartbeat verifies.

    Attributes
    ----------
    id : str
        The deployment; empty while none is known.
    fault : str
        The last refused message since the last confirmed table but one; empty if there is none.

    Raises
    ------
    ConfigError
        If `given` is not the id of a live deployment.
    """

    def __init__(self, given: str | None = None) -> None:
        expected = None if given is None else deployment_fault(given)
        if expected is not None:
            raise ConfigError("kill switch", "deployment", expected, given)
        self.id = given or UNBOUND
        self.fault = ""
        self._is_new = False
        self._rows: dict[str, str] = {}
        self._logged: dict[tuple[str, str], None] = {}

    def refuses(self, what: str, deployment: str) -> bool:
        """Whether a heartbeat or a drill of a deployment must not be obeyed; note it if so."""
        if deployment != EMBEDDED and self.id in (UNBOUND, deployment):
            return False
        self._note(f"{what} of {_named(deployment)} was refused: {self._obeys()}")
        return True

    def refuses_row(self, scope: str, deployment: str) -> bool:
        """Whether the switch of a scope must not be applied; note it if so.

        While no deployment is known, it is remembered who sent the switch, for :meth:`mixed`.
        """
        if deployment == UNBOUND:
            return False
        if self.refuses(f"the switch of {scope}", deployment):
            return True
        if self.id == UNBOUND:
            self._rows[scope] = deployment
        return False

    def mixed(self, deployment: str) -> str:
        """Return why a heartbeat cannot confirm the table: its switches are of others."""
        others = sorted({name for name in self._rows.values() if name != deployment})
        if not others:
            return ""
        return (
            f"the heartbeat is of {_named(deployment)}, and switches are of deployment "
            f"{', '.join(others)}: give the guard a deployment"
        )

    def confirm(self, deployment: str) -> None:
        """Take note that a heartbeat of a deployment confirmed the table."""
        if self.id == UNBOUND and deployment != UNBOUND:
            self.id = deployment
            self._rows.clear()
            log.warning(
                "kill switch: obeys deployment %s, the first that was verified; give "
                "deployment= to name it",
                deployment,
            )
        if not self._is_new:
            self.fault = ""
        self._is_new = False

    def clear(self) -> None:
        """Forget who sent the switches, because the table was cleared."""
        self._rows.clear()

    def _note(self, fault: str) -> None:
        self.fault, self._is_new = fault, True
        key = (self.id, fault)
        if key not in self._logged and len(self._logged) < _MAX_LOGGED:
            self._logged[key] = None
            log.warning("kill switch: %s", fault)

    def _obeys(self) -> str:
        return f"this guard obeys deployment {self.id}" if self.id else "no guard obeys it"


def _named(deployment: str) -> str:
    return f"deployment {deployment}" if deployment else "no deployment"
