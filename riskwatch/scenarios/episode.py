"""Episodes as data: what a TOML file under ``scenarios/data`` says, checked when it is read."""

from __future__ import annotations

from datetime import datetime
from importlib.resources import files
from typing import Annotated, Final, Literal

import msgspec

from riskwatch.core.enums import Cause, State
from riskwatch.core.events import CreditKind, Name
from riskwatch.core.scopes import ASSET, COUNTERPARTY, VENUE_ASSET, is_scope, kind_of_scope
from riskwatch.errors import ConfigError, RiskwatchError
from riskwatch.scenarios.path import PricePath

# Whether an episode makes sense: what its types alone cannot say.

_KINDS: Final = (ASSET, VENUE_ASSET, COUNTERPARTY)
"""Kinds of scopes that something can happen to."""


def check_episode(episode: Episode, file: str) -> None:
    """Refuse an episode that cannot be played or scored.

    Raises
    ------
    ConfigError
        With the key to mend in `file`, what was expected and what was found.
    """
    if not episode.start < episode.end:
        raise ConfigError(file, "end", "a moment after start", episode.end.isoformat())
    for label in episode.labels:
        if label.at_least is not None and label.by is None:
            raise ConfigError(file, f"labels.{label.scope}", "by when at_least must be reached")
    _paths(episode, file)
    _firm(episode, file)
    _events(episode, file)


def _paths(episode: Episode, file: str) -> None:
    """Refuse way-points that are no path, and feeds that would have no price."""
    paths = {f"assets.{name}": points for name, points in episode.assets.items()}
    paths |= {f"feeds.{f.name}.points": f.points for f in episode.feeds if f.points}
    paths |= {f"basis.{b.venue}.{b.asset}.points": b.points for b in episode.basis}
    paths |= {f"withdrawals.{w.venue}.takes": w.takes for w in episode.withdrawals}
    if episode.stress:
        paths["stress"] = episode.stress
    for key, points in paths.items():
        try:
            PricePath(points)
        except ValueError as error:
            raise ConfigError(file, key, f"a path ({error})") from error
    for feed in episode.feeds:
        missing = [a for a in (feed.base, feed.quote) if a not in episode.assets and a != "USD"]
        if missing and not feed.points:
            raise ConfigError(
                file, f"feeds.{feed.name}", "way-points, or assets that have a path", missing[0]
            )
    for basis in episode.basis:
        touched = [f for f in episode.feeds if f.venue == basis.venue and not f.points]
        if not any(basis.asset in (f.base, f.quote) for f in touched):
            raise ConfigError(
                file, f"basis.{basis.venue}.{basis.asset}", "a feed there without own way-points"
            )


def _firm(episode: Episode, file: str) -> None:
    """Refuse withdrawals of what is not held, or that end before they begin."""
    held = {(h.venue, h.asset): h.amount for h in episode.holdings}
    if len(held) < len(episode.holdings):
        raise ConfigError(file, "holdings", "each asset at each venue once")
    for w in episode.withdrawals:
        key = f"withdrawals.{w.venue}"
        if (w.venue, w.asset) not in held:
            raise ConfigError(file, key, f"holdings of {w.asset} there to withdraw from")
        if not episode.start <= w.begin <= w.end <= episode.end:
            raise ConfigError(file, key, "a begin and an end within the window, in this order")
        asked = w.amount * ((w.end - w.begin).total_seconds() // w.every_s + 1)
        if asked > held[w.venue, w.asset]:
            raise ConfigError(
                file, key, f"no more withdrawn than the {held[w.venue, w.asset]:,.0f} held", asked
            )


def _events(episode: Episode, file: str) -> None:
    """Refuse happenings outside the window, and controls whose right answer is to stop."""
    for happening in episode.events:
        key = f"events.{happening.scope}"
        if not is_scope(happening.scope) or kind_of_scope(happening.scope) not in _KINDS:
            raise ConfigError(
                file, key, "a scope: asset:, venue-asset: or counterparty:", happening.scope
            )
        if not episode.start <= happening.onset <= episode.end:
            raise ConfigError(file, key, "an onset within the window", happening.onset.isoformat())
        over = happening.over
        if over is not None and not happening.onset <= over <= episode.end:
            raise ConfigError(file, key, "an end within the window, after the onset", over)
        if happening.kind == "control" and happening.answer is State.HALT:
            raise ConfigError(file, key, "an answer below HALT: it is a control", "HALT")


Points = tuple[tuple[datetime, float], ...]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]
Share = Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)]


class EpisodeFeed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One feed of one venue.

    Attributes
    ----------
    venue, base, quote : str
        Which.
    digits : int
        Decimals of its prices.
    noise_bp : float
        Standard deviation of its noise in calm times, bp.
    half_spread_bp : float
        Half of its spread in calm times, bp.
    volume : float
        Median traded quantity per statement, in units of `base`.
    every_s : int
        Seconds from one statement to the next.
    quiet : float
        Share of statements without a trade, 0..1.
    carried : bool
        Whether a statement without a trade repeats the last price with zero volume (else there
        is none).
    points : tuple
        Way-points of its own; without them it follows the ratio of its two assets.
    stale : tuple of (datetime, datetime)
        Stretches in which its book stands still.
    prints : tuple of (datetime, float)
        Single prices that nobody else confirms.
    """

    venue: Name
    base: Name
    quote: Name
    digits: Annotated[int, msgspec.Meta(ge=0, le=8)]
    noise_bp: Positive
    half_spread_bp: Positive
    volume: Positive
    every_s: Annotated[int, msgspec.Meta(ge=1)] = 60
    quiet: Share = 0.0
    carried: bool = False
    points: Points = ()
    stale: tuple[tuple[datetime, datetime], ...] = ()
    prints: Points = ()

    @property
    def name(self) -> str:
        """``venue:base/quote``, as reasons and alerts spell it."""
        return f"{self.venue}:{self.base}/{self.quote}"


class News(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A credit event of an episode: when, who says so, about whom, what."""

    at: datetime
    source: Name
    subject: Name
    kind: CreditKind
    assets: tuple[Name, ...] = ()
    networks: tuple[Name, ...] = ()
    note: str = ""
    agency: Name | None = None
    rating: str | None = None
    previous: str | None = None
    jurisdiction: Name | None = None


