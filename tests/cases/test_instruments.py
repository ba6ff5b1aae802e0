"""Cases of derivatives: they are in the exposures, in the limits, and worth what they are worth."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from tests.support.cases import Replayed, case, rewritten

if TYPE_CHECKING:
    from pathlib import Path

LETTERS = "SELECT reason FROM dead_letter"


def path_of(name: str, form: str) -> Path:
    """Return the file of a case as it was reported, or as it is rewritten."""
    return case(name) if form == "reported" else rewritten(name)


@pytest.mark.parametrize("form", ["reported", "rewritten"])
def test_a_short_perpetual_is_in_every_limit(form: str, tmp_path: Path) -> None:
    """Three hundred million are in breach of firm, venue, coin and book."""
    seen = Replayed(tmp_path, path_of("perp_no_limit", form))
    used = {
        scope: (Decimal(value), status)
        for scope, value, status in seen.rows(
            "SELECT scope, used_usd, status FROM limit_utilisation"
        )
    }
    for scope in ("firm", "counterparty:kraken", "asset:BTC", "book:arb"):
        value, status = used[scope]
        assert status == "breach", scope
        assert value == pytest.approx(Decimal(300_000_000), rel=Decimal("0.01")), scope
    states = dict(seen.rows("SELECT scope, effective FROM killswitch_now"))
    assert states["firm"] == states["asset:BTC"] == states["book:arb"] == "REDUCE"
    assert seen.rows(LETTERS) == []


@pytest.mark.parametrize("form", ["reported", "rewritten"])
def test_exposures_have_derivatives_in_them_and_apart(form: str, tmp_path: Path) -> None:
    """The views add the notional to what is held, and show it in a column of its own."""
    seen = Replayed(tmp_path, path_of("perp_no_limit", form))
    ((gross, net, short, derivatives),) = seen.rows(
        "SELECT gross_usd, net_usd, short_usd, derivatives_usd FROM exposure_by_counterparty"
    )
    ((notional, delta),) = seen.rows("SELECT notional_usd, delta_usd FROM position_now")
    assert Decimal(notional) == Decimal(delta) < -299_000_000
    assert Decimal(str(derivatives)) == Decimal(str(short)) == -Decimal(notional)
    assert Decimal(str(gross)) == 1_000_000 - Decimal(notional)
    assert Decimal(str(net)) == 1_000_000 + Decimal(notional)


def test_an_inverse_contract_is_worth_its_contracts(tmp_path: Path) -> None:
    """Six hundred thousand contracts of a dollar are 600,000 USD and ten coins."""
    seen = Replayed(tmp_path, rewritten("inverse_contracts"))
    ((qty, notional, delta, form, settle),) = seen.rows(
        "SELECT qty, notional_usd, delta, contract_type, settle FROM position_now"
    )
    assert Decimal(qty) == Decimal(notional) == 600_000
    assert Decimal(delta) == pytest.approx(Decimal(10), rel=Decimal("0.01"))
    assert (form, settle) == ("inverse", "BTC")
    assert seen.rows(LETTERS) == []


def test_both_legs_of_hedge_mode_count(tmp_path: Path) -> None:
    """Gross 18 coins, net 2."""
    seen = Replayed(tmp_path, rewritten("hedge_mode"))
    ((gross, net),) = seen.rows(
        "SELECT derivatives_usd, net_usd FROM exposure_by_asset WHERE asset = 'BTC'"
    )
    assert Decimal(str(gross)) == pytest.approx(9 * Decimal(str(net)), rel=Decimal("0.001"))


def test_what_can_hardly_be_is_told_at_the_next_tick(tmp_path: Path) -> None:
    """Contracts that are sent as coins are 36 billion dollars: told at once, and counted."""
    seen = Replayed(tmp_path, case("inverse_contracts"))
    ((subject, detail),) = seen.rows(
        "SELECT subject, detail FROM data_quality WHERE issue = 'POSITION_IMPLAUSIBLE'"
    )
    assert subject == "bitmex/arb/main/XBTUSD"
    assert "10 times the equity" in detail
    ((severity,),) = seen.rows("SELECT severity FROM alert WHERE alert LIKE '%|position/%'")
    assert severity == "WATCH"
    states = dict(seen.rows("SELECT scope, effective FROM killswitch_now"))
    assert states["firm"] == "REDUCE"
    assert "HALT" not in states.values()


def test_a_plausible_position_is_not_told(tmp_path: Path) -> None:
    """The same contracts, sent as contracts, are ten coins."""
    seen = Replayed(tmp_path, rewritten("inverse_contracts"))
    assert seen.rows("SELECT * FROM data_quality WHERE issue = 'POSITION_IMPLAUSIBLE'") == []


def test_a_mark_far_from_every_price_is_told_until_it_is_near(tmp_path: Path) -> None:
    """A mark of half the price opens the issue, and a right one ends it."""
    lines = case("perp_no_limit").read_text().splitlines()
    position = json.loads(_position_of(lines))
    position |= {"qty": "1"}
    wrong = position | {"event_id": "a", "mark_price": "20000"}
    right = position | {"event_id": "b", "ts": "2024-05-06T10:06:00Z"}
    rest = [line for line in lines if '"position"' not in line]
    events = sorted((*map(json.loads, rest), wrong, right), key=lambda event: event["ts"])
    seen = Replayed(tmp_path, map(json.dumps, events))
    ((detail, until),) = seen.rows(
        "SELECT detail, resolved_ts FROM data_quality WHERE issue = 'POSITION_IMPLAUSIBLE'"
    )
    assert "every other price of BTC" in detail
    assert until is not None


def _position_of(lines: list[str]) -> str:
    return next(line for line in lines if '"position"' in line)
