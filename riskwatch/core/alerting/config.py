"""Routes to people: what each takes, how it groups, repeats and escalates, and where it leads."""

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
"""What a route can group by."""


class AlertLevel(StrEnum):
    """How much an alert matters to us: its severity, moved by our dollars."""

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
    """What kind of thing an alert is about; read off its key."""

    STATE = "state"
    """The state of a scope."""
    DATA = "data"
    """A scope that is restricted for want of data."""
    REQUEST = "request"
    """Something waits for a second person."""
    COMMAND = "command"
    """Commands that were refused."""
    FOLDED = "folded"
    """Alerts of WATCH over the budget of the month."""
    CLIENT = "client"
    """An order path that does not obey."""
    FAULT = "fault"
    """A worker of our own that stays down, or a bound of our own."""
    QUALITY = "quality"
    """A data-quality issue; only routes that ask for it get it."""
    OTHER = "other"


SILENCEABLE_KINDS: Final = (AlertKind.STATE, AlertKind.DATA, AlertKind.QUALITY)
"""What a silence of the scope, or a HALT over it, may hold back: nothing that asks for people."""


def alert_kind(key: str, scope: str) -> AlertKind:
    """Kind of an alert.

    Examples
    --------
    >>> [alert_kind(key, "asset:X").value for key in ("asset:X", "asset:X|data", "command|ann")]
    ['state', 'data', 'command']
    """
    if key == scope:
        return AlertKind.STATE
    if key == "firm|folded":
        return AlertKind.FOLDED
    head, tail = key.partition("|")[0], key.rpartition("|")[2]
    if head in ("command", "quality"):
        return AlertKind(head)
    if key.startswith("client:"):
        return AlertKind.CLIENT
    return AlertKind(tail) if tail in ("data", "request", "fault") else AlertKind.OTHER


class Alert(Protocol):
    """What routes read of an open alert; the row that is remembered of it has all of this.

    Attributes
    ----------
    key, scope : str
        Of the alert.
    about : About
        What kind of thing it is about.
    severity : State
        As it was last raised.
    cause : Cause
        What moved.
    usd : Decimal
        Our dollars on it when it was last raised, USD.
    """

    key: str
    scope: str
    about: AlertKind
    severity: State
    cause: Cause
    usd: Decimal


class Matcher(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a route takes: all conditions that are given must hold; an empty one takes every alert.

    Attributes
    ----------
    severity : tuple of State
        Any of these.
    level_from : Level
        This much, or more.
    usd_from : float
        With at least so many of our dollars on it, USD.
    scope_kind, scope, cause, about : tuple of str
        Any of these; `scope` is exact. Data-quality issues are taken only where `about` names them.
    """

    severity: tuple[State, ...] = ()
    level_from: AlertLevel = AlertLevel.LOW
    usd_from: float = 0.0
    scope_kind: tuple[str, ...] = ()
    scope: tuple[str, ...] = ()
    cause: tuple[Cause, ...] = ()
    about: tuple[AlertKind, ...] = ()

    def matches(self, row: Alert, level: AlertLevel) -> bool:
        """Whether an alert is of this kind."""
        wanted = row.about in self.about if self.about else row.about is not AlertKind.QUALITY
        return (
            wanted
            and (not self.severity or row.severity in self.severity)
            and level.rank >= self.level_from.rank
            and float(row.usd) >= self.usd_from
            and (not self.scope_kind or kind_of_scope(row.scope) in self.scope_kind)
            and (not self.scope or row.scope in self.scope)
            and (not self.cause or row.cause in self.cause)
        )


class Route(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to people.

    Attributes
    ----------
    id : str
        Name of the route.
    kind : str
        ``webhook`` (signed JSON) or ``slack`` (text and blocks).
    url_env, url_file : str
        Variable or file that holds the URL, which is a secret; one of the two.
    secret_env, secret_file : str
        The same for the key that a webhook's messages are signed with.
    match : tuple of Matcher
        Takes what any of them takes; everything where there is none.
    group_by : tuple of str
        Alerts that agree in these :data:`FIELDS` come in one message.
    group_wait_s : float
        Seconds that a group waits for more. A HALT does not wait.
    repeat_s : float
        Seconds after which a group that nobody acknowledged is told again; 0 for never.
    escalate_after_s : float
        Seconds without an acknowledgement after which `escalate_to` is told; 0 for never.
    escalate_to : str
        Another route.
    resolved : bool
        Whether to tell that an alert which was told is over.
    tries : int
        Tries before a message is a dead letter.
    backoff_s, backoff_max_s : float
        First and longest pause between two tries, seconds; it doubles.
    timeout_s : float
        Seconds that one try may take in all.
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
        """Whether an alert goes this way."""
        if not self.match:
            return row.about is not AlertKind.QUALITY
        return any(matcher.matches(row, level) for matcher in self.match)

    def group(self, row: Alert) -> str:
        """Key of the group that an alert is in; ``all`` if there is one group."""
        return " ".join(f"{name}={alert_field(row, name)}" for name in self.group_by) or "all"


class NotifyConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``notify.toml``.

    Attributes
    ----------
    major_usd : float
        So many of our dollars on it make an alert matter one level more, USD.
    minor_usd : float
        With fewer, an alert below HALT matters one level less, USD.
    routes : dict of str to Route
        By name.
    """

    major_usd: float = 1_000_000.0
    minor_usd: float = 10_000.0
    routes: dict[str, Route] = {}

    def level(self, row: Alert) -> AlertLevel:
        """How much an alert matters.

        HALT is high, REDUCE medium, WATCH low; a level more from `major_usd` on, a level less
        below `minor_usd`. No dollars lower a HALT, nor what is not about money (a fault, a
        request). An order path that does not obey a HALT is critical.
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
    """Scope in its parts; ``None`` of what is no scope of the switch (a worker, a feed)."""
    try:
        return parse(scope)
    except ValueError:
        return None


def alert_field(row: Alert, name: str) -> str:
    """One of :data:`FIELDS` of an alert; empty where it has none."""
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
