"""Queries of the command line: exact totals, order and ids."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from riskwatch.core.enums import State
from riskwatch.errors import StoreError
from riskwatch.store import queries
from riskwatch.store.batch import Batch, SequencedOutput
from riskwatch.store.transaction import commit, take_lease
from tests.support.batches import FINE, alert, decision, exposure
from tests.support.views import fill

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from riskwatch.core.outputs import Output


def put(engine: Engine, *outputs: Output) -> None:
    """Commit outputs as one batch of another worker."""
    lease = take_lease(engine, "v", "test")
    numbered = [SequencedOutput(lease.next_seq + n, o) for n, o in enumerate(outputs)]
    commit(engine, Batch("v", lease.epoch, outputs=numbered))


def test_totals_are_exact_where_sql_would_round(engine: Engine) -> None:
    """One unit of the last digit is kept beside 24 digits before the point."""
    tiny = "0.000000000000000001"
    put(
        engine,
        exposure(0, str(FINE), None, asset="XYZ"),
        exposure(0, tiny, None, asset="XYZ", component="margin"),
        exposure(0, "0.1", None, asset="XYZ", component="borrowed"),
        exposure(0, "7", None, asset="XYZ", component="open_order"),
    )
    with engine.connect() as conn:
        totals = queries.exact_totals(conn, "asset")
    assert totals == {("XYZ", "XYZ"): Decimal("123456789012345678901234.023456789012345679")}
    assert len(totals["XYZ", "XYZ"].as_tuple().digits) == 42


def test_exposures_are_ordered_by_gross(engine: Engine) -> None:
    """The largest comes first, and dollars are decimals to the cent."""
    fill(engine)
    with engine.connect() as conn:
        rows = queries.exposures(conn, "issuer")
        assert [(row["party"], row["level"]) for row in rows] == [
            ("circle", "direct"),
            ("bny", "backing"),
            ("svb", "backing"),
        ]
        assert [str(row["gross_usd"]) for row in rows] == ["1067.00", "533.50", "106.70"]
        assert {row["additive"] for row in rows} == {False}
        assert queries.exact_totals(conn, "issuer") == {("circle", "USDC"): Decimal(700)}
        with pytest.raises(StoreError, match="counterparty, issuer, asset, book, not by 'venue'"):
            queries.exposures(conn, "venue")


def test_open_alerts_come_gravest_first(engine: Engine) -> None:
    """A WATCH comes after a REDUCE, regardless of time."""
    put(engine, alert(1, "a", State.WATCH), alert(2, "b"), alert(3, "c", State.HALT))
    with engine.connect() as conn:
        assert [r["alert"] for r in queries.alerts(conn, all_of_them=False)] == ["c", "b", "a"]
        assert [r["alert"] for r in queries.alerts(conn, all_of_them=True)] == ["c", "b", "a"]


def test_an_id_may_be_its_beginning(engine: Engine) -> None:
    """It may be the id of a decision, of an alert, or of the last raise of an alert."""
    fill(engine)
    with engine.connect() as conn:
        found, made = queries.find_alert_and_decision(conn, decision(2).id[:6])
        assert found is None
        assert made is not None
        assert made["id"] == decision(2).id
        found, made = queries.find_alert_and_decision(conn, alert(2).id[:6])
        assert (found or {})["id"] == alert(2).id
        assert (made or {})["id"] == decision(2).id
        found, made = queries.find_alert_and_decision(conn, alert(4).id)
        assert (found or {})["id"] == alert(3.5).id
        assert made is None
        assert [s["scope"] for s in queries.switches_of(conn, decision(2).id)] == ["asset:USDC"]


@pytest.mark.parametrize(
    ("prefix", "why"),
    [
        ("%", "hexadecimal digits, was '%'"),
        ("", "hexadecimal digits, was ''"),
        ("0000", "no decision and no alert has an id that begins with 0000"),
    ],
)
def test_an_id_that_means_nothing_is_refused(engine: Engine, prefix: str, why: str) -> None:
    """The error is one line."""
    with engine.connect() as conn, pytest.raises(StoreError, match=why):
        queries.find_alert_and_decision(conn, prefix)


def test_an_id_that_means_several_things_names_them(engine: Engine) -> None:
    """The error names the candidates."""
    raised = [alert(n, f"key{n}") for n in range(40)]
    put(engine, *raised)
    # With forty ids and sixteen digits, some digit begins several of them.
    (first, _), *_ = Counter(each.id[0] for each in raised).most_common()
    with engine.connect() as conn, pytest.raises(StoreError, match=r"^\w could be \w{32} \(alert"):
        queries.find_alert_and_decision(conn, first)
