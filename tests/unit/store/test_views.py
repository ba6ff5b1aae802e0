"""Views on a history that is small enough to add up by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from riskwatch.core.reference import Party, Reference
from riskwatch.store.reference import REF_ASSET, REF_BACKING, REF_PARTY, sync_reference
from tests.support.batches import REFERENCE
from tests.support.views import EXPECTED, answers, fill

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine


def test_views_say_what_adds_up_by_hand(engine: Engine) -> None:
    """Every view gives the expected values."""
    fill(engine)
    with engine.connect() as conn:
        found = answers(conn)
    for query, rows in EXPECTED.items():
        assert found[query] == [pytest.approx(row) for row in rows], query


def test_views_answer_before_anything_happened(engine: Engine) -> None:
    """On an empty database views return no rows, or counts of zero."""
    with engine.connect() as conn:
        assert [row for rows in answers(conn).values() for row in rows] == [(0,)]


def test_reference_data_is_replaced_as_a_whole(engine: Engine) -> None:
    """A second sync changes nothing, and removed entries are deleted."""
    with engine.begin() as conn:
        sync_reference(conn, REFERENCE)
        sync_reference(conn, REFERENCE)
        assert len(conn.execute(select(REF_ASSET)).all()) == 3
        shares = conn.execute(select(REF_BACKING).order_by(REF_BACKING.c.holder)).all()
        assert shares == [("circle", "bny", 0.5), ("circle", "svb", pytest.approx(0.1))]
        party = Party(id="ftx", kind="exchange", group="alameda", withdrawal_cap_usd_day=1e6)
        sync_reference(conn, Reference(assets={}, parties={"ftx": party}, pd_by_rating={}))
        assert conn.execute(select(REF_ASSET)).all() == []
        (row,) = conn.execute(select(REF_PARTY)).mappings()
    assert (row["party"], row["group_id"], row["lgd"]) == ("ftx", "alameda", 0.7)
    assert row["withdrawal_cap_usd_day"] == 1e6
