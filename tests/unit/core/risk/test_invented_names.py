"""Names that somebody invents make no scopes, and are forgotten when nobody speaks of them."""

from __future__ import annotations

import msgspec
import pytest

from riskwatch.core.enums import Quality, State
from riskwatch.core.outputs import AssetValued, DataQualityRaised, KillSwitchChanged
from riskwatch.core.risk.features import asset_quality
from riskwatch.core.risk.state import PublishedScoresRow, ScopeRow
from tests.support.people import answer, command, people
from tests.support.risk import Desk, asset, at, desk, held, market, of, venue

DAY = 1_440


def flood(d: Desk, minutes: float, names: int = 20) -> None:
    """Quote invented assets, and a coin at invented venues that are far off."""
    assets = [asset(f"GEM{n}", venues=0, price_usd=3.0) for n in range(names)]
    off = [
        venue(f"inv{n}", dislocation_bp=900.0, bases=3, local=[("USDC", -900.0, 50)])
        for n in range(names)
    ]
    d.tick(minutes, market(minutes, asset("USDC"), *assets, venues=[venue(), *off]))


def test_invented_names_have_no_scopes() -> None:
    """They restrict nothing and take no room in the switch table; values and alerts show them."""
    d = desk()
    for n in range(40):
        flood(d, n)
    assert not [s for s in d.state.scopes if "inv" in s or "GEM" in s]
    assert not [o for o in of(d.out, KillSwitchChanged) if "inv" in o.scope or "GEM" in o.scope]
    assert not [key for key in d.state.sent if "inv" in key]
    assert {o.asset for o in of(d.out, AssetValued)} >= {"GEM0", "GEM19"}
    told = {o.subject for o in of(d.out, DataQualityRaised)}
    assert {"counterparty:inv0", "asset:GEM0"} <= told


def test_what_we_hold_has_its_scopes() -> None:
    """An unlisted venue and an unlisted asset are judged as soon as we have something there."""
    d = desk()
    d.tell(held(0, ("GEM3", "5"), party="inv3"))
    for n in range(40):
        flood(d, n)
    found = [s for s in d.state.scopes if "inv" in s or "GEM" in s]
    assert "venue-asset:inv3/USDC" in found
    assert "counterparty:inv3" in found
    assert not [s for s in found if "3" not in s]


def test_a_person_can_halt_an_invented_name() -> None:
    """The HALT holds, and from then on the scope is evaluated as any other."""
    d = people()
    flood(d, 0)
    for scope in ("asset:GEM1", "counterparty:inv1", "venue-asset:inv2/USDC"):
        assert answer(d.tell(command("ann", "halt", 1, scope))) == "applied"
    for n in range(2, 30):
        flood(d, n)
    halted = {s for s, row in d.state.scopes.items() if row.state.value == "HALT"}
    assert halted == {"asset:GEM1", "counterparty:inv1", "venue-asset:inv2/USDC"}


def test_invented_names_are_forgotten() -> None:
    """After two weeks without a quote no row of them is left, but of what people halted."""
    d = people()
    flood(d, 0)
    d.tell(command("ann", "halt", 1, "asset:GEM1"), command("ann", "halt", 1, "counterparty:inv1"))
    d.tell(held(2, ("GEM2", "5"), party="kraken"))
    for minutes in (15 * DAY, 15 * DAY + 1):
        d.tick(minutes, market(minutes, asset("USDC"), venues=[venue()]))
    assert sorted(d.state.assets) == ["GEM1", "GEM2", "USDC"]
    assert sorted(d.state.venues) == ["inv1", "kraken"]
    rows = d.state.drain()
    assert rows["asset/GEM0"] is None
    assert rows["venue/inv0"] is None


def test_scores_of_forgotten_names_are_forgotten() -> None:
    """Rows of an asset or a counterparty that is not known any more; not those of a HALT."""
    d = people()
    flood(d, 0)
    d.tell(command("ann", "halt", 1, "asset:GEM1"))
    known = ("asset:USDC", "counterparty:kraken", "asset:GEM1", "firm")
    gone = ("asset:GEM0", "counterparty:inv0", "asset:never", "counterparty:never")
    for scope in (*known, *gone):
        d.state.published_scores[scope] = PublishedScoresRow("x")
        d.state.sent[f"score/{scope}"] = 7
    d.tick(2)
    assert "asset:GEM0" in d.state.published_scores
    d.state.drain()
    for minutes in (15 * DAY, 15 * DAY + 1, 15 * DAY + 90):
        d.tick(minutes, market(minutes, asset("USDC"), venues=[venue()]))
    assert sorted(d.state.published_scores) == sorted(known)
    rows = d.state.drain()
    for scope in gone[:2]:
        assert (rows[f"score/{scope}"], rows[f"sent/score/{scope}"]) == (None, None)


@pytest.mark.parametrize(
    ("party", "keeps"),
    [("inv0", False), ("kraken", True), ("halted", True), ("holds", True), ("waits", True)],
)
def test_counterparties_without_anything_are_forgotten(party: str, *, keeps: bool) -> None:
    """Unlisted ones, after two weeks of silence, where nothing is held, open or restricted."""
    d = people()
    amount = "5" if party == "holds" else "0"
    d.tick(0, market(0, asset("USDC")), held(0, ("USDC", "5"), party=party))
    last = held(1, ("USDC", amount), party=party)
    if party == "waits":
        flow = msgspec.structs.replace(last.flow, pending_count=1)
        last = msgspec.structs.replace(last, flow=flow)
    d.tick(1, last)
    if party == "halted":
        d.state.scopes[f"counterparty:{party}"] = ScopeRow(State.WATCH, decision_id="d")
    d.tick(13 * DAY)
    assert party in d.state.parties
    d.state.drain()
    d.tick(15 * DAY)
    assert (party in d.state.parties) is keeps
    assert (d.state.drain().get(f"party/{party}", b"") is None) is not keeps


@pytest.mark.parametrize("stops_for_two_weeks", [True, False])
def test_the_last_value_of_what_is_forgotten_is_unknown(stops_for_two_weeks: bool) -> None:
    """Readers of current values see that it is over, also if the worker stood in between."""
    d = desk()
    flood(d, 0, names=2)
    between = () if stops_for_two_weeks else (1, 10, 30, DAY)
    for minutes in (*between, 15 * DAY, 15 * DAY + 1):
        d.tick(minutes, market(minutes, asset("USDC"), venues=[venue()]))
    assert list(d.state.assets) == ["USDC"]
    for name in ("GEM0", "GEM1"):
        values = [o for o in of(d.out, AssetValued) if o.asset == name]
        assert [o.quality for o in values] == [Quality.STALE, Quality.UNKNOWN]
        assert values[-1].price_usd == values[0].price_usd


@pytest.mark.parametrize(("venues", "quality"), [(2, Quality.GOOD), (0, Quality.STALE)])
def test_a_price_of_unlisted_venues_is_stale(venues: int, quality: Quality) -> None:
    """No listed venue stands behind it."""
    d = desk()
    d.tick(0, market(0, asset("USDT", venues=venues)))
    assert asset_quality(d.state.assets["USDT"], at(0), d.stage.config) is quality
