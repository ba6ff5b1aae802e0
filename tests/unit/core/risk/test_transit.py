"""Transfers between our own accounts: legs are linked, and what is on the way counts once."""

from __future__ import annotations

from decimal import Decimal
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from riskwatch.core.enums import QualityIssue
from riskwatch.core.outputs import DataQualityRaised, DataQualityResolved, TransferTracked
from tests.support.facts import balance, transfer
from tests.support.two_stages import TwoStages

if TYPE_CHECKING:
    from riskwatch.core.events import Balance, Transfer

HOUR = 3_600
DAY = 24 * HOUR
OPENING = (balance("b1", 0, "500"), balance("b2", 0, "0", counterparty="okx"))


def leg(seconds: float, status: str, **fields: Any) -> Transfer:
    """Return one status of a leg of 100 BTC: a withdrawal at kraken, or a deposit at okx."""
    into = fields.pop("into", False)
    there = {"direction": "deposit", "counterparty": "okx", "transfer_id": "d1"} if into else {}
    name = f"{fields.get('transfer_id', '')}{status}-{into}-{seconds}"
    return transfer(name, seconds, status, **{"amount": "100", **there, **fields})


def news_of_both(seconds: float) -> list[Balance]:
    """Return a balance of another coin at both venues, so that their time goes on."""
    return [
        balance(f"{name}{seconds}", seconds, "1", asset="ETH", counterparty=name)
        for name in ("kraken", "okx")
    ]


def total(stages: TwoStages, asset: str = "BTC") -> Decimal:
    """Sum of an asset over all counterparties, open orders left out."""
    rows = stages.desk.state.parties.values()
    return sum(
        (h.amount for row in rows for h in row.holdings if h.asset == asset), start=Decimal(0)
    )


def on_the_way(stages: TwoStages) -> dict[str, str]:
    """Amounts in transit by counterparty."""
    return {
        name: str(h.amount)
        for name, row in stages.desk.state.parties.items()
        for h in row.holdings
        if h.component == "in_transit" and h.amount
    }


def told(stages: TwoStages) -> dict[str, tuple[str, str]]:
    """Last published status and link of each leg."""
    found = [o for o in stages.out if isinstance(o, TransferTracked)]
    return {f"{o.counterparty} {o.transfer_id}": (o.status, o.linked_by) for o in found}


STORY = [
    leg(60, "requested"),
    leg(120, "sent"),
    leg(180, "sent", into=True),
    leg(720, "confirmed", into=True),
]


@pytest.mark.parametrize("reload", [False, True])
def test_a_transfer_between_venues_counts_once_at_every_moment(*, reload: bool) -> None:
    """The sender's last word is `sent`, the receiver confirms: 500 all the way, and no rest."""
    stages = TwoStages(reload=reload)
    stages.turn(1, *OPENING)
    for fact in STORY:
        stages.turn((fact.ts - OPENING[0].ts).total_seconds() + 1, fact)
        assert total(stages) == 500
    assert on_the_way(stages) == {}
    assert told(stages) == {"kraken t1": ("arrived", "assumed"), "okx d1": ("arrived", "assumed")}


def test_the_end_does_not_depend_on_the_order_in_which_legs_are_heard() -> None:
    """Every order of the four statuses gives the same holdings and the same links."""
    seen = set()
    for order in permutations(STORY):
        stages = TwoStages()
        stages.turn(721, *OPENING)
        for n, fact in enumerate(order):
            stages.turn(722 + n, fact)
        assert total(stages) == 500
        seen.add((str(on_the_way(stages)), str(sorted(told(stages).items()))))
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("out", "into", "by"),
    [
        ({"tx_id": "0xa"}, {"tx_id": "0xa", "amount": "90"}, "tx_id"),
        ({"transfer_id": "x"}, {"transfer_id": "x"}, "transfer_id"),
        ({}, {}, "assumed"),
        ({"fee": "1"}, {"amount": "99"}, "assumed"),
        ({}, {"amount": "99.9"}, "assumed"),
        ({}, {"amount": "99"}, ""),
        ({}, {"amount": "100.1"}, ""),
        ({"tx_id": "0xa"}, {"tx_id": "0xb"}, ""),
        ({"address": "a"}, {"address": "b"}, ""),
        ({"to_counterparty": "binance"}, {}, ""),
        ({}, {"account": "main", "counterparty": "kraken"}, ""),
        ({}, {"account": "sub", "counterparty": "kraken"}, "assumed"),
        ({}, {"asset": "ETH"}, ""),
    ],
)
def test_what_links_two_legs(out: dict[str, str], into: dict[str, str], by: str) -> None:
    """A transaction or an id links; else amount less fee, time, and nothing that contradicts."""
    stages = TwoStages()
    stages.turn(1, *OPENING)
    stages.turn(900, leg(120, "sent", **out), leg(180, "confirmed", into=True, **into))
    [(_, found)] = {told(stages)[f"kraken {out.get('transfer_id', 't1')}"]}
    assert found == by
    assert (on_the_way(stages) == {}) is bool(by)


