"""Projection: every output type has a row, with each field in the column of its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import pytest
from msgspec import UNSET
from sqlalchemy import select

from riskwatch.core.outputs import AnyOutput, EventRejected, Output
from riskwatch.errors import StoreError
from riskwatch.store.project import EPISODES, PROJECTIONS, fold
from tests.support.batches import at, decision, exposure, killswitch, others

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

EACH = [exposure(0, "1000.500", "970.49"), decision(0), killswitch(0), *others(0)]


def test_every_output_type_is_projected() -> None:
    """Every output type has a projection, because an unprojected type would be lost."""
    assert {*PROJECTIONS, *EPISODES} == set(get_args(AnyOutput))


@pytest.mark.parametrize("output", EACH, ids=lambda o: type(o).__name__)
def test_a_row_holds_the_fields_of_its_output(engine: Engine, output: Output) -> None:
    """Each column holds the field of its name, whatever the order of columns."""
    targets = PROJECTIONS[type(output)]
    assert targets or isinstance(output, EventRejected)
    with engine.begin() as conn:
        fold([output]).write(conn)
        for target in targets:
            row = conn.execute(select(target.table)).mappings().one()
            for name, stored in row.items():
                field: Any = getattr(
                    output, {"output_id": "id", "limit_id": "limit"}.get(name, name)
                )
                empty = None if target.table.c[name].nullable else ""
                field = empty if field is UNSET else field
                if name == "reasons":
                    field = [line.replace("\x00", "\ufffd") for line in field]
                assert stored == field, name


def test_only_the_last_row_per_key_is_written() -> None:
    """A closed row is deleted, unless a later output opens it again."""
    folded = fold(
        [
            exposure(0, "1", "1"),
            exposure(1, "2", "2"),
            exposure(0, "5", "5", asset="BTC"),
            exposure(1, "0", "0", asset="BTC"),
            exposure(0, "0.00", "0", asset="ETH"),
            exposure(1, "3", None, asset="ETH"),
        ]
    )
    (rows,) = folded.latest.values()
    assert [(key[4], row and str(row[6])) for key, row in rows.items()] == [
        ("USDC", "2"),
        ("BTC", None),
        ("ETH", "3"),
    ]


def test_an_output_without_a_table_is_refused() -> None:
    """An output type without a table raises an error."""
    with pytest.raises(StoreError, match="no table takes an output of type Output"):
        fold([Output(id="1", cause_id="2", ts=at(0))])
