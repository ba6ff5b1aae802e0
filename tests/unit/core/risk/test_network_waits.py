"""Withdrawals that wait at several venues over one network."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from riskwatch.core.clock import HOUR, SECOND
from riskwatch.core.readings import FlowFeatures, TransferLeg
from riskwatch.core.reference import Party
from riskwatch.core.risk.config import RiskConfig
from riskwatch.core.risk.features import counterparty_features
from riskwatch.core.risk.legs import LegRow
from riskwatch.core.risk.network_waits import common_waits
from riskwatch.core.risk.state import PartyRow, RiskState
from tests.support.risk import REFERENCE, desk

NOW = 1_000 * HOUR
CONFIG = RiskConfig(baseline_default_s=3_600.0)
CALM = FlowFeatures(0.0, 0.0, 0, 0, 0, {}, {}, 0.0, 0)


def state_with(*waits: tuple[str, str, str, float]) -> RiskState:
    """Return a state with withdrawals: counterparty, asset, network and hours of waiting."""
    state = desk().state
    for i, (name, asset, network, hours) in enumerate(waits):
        since = NOW - round(hours * HOUR)
        leg = TransferLeg(
            str(i), "withdrawal", "treasury", "main", asset, Decimal(1), Decimal(0), "pending",
            since, since, Decimal(0), network=network,
        )  # fmt: skip
        state.legs[f"{name}/withdrawal/{i}"] = LegRow(name, leg)
        row = state.parties.setdefault(name, PartyRow(NOW, [], [], CALM))
        oldest = max(row.flow.oldest_withdrawal_s, (NOW - since) / SECOND)
        row.flow = msgspec.structs.replace(row.flow, oldest_withdrawal_s=oldest)
    return state


def ratios(state: RiskState, name: str) -> tuple[float | None, float | None]:
    """Return the ratio of the venue's own wait, and of one that it shares."""
    common = common_waits(state, NOW, CONFIG, REFERENCE)
    found = counterparty_features(state, name, NOW, CONFIG, REFERENCE, common)
    return found.get("withdrawal_age_ratio"), found.get("network_wait_ratio")


def test_one_venue_that_waits_is_the_venue() -> None:
    """However long it waits, and whatever moves elsewhere in time."""
    state = state_with(("kraken", "BTC", "bitcoin", 30.0), ("okx", "BTC", "bitcoin", 2.0))
    assert ratios(state, "kraken") == (30.0, None)


def test_a_network_that_waits_at_two_venues_is_no_venue() -> None:
    """The wait leaves the venue's own age and becomes one of its network."""
    state = state_with(("kraken", "BTC", "bitcoin", 12.0), ("okx", "BTC", "bitcoin", 4.0))
    assert ratios(state, "kraken") == (0.0, 12.0)
    assert ratios(state, "okx") == (0.0, 4.0)


def test_a_venue_that_waits_beside_the_network_is_told_apart() -> None:
    """A second withdrawal there, over another network, counts as the venue's own."""
    state = state_with(
        ("kraken", "BTC", "bitcoin", 12.0),
        ("okx", "BTC", "bitcoin", 12.0),
        ("kraken", "USDC", "ethereum", 9.0),
    )
    assert ratios(state, "kraken") == (9.0, 12.0)


def test_an_asset_without_a_network_is_compared_by_its_name() -> None:
    """Two venues that do not state a network wait for one asset."""
    state = state_with(("kraken", "SOL", "", 5.0), ("okx", "SOL", "", 5.0))
    assert ratios(state, "kraken") == (0.0, 5.0)


@pytest.mark.parametrize("group", ["", "one"])
def test_venues_of_one_group_count_once(group: str) -> None:
    """Two brands of one failing firm excuse nobody."""
    state = state_with(("ftx", "BTC", "bitcoin", 12.0), ("ftx-us", "BTC", "bitcoin", 12.0))
    parties = {n: Party(id=n, kind="exchange", group=group or None) for n in ("ftx", "ftx-us")}
    reference = msgspec.structs.replace(REFERENCE, parties=REFERENCE.parties | parties)
    assert bool(common_waits(state, NOW, CONFIG, reference)) is not bool(group)
