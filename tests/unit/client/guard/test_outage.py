"""An outage of riskwatch: REDUCE without end, what passes, and who may opt for HALT."""

from __future__ import annotations

from math import inf, nan
from typing import Any, Final

import msgspec
import pytest

from riskwatch.client import KillSwitch, Terms
from riskwatch.contracts.connection import KafkaConnection
from riskwatch.contracts.heartbeat import GuardPolicy, decode_heartbeat
from riskwatch.core.enums import Restriction, State
from riskwatch.errors import ConfigError
from tests.support.guarding import LIFE_S
from tests.unit.client.guard.test_switch import ORDER, Guarded

OWN, CUSTODY = "0xown", "0xcustody"
LISTED: Final = {OWN: "own", CUSTODY: "custody"}
DAY_S: Final = 86_400.0


def lost(seconds: float, **options: Any) -> Guarded:
    """Return a guard that has heard nothing for some seconds."""
    return Guarded(**options).know().later(LIFE_S + seconds)


@pytest.mark.parametrize("seconds", [0.0, 31.0, 3_600.0, DAY_S])
def test_reduce_has_no_end(seconds: float) -> None:
    """New risk is refused and reducing orders pass, however long it lasts."""
    guarded = lost(seconds)
    ask = guarded.switch.allows
    assert guarded.trust.floor() is State.REDUCE
    assert not ask(**ORDER, side="buy", usd=1.0)
    assert not ask(**ORDER, side="deposit")
    assert not ask(**ORDER, side="deposit", reduces=True)
    assert ask(**ORDER, side="sell", reduces=True)
    assert ask(**ORDER, cancel=True)
    assert ask(**ORDER, reduces={"firm": True, "asset:BTC": False})
    assert not ask(**ORDER, reduces={"firm": False, "asset:BTC": True})
    assert ask(**ORDER, reduces={"asset:BTC": True, "asset:USDC": True})
    assert not ask(**ORDER, reduces={"asset:BTC": True, "asset:USDC": False})
    assert not ask(**ORDER, reduces={"asset:BTC": True})
    assert not ask(**ORDER, reduces={})
    assert guarded.know().switch.allows(**ORDER, side="buy")


def test_withdrawals_to_listed_addresses_pass() -> None:
    """To own addresses and to custody without end; to others for as long as before."""
    early, late = lost(29.0, destinations=LISTED), lost(31.0, destinations=LISTED)
    for address in LISTED:
        assert early.switch.allows(**ORDER, side="withdrawal", address=address)
        assert late.switch.allows(**ORDER, side="withdrawal", address=address)
    for unlisted in (None, "0xother", OWN.upper()):
        assert early.switch.allows(**ORDER, side="withdrawal", address=unlisted)
        refused = late.switch.allows(**ORDER, side="withdrawal", address=unlisted)
        assert not refused
        assert "destinations" in refused.reason


def test_a_firm_halt_passes_withdrawals_to_custody() -> None:
    """And to no other address; also while that HALT outlives the heartbeat."""
    guarded = Guarded(destinations=LISTED)
    guarded.know(guarded.truth.decide("firm", State.HALT))
    for _ in range(2):
        assert guarded.switch.allows(**ORDER, side="withdrawal", address=CUSTODY)
        assert not guarded.switch.allows(**ORDER, side="withdrawal", address=OWN)
        assert not guarded.switch.allows(**ORDER, side="withdrawal")
        assert not guarded.switch.allows(**ORDER, side="sell", reduces=True)
        guarded.later(LIFE_S + 1)


@pytest.mark.parametrize(
    ("terms", "policy", "halts_after"),
    [
        (Terms(reduce_s=30.0), None, 30.0),
        (Terms(reduce_s=30.0), GuardPolicy(), 30.0),
        (Terms(), GuardPolicy(outage_reduce_s=20.0), 20.0),
        (Terms(reduce_s=10.0), GuardPolicy(outage_reduce_s=20.0), 10.0),
        (Terms(reduce_s=30.0), GuardPolicy(outage_reduce_s=20.0), 20.0),
        (Terms(), GuardPolicy(outage_reduce_s=0.0), 0.0),
    ],
)
def test_halt_is_opted_for(terms: Terms, policy: GuardPolicy | None, halts_after: float) -> None:
    """By the terms of a client, which keep their meaning, or by the policy; the shorter counts."""
    guarded = Guarded(terms=terms, destinations=LISTED)
    guarded.truth.policy = policy
    guarded.know().later(LIFE_S)
    if halts_after:
        guarded.later(halts_after - 0.5)
        assert guarded.switch.allows(**ORDER, reduces=True)
        assert guarded.switch.allows(**ORDER, side="withdrawal")
        guarded.later(0.5)
    assert guarded.trust.floor() is State.HALT
    assert not guarded.switch.allows(**ORDER, reduces=True)
    assert not guarded.switch.allows(**ORDER, side="withdrawal")
    assert not guarded.switch.allows(**ORDER, side="withdrawal", address=OWN)
    assert guarded.switch.allows(**ORDER, side="withdrawal", address=CUSTODY)


def test_nothing_passes_before_the_first_heartbeat_and_after_the_last() -> None:
    """Without any table everything is at HALT, listed custody too, however long REDUCE may last."""
    guarded = Guarded(destinations=LISTED)
    for _ in range(2):
        assert guarded.trust.floor() is State.HALT
        assert not guarded.switch.allows(**ORDER, reduces=True)
        assert not guarded.switch.allows(**ORDER, side="withdrawal", address=CUSTODY)
        guarded.know()
        guarded.switch.close()


def test_an_outage_authorises_no_more_than_the_last_table() -> None:
    """A HALT that was known stays, on the grounds that it had."""
    guarded = Guarded()
    claim = {Restriction.CLAIM: State.HALT}
    guarded.know(guarded.truth.decide("asset:USDC", State.HALT, None, claim)).later(DAY_S)
    assert not guarded.switch.allows(**ORDER, side="sell", reduces={"firm": True}, usd=1.0)
    assert guarded.switch.allows(asset="BTC", side="sell", reduces=True)


@pytest.mark.parametrize("value", [nan, inf, -1.0])
@pytest.mark.parametrize("name", GuardPolicy.__struct_fields__)
def test_a_policy_that_is_no_number_is_no_heartbeat(name: str, value: float) -> None:
    """A heartbeat with it is not decoded, so that it vouches for nothing."""
    with pytest.raises(ValueError, match=f"policy.{name}"):
        GuardPolicy(**{name: value})  # type: ignore[arg-type]
    beat = msgspec.to_builtins(Guarded().truth.beat()) | {"policy": {name: -1.0}}
    with pytest.raises(ValueError, match=name):
        decode_heartbeat(msgspec.json.encode(beat))


@pytest.mark.parametrize("destinations", [{"0x": "theirs"}, {7: "own"}, {"0x": None}])
def test_a_destination_is_own_or_custody(destinations: Any) -> None:
    """Nothing else can be listed."""
    with pytest.raises(ConfigError, match="destinations"):
        KillSwitch("desk-1", kafka=KafkaConnection(), destinations=destinations)
