"""Labels of recordings: a TOML file that says what a folder holds and what was right to say."""

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
        As people call it.
    files : tuple of str
        Patterns of its files, below the folder of recordings.
    start, end : datetime
        The window.
    venue, base, quote : str or None
        Where the files' names do not say it.
    family : str
        Name of the episode of the pack that looks at the same event, if one does.
    tick_s : int
        Width of the event-time grid, seconds.
    as_quoted : bool
        Whether a label may rest on what the coin is worth in its quote where no feed leads to
        fiat: then the label is about the pair.
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
        """Return what was right to say of it."""
        return Case(
            name=self.name,
            title=self.title,
            start=micros(self.start),
            end=micros(self.end),
            facts=tuple(Fact.of(told) for told in self.events),
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
    """Labels of the public recordings that the project is measured on."""
    return (files("riskwatch.bench") / "recordings.toml").read_bytes()


def parse(text: bytes, file: str = "recordings.toml") -> tuple[Recording, ...]:
    """Decode and check a file of labels; `file` is what errors call it.

    Raises
    ------
    ConfigError
        If it is not TOML, or says something that cannot be used.
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
        for told in recording.events:
            if not recording.start <= told.onset <= recording.end:
                raise ConfigError(file, key, "onsets within the window", told.onset.isoformat())
    return found
