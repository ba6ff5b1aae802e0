"""Settings of routes: which alerts each takes, how it groups, repeats and escalates, its target."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from riskwatch.core.enums import Cause, State
from riskwatch.core.scopes import COUNTERPARTY, VENUE_ASSET, Scope, kind_of_scope, parse

if TYPE_CHECKING:
    from decimal import Decimal

GROUP_FIELDS: Final = (
    "alert", "scope", "scope_kind", "book", "counterparty", "asset", "severity", "cause", "about",
)  # fmt: skip
"""Fields of an alert by which a route can group."""


class AlertLevel(StrEnum):
    """Importance of an alert: its severity, adjusted by our exposure."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 (low) to 3 (critical)."""
        return _LEVELS.index(self)


_LEVELS: Final = tuple(AlertLevel)


class AlertKind(StrEnum):
    """Kind of an alert, derived from its key."""

    STATE = "state"
    """The state of a scope."""
    DATA = "data"
    """A scope that is restricted because data is missing."""
    REQUEST = "request"
    """A request that waits for a second operator."""
    COMMAND = "command"
    """Refused commands."""
    FOLDED = "folded"
    """WATCH alerts beyond the budget of the month."""
    CLIENT = "client"
    """An order path that does not obey the switch, or a HALT that did not take effect."""
    FAULT = "fault"
    """A failed worker of our own, or a limit of our own that was reached."""
    QUALITY = "quality"
    """A data-quality issue; only routes that name this kind take it."""
    OTHER = "other"


SILENCEABLE_KINDS: Final = (AlertKind.STATE, AlertKind.DATA, AlertKind.QUALITY)
"""Kinds that a silence or a HALT above may hold back; alerts that need an operator are not."""


def alert_kind(key: str, scope: str) -> AlertKind:
    """Return the kind of an alert.

    Examples
    --------
    >>> keys = ("asset:X", "asset:X|data", "asset:X|effect", "command|ann")
    >>> [alert_kind(key, "asset:X").value for key in keys]
    ['state', 'data', 'client', 'command']
    """
    if key == scope:
        return AlertKind.STATE
    if key == "firm|folded":
        return AlertKind.FOLDED
    head, tail = key.partition("|")[0], key.rpartition("|")[2]
    if head in ("command", "quality"):
        return AlertKind(head)
    if key.startswith("client:") or tail == "effect":
        return AlertKind.CLIENT
    return AlertKind(tail) if tail in ("data", "request", "fault") else AlertKind.OTHER


class Alert(Protocol):
    """The fields of an open alert that routes read; the alert's row has all of them.

    Attributes
    ----------
    key, scope : str
        Key and scope of the alert.
    about : AlertKind
        Its kind.
    severity : State
        Its severity when it was last raised.
    cause : Cause
        Its cause.
    usd : Decimal
        Our exposure when it was last raised, USD.
    """

    key: str
    scope: str
    about: AlertKind
    severity: State
    cause: Cause
    usd: Decimal


