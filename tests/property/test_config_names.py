"""Configuration cannot disarm itself: a misspelt name in the shipped pack is refused."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from riskwatch.alerting.routes import load_notify
from riskwatch.checks.rule_pack import load_fixtures
from riskwatch.config import config as files
from riskwatch.config.config import Config, errors_together, load
from riskwatch.config.names import (
    SHIPPED_ASSETS,
    SHIPPED_PARTIES,
    SHIPPED_RATINGS,
    SHIPPED_SOURCES,
    SHIPPED_TARGETS,
    is_one_edit,
)
from riskwatch.core.risk.features import FEATURES
from riskwatch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TOKEN: Final = re.compile(r'#.*|"(?P<text>[^"\n]*)"|(?P<word>[A-Za-z_][\w-]*)')
KNOWN: Final = (
    *SHIPPED_ASSETS, *SHIPPED_PARTIES, *SHIPPED_RATINGS,
    *(f for fs in FEATURES.values() for f in fs),
    "WATCH", "REDUCE", "HALT", "NORMAL", "asset", "venue-asset", "counterparty", "issuer", "bank",
    "book", "group", "firm",
)  # fmt: skip
"""Names that one edit of another could give."""
FREE: Final = {
    ("static.toml", "id"): "the rule's own name; lists that name a rule are checked against it",
    ("limits.toml", "id"): "the limit's own name; a live start refuses that a recorded one is gone",
    ("static.toml", "text"): "a sentence for people; its placeholders are checked below",
    ("static.toml", "unit"): "shown to people",
    ("models.toml", "unit"): "shown to people",
    ("models.toml", "name"): "a generation's own name; what names one is checked against it",
    ("reference.toml", "jurisdiction"): "shown to people; nothing is computed from it",
    ("asset.toml", "about"): "a sentence for people",
    ("venue.toml", "about"): "a sentence for people",
    ("limits.toml", "about"): "a sentence for people",
}
"""Names that may be anything, because nothing refers to them, with the reason."""
ALL: Final = bool(os.environ.get("RISKWATCH_ALL_EDITS"))
"""Whether every kind of edit is made at every place (some minutes); by default one in turn."""


class Name(NamedTuple):
    """A name in a file: where it begins and ends, and the key whose value it is (if any)."""

    start: int
    end: int
    name: str
    key: str


def names_in(text: str) -> Iterator[Name]:
    """Return every key, part of a header and quoted text of a file, without comments."""
    key = ""
    for found in TOKEN.finditer(text):
        if found["text"] is not None:
            yield Name(*found.span("text"), found["text"], key)
        elif found["word"] is not None and found["word"] not in ("true", "false"):
            before, after = text[: found.start()].rpartition("\n")[2], text[found.end() :]
            if before.lstrip().startswith("[") and "=" not in before:
                yield Name(*found.span(), found["word"], "")
            elif re.match(r"\s*=", after):
                key = found["word"]
                yield Name(*found.span(), key, "")


def edits(name: str, *, whole: bool) -> Iterator[str]:
    """Return edits at each place of a name: all four kinds, or one of them in turn.

    To these come all edits that give another known name.
    """
    for i in range(len(name)):
        kinds = (
            f"{name[:i]}q{name[i + 1 :]}",
            f"{name[:i]}{name[i + 1 :]}",
            f"{name[:i]}q{name[i:]}",
            f"{name[:i]}{name[i + 1 : i + 2]}{name[i]}{name[i + 2 :]}",
        )
        yield from kinds if whole else kinds[i % 4 : i % 4 + 1]
    yield f"{name}q"
    yield from (other for other in KNOWN if is_one_edit(name, other))


@pytest.fixture(scope="module")
def folder(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the shipped rules."""
    return shutil.copytree(root / "rules", tmp_path_factory.mktemp("pack") / "rules")


@pytest.fixture(scope="module")
def shipped(folder: Path) -> Config:
    """The shipped configuration."""
    return load(folder)