class Basis(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an asset's worth at one venue differs from its worth everywhere else.

    Attributes
    ----------
    venue, asset : str
        Where, and of what; every feed of the venue that has no way-points of its own follows.
    points : tuple
        Way-points of the factor: 0.92 is a discount of eight per cent.
    """

    venue: Name
    asset: Name
    points: Points


class EpisodeHolding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the firm of an episode holds of one asset at one venue, stated every hour."""

    venue: Name
    asset: Name
    amount: Positive


class Withdrawals(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Withdrawals that the firm asks for, one after the other, and what becomes of them.

    Attributes
    ----------
    venue, asset : str
        From where, of what.
    amount : float
        Of each, in units of `asset`.
    begin, end : datetime
        First and last request.
    every_s : int
        Seconds from one request to the next.
    takes : tuple of (datetime, float)
        Way-points of the seconds from a request made then to its sending.
    stuck_from : datetime or None
        Requests from then on are accepted and never sent.
    network : str or None
        Over which.
    """

    venue: Name
    asset: Name
    amount: Positive
    begin: datetime
    end: datetime
    every_s: Annotated[int, msgspec.Meta(ge=60)]
    takes: Points
    stuck_from: datetime | None = None
    network: Name | None = None


class EpisodeEvent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an episode is about, and what is right to say of it.

    Attributes
    ----------
    what : str
        The event, in plain words.
    kind : str
        ``event``, or ``control``: nothing fails, and whoever stops trading is wrong.
    scope : str
        Whom it concerns.
    causes : tuple of Cause
        Right causes; ``none`` if silence is right, ``feed`` if a data-quality alert is.
    onset : datetime
        When it begins.
    over : datetime or None
        When it is over; None if it is not within the window.
    answer : State
        The right answer: the state to come to, and never to exceed.
    """

    what: str
    kind: Literal["event", "control"]
    scope: str
    causes: Annotated[tuple[Cause, ...], msgspec.Meta(min_length=1)]
    onset: datetime
    answer: State
    over: datetime | None = None


class Label(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a good monitor says of one scope.

    Attributes
    ----------
    scope : str
        About what.
    why : str
        The reason, in plain words.
    at_least, by : State or None, datetime or None
        The state to have reached, and when at the latest.
    at_most : State or None
        The state never to exceed.
    cause : Cause or None
        The right cause.
    """

    scope: str
    why: str
    at_least: State | None = None
    by: datetime | None = None
    at_most: State | None = None
    cause: Cause | None = None


class Episode(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One episode: a window, paths of assets, feeds, news and labels.

    Attributes
    ----------
    name, title : str
        As files and people call it.
    start, end : datetime
        The window, UTC; statements stand on it from `start` to `end`, both included.
    assets : dict of str to tuple
        Way-points per asset, USD.
    stress : tuple
        Way-points of what multiplies every feed's noise and spread.
    feeds, credit, labels : tuple
        What is stated, what becomes known, and what is right.
    basis : tuple
        Venues at which an asset is worth something else.
    holdings, withdrawals : tuple
        What the firm has and wants back; without holdings it is the sample firm.
    events : tuple
        What happens, for the scoreboard.
    seeds : tuple of int
        Seeds that the scoreboard runs.
    tick_s : int
        Width of the event-time grid that it runs on, seconds.
    """

    name: Name
    title: str
    start: datetime
    end: datetime
    assets: dict[Name, Points]
    feeds: tuple[EpisodeFeed, ...]
    stress: Points = ()
    credit: tuple[News, ...] = ()
    labels: tuple[Label, ...] = ()
    basis: tuple[Basis, ...] = ()
    holdings: tuple[EpisodeHolding, ...] = ()
    withdrawals: tuple[Withdrawals, ...] = ()
    events: tuple[EpisodeEvent, ...] = ()
    seeds: Annotated[tuple[int, ...], msgspec.Meta(min_length=1)] = (1, 2, 3)
    tick_s: Annotated[int, msgspec.Meta(ge=1)] = 60


def names() -> list[str]:
    """Names of the episodes that come with the package.

    Examples
    --------
    >>> "usdc_2023" in names()
    True
    """
    data = files("riskwatch.scenarios") / "data"
    return sorted(f.name[: -len(".toml")] for f in data.iterdir() if f.name.endswith(".toml"))


def load(name: str) -> Episode:
    """Read the episode `name`.

    Raises
    ------
    RiskwatchError
        If there is none of that name.
    ConfigError
        If its file says something that cannot be used.

    Examples
    --------
    >>> load("usdc_2023").title
    "USDC's weekend off its peg, March 2023"
    """
    if name not in names():
        raise RiskwatchError(f"no episode is named {name!r}; there are: {', '.join(names())}")
    return parse((files("riskwatch.scenarios") / "data" / f"{name}.toml").read_bytes(), name)


def parse(text: bytes, name: str) -> Episode:
    """Decode and check an episode's TOML; `name` is what errors call it.

    Raises
    ------
    ConfigError
        If it is not TOML, or says something that cannot be used.
    """
    file = f"{name}.toml"
    try:
        episode = msgspec.toml.decode(text, type=Episode)
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigError(file, "", "an episode", str(error)) from error
    check_episode(episode, file)
    return episode