def test_amounts_that_are_far_apart_in_time_are_not_assumed_to_be_one() -> None:
    """A deposit four days later, or an hour before, is another one, unless a transaction says."""
    for seconds, tx, linked in ((4 * DAY, None, ""), (4 * DAY, "0xa", "tx_id"), (-HOUR, None, "")):
        stages = TwoStages()
        facts = (leg(HOUR, "sent", tx_id=tx), leg(HOUR + seconds, "confirmed", into=True, tx_id=tx))
        for fact in sorted(facts, key=lambda f: f.ts):
            stages.turn(5 * DAY, fact)
        assert told(stages)["kraken t1"][1] == linked


def test_a_fee_leaves_the_firm_and_nothing_else_does() -> None:
    """The account is debited by amount and fee; the amount arrives; the fee may be another coin."""
    stages = TwoStages()
    fee = {"fee": "0.5", "fee_asset": "BTC"}
    stages.turn(1, *OPENING)
    stages.turn(130, leg(120, "sent", **fee))
    assert total(stages) == Decimal("499.5")
    stages.turn(730, leg(720, "confirmed", into=True))
    assert total(stages) == Decimal("499.5")
    stages.turn(740, leg(735, "sent", transfer_id="t2", fee="3", fee_asset="ETH"))
    assert total(stages, "ETH") == -3


def test_a_failed_withdrawal_brings_its_fee_back() -> None:
    """A withdrawal that failed after it was sent leaves all as it was."""
    stages = TwoStages()
    stages.turn(1, *OPENING)
    stages.turn(300, leg(120, "sent", fee="0.5"), leg(240, "failed", fee="0.5"))
    assert total(stages) == 500
    assert told(stages)["kraken t1"][0] == "returned"


def test_a_receiver_that_confirms_first_counts_once() -> None:
    """The sender says `pending` while the receiver has the money: the sum stays."""
    stages = TwoStages()
    stages.turn(1, *OPENING)
    stages.turn(300, leg(120, "pending", tx_id="0x"), leg(240, "confirmed", into=True, tx_id="0x"))
    assert total(stages) == 500
    assert on_the_way(stages) == {"kraken": "-100"}
    stages.turn(400, leg(360, "sent", tx_id="0x"))
    assert total(stages) == 500
    assert on_the_way(stages) == {}


def test_a_destination_of_ours_keeps_the_money_until_it_confirms() -> None:
    """The sender confirms a transfer to another venue of ours: it counts until it arrives."""
    stages = TwoStages()
    stages.turn(1, *OPENING)
    stages.turn(300, leg(120, "confirmed", to_counterparty="okx"))
    assert total(stages) == 500
    stages.turn(800, leg(720, "confirmed", into=True))
    assert total(stages) == 500
    other = TwoStages()
    other.turn(1, *OPENING)
    other.turn(300, leg(120, "confirmed"))
    assert total(other) == 400
    assert told(other)["kraken t1"][0] == "left"


def test_one_event_is_the_whole_of_an_internal_transfer() -> None:
    """With `to_account` the other account is credited when it is confirmed, without another leg."""
    for statuses in (("sent", "confirmed"), ("confirmed",)):
        stages = TwoStages()
        stages.turn(1, *OPENING)
        for n, status in enumerate(statuses):
            stages.turn(130 + n, leg(120 + n, status, to_account="futures"))
            assert total(stages) == 500
        held = {
            h.account: h.amount for h in stages.desk.state.parties["kraken"].holdings if h.amount
        }
        assert held == {"main": 400, "futures": 100}