class Matcher(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conditions of a route: an alert matches if all given ones are met; an empty matcher has none.

    Attributes
    ----------
    severity : tuple of State
        Accepted severities.
    level_from : AlertLevel
        Lowest accepted level.
    usd_from : float
        Smallest accepted exposure, USD.
    scope_kind, scope, cause, about : tuple of str
        Accepted values; `scope` is exact. Data-quality issues match only if `about` names them.
    """

    severity: tuple[State, ...] = ()
    level_from: AlertLevel = AlertLevel.LOW
    usd_from: float = 0.0
    scope_kind: tuple[str, ...] = ()
    scope: tuple[str, ...] = ()
    cause: tuple[Cause, ...] = ()
    about: tuple[AlertKind, ...] = ()

    def matches(self, row: Alert, level: AlertLevel) -> bool:
        """Whether an alert meets all conditions."""
        kind_matches = row.about in self.about if self.about else row.about is not AlertKind.QUALITY
        return (
            kind_matches
            and (not self.severity or row.severity in self.severity)
            and level.rank >= self.level_from.rank
            and float(row.usd) >= self.usd_from
            and (not self.scope_kind or kind_of_scope(row.scope) in self.scope_kind)
            and (not self.scope or row.scope in self.scope)
            and (not self.cause or row.cause in self.cause)
        )


class Route(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One route of notifications.

    Attributes
    ----------
    id : str
        Name of the route.
    kind : str
        ``webhook`` (signed JSON) or ``slack`` (text and blocks).
    url_env, url_file : str
        Environment variable or file that holds the URL, which is a secret; one of the two.
    secret_env, secret_file : str
        The same for the key that signs a webhook's messages.
    match : tuple of Matcher
        The route takes an alert that any of these matches; without matchers it takes all.
    group_by : tuple of str
        Alerts that agree in these :data:`GROUP_FIELDS` are sent in one message.
    group_wait_s : float
        Time for which a group waits for further alerts, seconds. A HALT does not wait.
    repeat_s : float
        Time after which an unacknowledged group is notified again, seconds; 0 for never.
    escalate_after_s : float
        Time without an acknowledgement after which `escalate_to` is notified, seconds; 0 for never.
    escalate_to : str
        Another route.
    resolved : bool
        Whether to notify that an alert is over, if it was notified.
    tries : int
        Number of tries before a message becomes a dead letter.
    backoff_s, backoff_max_s : float
        First and longest pause between two tries, seconds; the pause doubles.
    timeout_s : float
        Time limit of one try in total, seconds.
    allow_http : bool
        Whether the URL may be without TLS.
    ca_file : str
        Certificates to trust instead of the system's.
    """

    id: str
    kind: str
    url_env: str = ""
    url_file: str = ""
    secret_env: str = ""
    secret_file: str = ""
    match: tuple[Matcher, ...] = ()
    group_by: tuple[str, ...] = ("scope",)
    group_wait_s: float = 5.0
    repeat_s: float = 14_400.0
    escalate_after_s: float = 0.0
    escalate_to: str = ""
    resolved: bool = True
    tries: int = 10
    backoff_s: float = 1.0
    backoff_max_s: float = 300.0
    timeout_s: float = 5.0
    allow_http: bool = False
    ca_file: str = ""

    def matches(self, row: Alert, level: AlertLevel) -> bool:
        """Whether the route takes an alert."""
        if not self.match:
            return row.about is not AlertKind.QUALITY
        return any(matcher.matches(row, level) for matcher in self.match)

    def group(self, row: Alert) -> str:
        """Return the key of an alert's group; ``all`` if there is only one group."""
        return " ".join(f"{name}={alert_field(row, name)}" for name in self.group_by) or "all"


class NotifyConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of notifications (``notify.toml``).

    Attributes
    ----------
    major_usd : float
        Exposure from which an alert's level is one higher, USD.
    minor_usd : float
        Exposure below which the level of an alert below HALT is one lower, USD.
    routes : dict of str to Route
        Routes by name.
    """

    major_usd: float = 1_000_000.0
    minor_usd: float = 10_000.0
    routes: dict[str, Route] = {}

    def level(self, row: Alert) -> AlertLevel:
        """Return the level of an alert.

        HALT is high, REDUCE medium, WATCH low. The level is one higher from `major_usd` on, and one
        lower below `minor_usd`. A small exposure lowers neither a HALT nor an alert that is not
        about exposure (a fault, a request). An order path that does not obey a HALT is critical.
        """
        rank = max(0, row.severity.rank - 1)
        if row.about is AlertKind.CLIENT and row.severity is State.HALT:
            return AlertLevel.CRITICAL
        if row.usd >= self.major_usd:
            rank += 1
        elif row.usd < self.minor_usd and row.severity is not State.HALT:
            rank -= row.about in SILENCEABLE_KINDS
        return _LEVELS[min(max(rank, 0), len(_LEVELS) - 1)]


def scope_parts(scope: str) -> Scope | None:
    """Return the parsed scope; ``None`` if it is no scope of the switch (a worker, a feed)."""
    try:
        return parse(scope)
    except ValueError:
        return None


def alert_field(row: Alert, name: str) -> str:
    """Return one of the :data:`GROUP_FIELDS` of an alert; empty if the alert lacks it."""
    if name in ("book", "counterparty", "asset"):
        return _part(scope_parts(row.scope), name)
    known = {"alert": row.key, "scope": row.scope, "scope_kind": kind_of_scope(row.scope)}
    return known[name] if name in known else str(getattr(row, name).value)


def _part(found: Scope | None, name: str) -> str:
    if found is None:
        return ""
    if found.kind == VENUE_ASSET and name in (COUNTERPARTY, "asset"):
        return found.name if name == COUNTERPARTY else found.asset
    return found.name if found.kind == name else ""
