"""Episodes as data: what a TOML file under ``scenarios/data`` says, checked when it is read."""

from __future__ import annotations

from datetime import datetime
from importlib.resources import files
from typing import Annotated

import msgspec

from riskwatch.core.events import CreditKind, Name
from riskwatch.core.reasons import Cause, State
from riskwatch.errors import ConfigError, RiskwatchError
from riskwatch.scenarios.path import Path

Points = tuple[tuple[datetime, float], ...]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]
Share = Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)]


class Feed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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
    note: str = ""


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
    """

    name: Name
    title: str
    start: datetime
    end: datetime
    assets: dict[Name, Points]
    feeds: tuple[Feed, ...]
    stress: Points = ()
    credit: tuple[News, ...] = ()
    labels: tuple[Label, ...] = ()


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
    if not episode.start < episode.end:
        raise ConfigError(file, "end", "a moment after start", episode.end.isoformat())
    for label in episode.labels:
        if label.at_least is not None and label.by is None:
            raise ConfigError(file, f"labels.{label.scope}", "by when at_least must be reached")
    _check_paths(episode, file)
    return episode


def _check_paths(episode: Episode, file: str) -> None:
    """Refuse way-points that are no path, and feeds that would have no price."""
    paths = {f"assets.{name}": points for name, points in episode.assets.items()}
    paths |= {f"feeds.{f.name}.points": f.points for f in episode.feeds if f.points}
    if episode.stress:
        paths["stress"] = episode.stress
    for key, points in paths.items():
        try:
            Path(points)
        except ValueError as error:
            raise ConfigError(file, key, f"a path ({error})") from error
    for feed in episode.feeds:
        missing = [a for a in (feed.base, feed.quote) if a not in episode.assets and a != "USD"]
        if missing and not feed.points:
            raise ConfigError(
                file, f"feeds.{feed.name}", "way-points, or assets that have a path", missing[0]
            )
