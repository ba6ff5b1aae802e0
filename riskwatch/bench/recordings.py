"""Labels of recordings: a TOML file that lists recordings with their correct assessment."""

from __future__ import annotations

from datetime import datetime
from importlib.resources import files
from typing import Annotated

import msgspec

from riskwatch.bench.case import Case, Fact
from riskwatch.core.clock import micros
from riskwatch.errors import ConfigError
from riskwatch.scenarios.episode import EpisodeEvent, Label


class Recording(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One recorded window.

    Attributes
    ----------
    name, title : str
        Its name and title.
    files : tuple of str
        Patterns of its files, below the folder of recordings.
    start, end : datetime
        The window.
    venue, base, quote : str or None
        The feed, if the file names do not contain it.
    family : str
        Name of the episode of the pack that concerns the same event, if there is one.
    tick_s : int
        Width of the event-time grid, seconds.
    as_quoted : bool
        Whether a label may use the value of the coin in its quote currency if no feed leads to
        fiat; the label is then about the pair.
    events, labels : tuple
        As in an episode.
    """

    name: str
    title: str
    files: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    start: datetime
    end: datetime
    venue: str | None = None
    base: str | None = None
    quote: str | None = None
    family: str = ""
    tick_s: Annotated[int, msgspec.Meta(ge=1)] = 60
    as_quoted: bool = False
    events: tuple[EpisodeEvent, ...] = ()
    labels: tuple[Label, ...] = ()

    def case(self) -> Case:
        """Return the correct assessment of the recording."""
        return Case(
            name=self.name,
            title=self.title,
            start=micros(self.start),
            end=micros(self.end),
            facts=tuple(Fact.of(event) for event in self.events),
            ceilings={
                label.scope: label.at_most for label in self.labels if label.at_most is not None
            },
            family=self.family,
            recorded=True,
        )


class Labels(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole file of labels."""

    recordings: Annotated[tuple[Recording, ...], msgspec.Meta(min_length=1)]


def load_shipped() -> bytes:
    """Return the labels of the public recordings that the project is measured on."""
    return (files("riskwatch.bench") / "recordings.toml").read_bytes()


def parse(text: bytes, file: str = "recordings.toml") -> tuple[Recording, ...]:
    """Decode and check a file of labels; errors name it `file`.

    Raises
    ------
    ConfigError
        If it is not TOML, or has a value that cannot be used.
    """
    try:
        found = msgspec.toml.decode(text, type=Labels).recordings
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigError(file, "", "labels of recordings", str(error)) from error
    names = [recording.name for recording in found]
    for recording in found:
        key = f"recordings.{recording.name}"
        if names.count(recording.name) > 1:
            raise ConfigError(file, key, "a name of its own")
        if recording.start.tzinfo is None or not recording.start < recording.end:
            raise ConfigError(file, key, "a start and an end after it, with their zones")
        for event in recording.events:
            if not recording.start <= event.onset <= recording.end:
                raise ConfigError(file, key, "onsets within the window", event.onset.isoformat())
    return found