def test_a_transfer_that_never_arrives_is_overdue_and_does_not_vanish() -> None:
    """Two hours after it was sent it is told, once; the amount counts for ever; arrival ends it."""
    stages = TwoStages(reload=True)
    stages.turn(1, *OPENING)
    stages.turn(130, leg(120, "sent", tx_id="0x"))
    for hour in (1, 2, 3, 24, 24 * 9, 24 * 30):
        stages.turn(hour * HOUR + 200, balance(f"e{hour}", hour * HOUR, "1", asset="ETH"))
        assert total(stages) == 500
    issues = [o for o in stages.out if isinstance(o, DataQualityRaised)]
    [issue] = [o for o in issues if o.issue is QualityIssue.TRANSFER_OVERDUE]
    assert issue.subject == "kraken/main"
    assert "t1 100 BTC" in issue.detail
    assert told(stages)["kraken t1"][0] == "overdue"
    later = 30 * DAY + HOUR
    stages.turn(later + 1, leg(later, "confirmed", into=True, tx_id="0x"))
    assert total(stages) == 500
    ended = [o for o in stages.out if isinstance(o, DataQualityResolved)]
    assert QualityIssue.TRANSFER_OVERDUE in {o.issue for o in ended}


def test_a_network_has_a_time_of_its_own() -> None:
    """A transfer over a slow network is not overdue when another one is."""
    stages = TwoStages()
    config = stages.desk.stage.config
    transit = replace(config.transit, network_overdue_s={"bitcoin": 6.0 * HOUR})
    stages.desk.stage._evaluator.config = replace(config, transit=transit)
    stages.turn(130, leg(120, "sent", network="bitcoin"), leg(120, "sent", transfer_id="t2"))
    stages.turn(3 * HOUR, balance("e", 3 * HOUR, "1"))
    assert {name: status for name, (status, _) in told(stages).items()} == {
        "kraken t1": "in_transit",
        "kraken t2": "overdue",
    }


def test_ended_transfers_are_forgotten_and_repeats_of_them_do_nothing() -> None:
    """After seven days both legs leave both stages, and the old statuses again move nothing."""
    stages = TwoStages(reload=True)
    stages.turn(1, *OPENING)
    for fact in STORY:
        stages.turn((fact.ts - OPENING[0].ts).total_seconds() + 1, fact)
    stages.turn(
        6 * DAY,
        *(balance(f"e{n}", 6 * DAY, "1", asset="ETH", counterparty=n) for n in ("kraken", "okx")),
    )
    assert len(stages.desk.state.legs) == 2
    again = [replace(fact, event_id=f"again-{fact.event_id}") for fact in STORY]
    for day in (8, 9, 16, 17):
        news = (
            balance(f"{n}{day}", day * DAY, "1", asset="ETH", counterparty=n)
            for n in ("kraken", "okx")
        )
        stages.turn(day * DAY + 1, *news)
        stages.turn(day * DAY + 400, *(replace(f, event_id=f"{day}-{f.event_id}") for f in again))
        assert total(stages) == 500
    assert stages.desk.state.legs == {}


def test_too_many_open_legs_become_one_sum() -> None:
    """Beyond the bound of an account the oldest legs are one sum, and no money vanishes."""
    stages = TwoStages(reload=True)
    config = replace(stages.desk.stage.config.transit, max_legs=4)
    stages.desk.stage.config = replace(stages.desk.stage.config, transit=config)
    stages.turn(1, balance("b", 0, "500"))
    for n in range(9):
        stages.turn(130 + n, leg(120 + n, "sent", transfer_id=f"w{n}", amount="10"))
    for day in (8, 9, 10):
        stages.turn(day * DAY, balance(f"e{day}", day * DAY, "1", asset="ETH"))
    for n in range(9, 12):
        stages.turn(10 * DAY + n, leg(10 * DAY + n, "sent", transfer_id=f"w{n}", amount="10"))
        assert total(stages) == 500
    assert len(stages.desk.state.legs) <= 5
    assert on_the_way(stages) == {"kraken": "120"}
