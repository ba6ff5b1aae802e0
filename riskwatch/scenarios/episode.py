"""Episodes as data: the contents of a TOML file under ``scenarios/data``, and their checks."""

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

# Checks that go beyond the types of the fields.

_KINDS: Final = (ASSET, VENUE_ASSET, COUNTERPARTY)
"""Kinds of scopes that an event can concern."""


def check_episode(episode: Episode, file: str) -> None:
    """Raise an error for an episode that cannot be played or scored.

    Raises
    ------
    ConfigError
        With the key to correct in `file`, the expected and the found value.
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
    """Check that way-points form a path, and that every feed has a price."""
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
        feeds = [f for f in episode.feeds if f.venue == basis.venue and not f.points]
        if not any(basis.asset in (f.base, f.quote) for f in feeds):
            raise ConfigError(
                file, f"basis.{basis.venue}.{basis.asset}", "a feed there without own way-points"
            )


def _firm(episode: Episode, file: str) -> None:
    """Check withdrawals against holdings, and that each begins before it ends."""
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
    """Check that events are within the window, and that no control is answered by HALT."""
    for event in episode.events:
        key = f"events.{event.scope}"
        if not is_scope(event.scope) or kind_of_scope(event.scope) not in _KINDS:
            raise ConfigError(
                file, key, "a scope: asset:, venue-asset: or counterparty:", event.scope
            )
        if not episode.start <= event.onset <= episode.end:
            raise ConfigError(file, key, "an onset within the window", event.onset.isoformat())
        over = event.over
        if over is not None and not event.onset <= over <= episode.end:
            raise ConfigError(file, key, "an end within the window, after the onset", over)
        if event.kind == "control" and event.answer is State.HALT:
            raise ConfigError(file, key, "an answer below HALT: it is a control", "HALT")


Points = tuple[tuple[datetime, float], ...]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]
Share = Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)]


class EpisodeFeed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One feed of one venue.

    Attributes
    ----------
    venue, base, quote : str
        The feed.
    digits : int
        Decimals of its prices.
    noise_bp : float
        Standard deviation of its noise in calm times, bp.
    half_spread_bp : float
        Half of its spread in calm times, bp.
    volume : float
        Median traded quantity per quote, in units of `base`.
    every_s : int
        Seconds from one quote to the next.
    quiet : float
        Share of quotes without a trade, 0..1.
    carried : bool
        Whether a step without a trade repeats the last price with zero volume; otherwise it has no
        quote.
    points : tuple
        Way-points of the feed itself; without them it follows the ratio of its two assets.
    stale : tuple of (datetime, datetime)
        Intervals in which its book does not change.
    prints : tuple of (datetime, float)
        Single prices that no other feed confirms.
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
        """``venue:base/quote``, the spelling of reasons and alerts."""
        return f"{self.venue}:{self.base}/{self.quote}"


class News(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A credit event of an episode: its time, source, subject and kind."""

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
    """The ratio of an asset's value at one venue to its value everywhere else.

    Attributes
    ----------
    venue, asset : str
        The venue and the asset. Every feed of the venue without way-points of its own follows.
    points : tuple
        Way-points of the factor: 0.92 is a discount of eight per cent.
    """

    venue: Name
    asset: Name
    points: Points


class EpisodeHolding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The firm's holding of one asset at one venue, reported every hour."""

    venue: Name
    asset: Name
    amount: Positive


class Withdrawals(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A series of withdrawals that the firm requests, and their results.

    Attributes
    ----------
    venue, asset : str
        The venue and the asset.
    amount : float
        Amount of each withdrawal, in units of `asset`.
    begin, end : datetime
        First and last request.
    every_s : int
        Seconds from one request to the next.
    takes : tuple of (datetime, float)
        Way-points of the seconds from a request at that time to its sending.
    stuck_from : datetime or None
        Requests from then on are accepted and never sent.
    network : str or None
        The network.
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
    """The event of an episode, and its correct assessment.

    Attributes
    ----------
    what : str
        The event, in plain words.
    kind : str
        ``event``, or ``control``: nothing fails, and stopping to trade is wrong.
    scope : str
        The scope that it concerns.
    causes : tuple of Cause
        Correct causes; ``none`` if the correct result is no alert, ``feed`` if it is a data-quality
        alert.
    onset : datetime
        When it begins.
    over : datetime or None
        When it is over; ``None`` if that is not within the window.
    answer : State
        The correct answer: the state to reach, and never to exceed.
    """

    what: str
    kind: Literal["event", "control"]
    scope: str
    causes: Annotated[tuple[Cause, ...], msgspec.Meta(min_length=1)]
    onset: datetime
    answer: State
    over: datetime | None = None


class Label(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The correct assessment of one scope.

    Attributes
    ----------
    scope : str
        The scope.
    why : str
        The reason, in plain words.
    at_least, by : State or None, datetime or None
        The state that must be reached, and the latest time for it.
    at_most : State or None
        The state never to exceed.
    cause : Cause or None
        The correct cause.
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
        Name of its file, and its title.
    start, end : datetime
        The window, UTC; quotes cover it from `start` to `end`, both included.
    assets : dict of str to tuple
        Way-points per asset, USD.
    stress : tuple
        Way-points of the factor that multiplies every feed's noise and spread.
    feeds, credit, labels : tuple
        Feeds of prices, credit events, and correct assessments.
    basis : tuple
        Venues at which an asset has another value.
    holdings, withdrawals : tuple
        Holdings and withdrawals of the firm; without holdings it is the sample firm.
    events : tuple
        Events, for the scoreboard.
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
    """Return the names of the episodes that come with the package.

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
        If its file has a value that cannot be used.

    Examples
    --------
    >>> load("usdc_2023").title
    "USDC's weekend off its peg, March 2023"
    """
    if name not in names():
        raise RiskwatchError(f"no episode is named {name!r}; there are: {', '.join(names())}")
    return parse((files("riskwatch.scenarios") / "data" / f"{name}.toml").read_bytes(), name)


def parse(text: bytes, name: str) -> Episode:
    """Decode and check the TOML of an episode; errors name it `name`.

    Raises
    ------
    ConfigError
        If it is not TOML, or has a value that cannot be used.
    """
    file = f"{name}.toml"
    try:
        episode = msgspec.toml.decode(text, type=Episode)
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigError(file, "", "an episode", str(error)) from error
    check_episode(episode, file)
    return episode
