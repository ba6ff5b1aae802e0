"""Whether an episode makes sense: what its types alone cannot say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.core.reasons import State
from riskwatch.core.scopes import ASSET, COUNTERPARTY, VENUE_ASSET, is_scope, kind_of
from riskwatch.errors import ConfigError
from riskwatch.scenarios.path import Path

if TYPE_CHECKING:
    from riskwatch.scenarios.episode import Episode

_KINDS: Final = (ASSET, VENUE_ASSET, COUNTERPARTY)
"""Kinds of scopes that something can happen to."""


def check(episode: Episode, file: str) -> None:
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
            Path(points)
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
        if not is_scope(happening.scope) or kind_of(happening.scope) not in _KINDS:
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