def together(kind: str) -> Callable[[Path, Config], None]:
    """Return what a start does with one file: read it, and compare it with the other files."""

    def read(folder: Path, known: Config) -> None:
        parts = {n: getattr(known, n) for n in ("reference", "limits", "rules", "policy")}
        parts[kind] = getattr(files, f"load_{kind}")(folder)
        errors = errors_together(**parts)
        if errors:
            raise errors[0]

    return read


FILES: Final[dict[str, Callable[[Path, Config], object]]] = {
    "reference.toml": together("reference"),
    "limits.toml": together("limits"),
    "static.toml": together("rules"),
    "policy.toml": together("policy"),
    "models.toml": together("policy"),
    "notify.toml": lambda folder, _: load_notify(folder),
    "fixtures/asset.toml": lambda folder, known: load_fixtures(folder, known.rules),
    "fixtures/venue.toml": lambda folder, known: load_fixtures(folder, known.rules),
    "fixtures/limits.toml": lambda folder, known: load_fixtures(folder, known.rules),
}


def is_prose(name: Name) -> bool:
    """Whether a token is a number with a unit of time, or a sentence."""
    return name.key.endswith("_s") or name.key in ("about", "text") or not name.name


@pytest.mark.parametrize("file", FILES)
def test_every_edit_of_a_name_is_refused(folder: Path, shipped: Config, file: str) -> None:
    """One character more, less, other or swapped in any name: refused, but for what is listed."""
    path = folder / file
    text, survived, tried = path.read_text(), [], 0
    done: set[tuple[str, str]] = set()
    for each in names_in(text):
        if is_prose(each) or (path.name, each.key) in FREE:
            continue
        # Equal words under one key are one case; a grade or a group depends on its party.
        line = text.count("\n", 0, each.start) if each.key in ("rating", "group") else ""
        if (f"{each.key}{line}", each.name) in done:
            continue
        done.add((f"{each.key}{line}", each.name))
        for edited in dict.fromkeys(edits(each.name, whole=ALL)):
            if edited == each.name:
                continue
            path.write_text(f"{text[: each.start]}{edited}{text[each.end :]}")
            tried += 1
            try:
                FILES[file](folder, shipped)
            except ConfigError:
                continue
            survived.append((each.key, each.name, edited))
    path.write_text(text)
    assert tried > 5
    assert [each for each in survived if not is_free(*each)] == []


def is_free(key: str, name: str, edited: str) -> bool:
    """Whether an edit gives another statement, and no misspelt name."""
    if key == "scope":  # a fixture runs the rules of the kind, whatever the name
        return edited.startswith(f"{name.partition(':')[0]}:")
    if key == "rating":
        return edited in SHIPPED_RATINGS
    return (key, name, edited) in (("group", "htx", "ftx"), ("peg", "BTC", "LTC"))


def test_a_name_that_nothing_refers_to_is_free(folder: Path) -> None:
    """What the test above leaves out may be anything: the list is no longer than it has to be."""
    before = {file: (folder / file).read_text() for file in ("static.toml", "limits.toml")}
    renamed = {file: re.sub('(?m)^id = "', 'id = "qq', text) for file, text in before.items()}
    for file, text in renamed.items():
        assert text != before[file]
        (folder / file).write_text(text)
    made = load(folder)
    for file, text in before.items():
        (folder / file).write_text(text)
    names = [rule.id for rule in made.rules.rules] + [limit.id for limit in made.limits.limits]
    assert all(name.startswith("qq") for name in names)


def test_the_lists_of_shipped_names_are_those_of_the_pack(shipped: Config) -> None:
    """A new asset, party, grade, source or kind of target is protected from the day it ships."""
    known, policy = shipped.reference, shipped.policy
    assert tuple(known.assets) == SHIPPED_ASSETS
    assert tuple(known.parties) == SHIPPED_PARTIES
    assert tuple(known.pd_by_rating) == SHIPPED_RATINGS
    assert tuple(policy.risk.source_weights) == SHIPPED_SOURCES
    assert tuple(dict.fromkeys(t.kind for t in policy.models.targets)) == SHIPPED_TARGETS


def test_features_of_a_kind_are_not_one_edit_apart() -> None:
    """So no edit of one gives another."""
    near = [
        (a, b) for names in FEATURES.values() for a in names for b in names if is_one_edit(a, b)
    ]
    assert near == []
