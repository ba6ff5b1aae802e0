"""Migrations of state rows: pure functions that bring rows of an older format to this build's.

To change rows in a way that an older build's rows do not have:

1. Raise :data:`~riskwatch.core.stage.FORMAT` by one, from n to n + 1.
2. Write a function ``rows -> rows`` for each stage whose rows change. It is pure, and it must
   not change the mapping that it is given.
3. Register the functions here: ``MIGRATIONS[n] = {"risk": function}``. A step may be empty.
4. Keep the stored database of format n in ``tests/stored``, and make the one of format n + 1:
   ``python -m tests.stored``.
5. Test that a HALT, a request and a changed limit of that database survive and still act.

A field with a default that is added to a row needs no migration: an old row decodes to the default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from riskwatch.core.stage import FORMAT, Row, RowChanges
from riskwatch.errors import RowFormatError

StageRows = Mapping[str, Mapping[str, Row]]
"""Rows by stage and key. The runner's own rows count as stages, too: ``seen`` and ``grid``."""
Migration = Callable[[Mapping[str, Row]], dict[str, Row]]
"""A function from the rows of one stage in one format, by key, to its rows in the next format."""
Steps = Mapping[int, Mapping[str, Migration]]
"""Migrations by starting format and stage; the rows of other stages do not change."""

OLDEST: Final = 1
"""Oldest format that a database can hold."""


def _with_wallets(rows: Mapping[str, Row]) -> dict[str, Row]:
    """Give the keys of holdings and positions their wallet and side, both not stated.

    ``cell/<party>/<book>/<account>/<asset>/<kind>`` gets an empty wallet behind the account, and
    so do the keys of deltas and of reported amounts. ``position/<party>/<book>/<account>/<name>``
    gets an empty wallet and an empty side. ``transfer/<party>/<id>`` of a deposit begins with
    ``deposit`` from here on, because both legs of a transfer may have one id.
    """
    return {_key_of_deposit(_key_with_wallet(key), row): row for key, row in rows.items()}


def _key_of_deposit(key: str, row: Row) -> str:
    kind, _, rest = key.partition("/")
    if kind == "transfer" and msgspec.json.decode(row)[4] == "deposit":
        return f"deposit/{rest}"
    return key


def _key_with_wallet(key: str) -> str:
    kind, _, rest = key.partition("/")
    if kind == "delta":
        chunk, _, owner = rest.partition("/")
        return f"delta/{chunk}/{_key_with_wallet(owner)}"
    if kind == "cell":
        *place, asset, component = rest.split("/")
        return "/".join((kind, *place, "", asset, component))
    if kind == "position":
        *place, instrument = rest.split("/", 3)
        return "/".join((kind, *place, "", "", instrument))
    if kind == "shown":
        *place, component, name = rest.split("/", 4)
        side = ("",) if component == "position" else ()
        return "/".join((kind, *place, "", component, *side, name))
    return key


MIGRATIONS: Final[dict[int, dict[str, Migration]]] = {1: {"ledger": _with_wallets}}
"""One step for each format from :data:`OLDEST` to the one before this build's."""


@dataclass(frozen=True, slots=True)
class RowFormat:
    """A format of state rows, with the steps that lead to it.

    Parameters
    ----------
    number : int
        The format that stages read and write.
    steps : mapping
        See :data:`Steps`.

    Examples
    --------
    >>> two = RowFormat(2, {1: {"risk": lambda rows: {f"x/{key}": rows[key] for key in rows}}})
    >>> two.migrate({"risk": {"meta": b"{}"}, "market": {"news": b"1"}}, stored=1)
    {'market': {'news': b'1'}, 'risk': {'x/meta': b'{}'}}
    """

    number: int
    steps: Steps = field(default_factory=dict)

    def migrate(
        self, rows: StageRows, stored: int, engine: str = "unknown"
    ) -> dict[str, dict[str, Row]]:
        """Migrate rows to this format; rows of this format are returned unchanged.

        Parameters
        ----------
        rows : mapping
            All rows of a worker, by stage and key.
        stored : int
            Format of these rows.
        engine : str
            Engine that wrote them, for the error message.

        Raises
        ------
        RowFormatError
            If the rows are newer than this format, or a step is missing.
        """
        if stored > self.number:
            raise RowFormatError(
                f"the stored state has format {stored}, written by engine {engine}; this build "
                f"reads formats up to {self.number}: start riskwatch {engine} or newer, or restore "
                "the backup from before the upgrade"
            )
        found = {stage: dict(bodies) for stage, bodies in rows.items()}
        for number in range(stored, self.number):
            if number not in self.steps:
                raise RowFormatError(f"no migration of state rows from format {number} is known")
            for stage, migration in self.steps[number].items():
                if stage in found:
                    found[stage] = migration(found[stage])
        return {stage: dict(sorted(found[stage].items())) for stage in sorted(found)}


ROW_FORMAT: Final = RowFormat(FORMAT, MIGRATIONS)
"""The format of this build."""


def row_changes(before: StageRows, after: StageRows) -> dict[str, RowChanges]:
    """Return the row changes that turn `before` into `after`; ``None`` deletes a row.

    Examples
    --------
    >>> row_changes({"risk": {"a": b"1", "b": b"2"}}, {"risk": {"b": b"2", "c": b"3"}})
    {'risk': {'a': None, 'c': b'3'}}
    """
    out: dict[str, RowChanges] = {}
    for stage in sorted({**before, **after}):
        old, new = before.get(stage, {}), after.get(stage, {})
        keys = sorted({**old, **new})
        changes = {key: new.get(key) for key in keys if old.get(key) != new.get(key)}
        if changes:
            out[stage] = changes
    return out


def overlay(
    first: Mapping[str, RowChanges], later: Mapping[str, RowChanges]
) -> dict[str, RowChanges]:
    """Combine two successive sets of row changes; the later change of a row counts.

    Examples
    --------
    >>> overlay({"risk": {"a": None, "b": b"1"}}, {"risk": {"b": None}, "seen": {"c": b"2"}})
    {'risk': {'a': None, 'b': None}, 'seen': {'c': b'2'}}
    """
    stages = sorted({**first, **later})
    return {stage: {**first.get(stage, {}), **later.get(stage, {})} for stage in stages}
