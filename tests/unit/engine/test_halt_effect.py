"""From lines of a file to SQL: a HALT of a venue that order paths did not obey."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import text

from riskwatch.engine import bootstrap
from riskwatch.engine.replay import ReplayJob, open_database, replay_files

if TYPE_CHECKING:
    from pathlib import Path

CONFIG: Final = bootstrap.configuration()
START: Final = datetime(2024, 5, 6, 10, tzinfo=UTC)
MID: Final = {"BTC": 60_000.0, "USDC": 1.0, "USDT": 1.0}
WHERE: Final = {"counterparty": "coinbase", "account": "main", "book": "mm"}
BTC: Final = {"base": "BTC", "quote": "USD", "price": "60000"}

Line = tuple[float, str]


def line(minutes: float, type_: str, event_id: str, **fields: Any) -> Line:
    """One event of the desk at coinbase, with its time."""
    ts = (START + timedelta(minutes=minutes)).isoformat()
    head = {"type": type_, "v": 1, "event_id": event_id, "ts": ts, "source": "desk"}
    where = {} if type_ in ("quote", "credit") else WHERE
    return minutes, json.dumps(head | where | fields)


def market() -> list[Line]:
    """Books of three coins at two venues each minute."""
    return [
        line(n, "quote", f"q-{v}-{a}-{n}", venue=v, base=a, quote="USD",
             bid=f"{mid * 0.9999:.6f}", ask=f"{mid * 1.0001:.6f}", volume="5")
        for n in range(45) for v in ("kraken", "coinbase") for a, mid in MID.items()
    ]  # fmt: skip


def failed() -> list[Line]:
    """We hold dollars at coinbase, which a court calls insolvent after five minutes."""
    return [
        *market(),
        line(1, "balance", "b", asset="USD", free="900000"),
        line(5, "credit", "c", source="court", subject="coinbase", kind="insolvency"),
    ]


def fill(minutes: float, event_id: str, **fields: Any) -> Line:
    """Buy five coins, unless said otherwise."""
    return line(minutes, "fill", event_id, **{**BTC, "side": "buy", "qty": "5", **fields})


def order(minutes: float, event_id: str, **fields: Any) -> Line:
    """Let an order of 20 coins rest, unless said otherwise."""
    said = {**BTC, "side": "buy", "qty": "20", "price": "59900", "order_id": "o9"}
    return line(minutes, "open_order", event_id, **{**said, **fields})


def replay(folder: Path, *parts: list[Line], last: str = "") -> dict[str, list[Any]]:
    """Replay the lines of all parts in order of time into one database, and read it.

    Each part is a process of its own. `last` is heard after all others.
    """
    url = f"sqlite:///{folder}/r.db"
    done: list[Line] = []
    for part in parts:
        done = sorted([*done, *part], key=lambda pair: pair[0])
        path = folder / "events.ndjson"
        path.write_text("\n".join([each for _, each in done] + [last] * bool(last)) + "\n")
        replay_files(ReplayJob([path], url), bootstrap.pipeline(CONFIG), config=CONFIG)
    asked = {
        "switch": "SELECT scope, state, resting_usd, filled_after_usd, flat_at, effect "
        "FROM killswitch_now "
        "WHERE state = 'HALT'",
        "effect": "SELECT finding, fills, resting FROM halt_effect",
        "alert": "SELECT severity, title, resolved_ts FROM alert WHERE alert LIKE '%|effect'",
        "all": "SELECT * FROM halt_effect",
    }
    with open_database(url) as engine, engine.connect() as conn:
        return {name: [tuple(r) for r in conn.execute(text(q))] for name, q in asked.items()}


def test_buys_and_a_resting_order_after_the_halt(tmp_path: Path) -> None:
    """Three buys of 300,000 and an order of 1,198,000 are one page, and both sums in SQL."""
    buys = [fill(15 + n, f"h{n}") for n in range(3)]
    found = replay(tmp_path, [*failed(), *buys, order(16, "oo")])
    assert found["switch"] == [
        ("counterparty:coinbase", "HALT", "1198000", "900000", None, "not_effective")
    ]
    assert found["effect"] == [("HALT_NOT_EFFECTIVE", 3, 1)]
    ((severity, title, resolved),) = found["alert"]
    assert (severity, resolved) == ("HALT", None)
    assert title == (
        "HALT_NOT_EFFECTIVE: counterparty:coinbase: 900,000.00 USD filled after it, "
        "1,198,000.00 USD rest"
    )


@pytest.mark.parametrize(
    ("more", "last"),
    [
        ([], fill(4.9, "late")[1]),  # from before the HALT, heard half an hour after it
        ([], fill(5.08, "late")[1]),  # it was on its way
        ([line(2, "balance", "k", asset="BTC", free="9"), fill(15, "s", side="sell")], ""),
        ([order(2, "o"), order(5.1, "p", qty="0")], ""),
        ([order(16, "o", reduce_only=True)], ""),
        (
            [line(2, "balance", "k", asset="BTC", free="20"), order(3, "o", side="sell")],
            "",
        ),
    ],
)
def test_what_is_no_breach(tmp_path: Path, more: list[Line], last: str) -> None:
    """Late news, reducing fills, orders that left in time, and protective orders raise nothing."""
    found = replay(tmp_path, [*failed(), *more], last=last)
    assert found["effect"] == [(None, 0, 0)]
    assert found["alert"] == []
    ((_, _, resting, filled, flat, known),) = found["switch"]
    assert (filled, resting in ("0", None), flat is None) == ("0", True, resting is None)
    has_orders = any('"open_order"' in text for _, text in more)
    assert known == ("effective" if has_orders else "unknown")


def test_a_late_line_of_after_the_halt_counts(tmp_path: Path) -> None:
    """A fill that added risk after the HALT counts whenever it is heard."""
    found = replay(tmp_path, failed(), last=fill(15, "late")[1])
    assert found["effect"] == [("HALT_NOT_EFFECTIVE", 1, 0)]


def test_a_process_that_begins_anew_finds_the_same(tmp_path: Path) -> None:
    """The record of the HALT is in rows: a second process goes on with it."""
    lines = sorted([*failed(), fill(15, "h"), order(16, "oo")], key=lambda pair: pair[0])
    cut = next(n for n, (minutes, _) in enumerate(lines) if minutes > 15.5)
    (one := tmp_path / "one").mkdir()
    (two := tmp_path / "two").mkdir()
    assert replay(one, lines) == replay(two, lines[:cut], lines[cut:])
