"""Who invents counterparties, assets or accounts fills no table of the ledger for others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from riskwatch.core.enums import QualityIssue, RejectReason
from riskwatch.core.ledger.config import SOURCE_SHARE, LedgerConfig
from riskwatch.core.ledger.freshness import MAX_ACCOUNTS
from riskwatch.core.ledger.stage import NAMED_WRITERS, LedgerStage
from riskwatch.core.ledger.state import LedgerState
from riskwatch.core.outputs import DataQualityRaised, DataQualityResolved, EventRejected
from riskwatch.core.readings import CounterpartyReading
from riskwatch.core.reference import Asset, Party, Reference
from tests.support.facts import (
    balance,
    fill,
    loan,
    order,
    position,
    run,
    settlement,
    tick,
    transfer,
)

if TYPE_CHECKING:
    import msgspec

    from riskwatch.core.ledger.outputs import LedgerOutput
    from riskwatch.core.stage import Row

FLOOD = 10_000
DAY = 86_400
ASSETS = ("BTC", "ETH", "USD", "USDC")
REFERENCE = Reference(
    assets={name: Asset(id=name) for name in ASSETS},
    parties={name: Party(id=name, kind="exchange") for name in ("kraken", "binance")},
    pd_by_rating={},
)
COUNTERPARTIES = LedgerConfig().max_counterparties
HOLDINGS = LedgerConfig().max_holdings


class Desk:
    """A ledger stage with listed names, and all that it put out."""

    def __init__(self, *, live: bool = False, **config: Any) -> None:
        self.stage = LedgerStage(LedgerConfig(**config), REFERENCE, live=live)
        self.state = LedgerState()
        self.out: list[LedgerOutput] = []
        self.rows: dict[str, Row] = {}

    def tell(self, *events: msgspec.Struct) -> list[LedgerOutput]:
        """Apply events; return what the stage put out."""
        out = run(events, self.state, self.stage)
        self.out += out
        return out

    def store(self) -> dict[str, Row]:
        """Store the changed rows; return all rows."""
        for key, row in self.state.drain().items():
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row
        return self.rows

    def restart(self) -> None:
        """Load the state from its rows."""
        self.store()
        self.state = LedgerState()
        self.state.load(self.rows)


def refusals(outputs: list[LedgerOutput]) -> list[EventRejected]:
    """Dead letters."""
    return [out for out in outputs if isinstance(out, EventRejected)]


def told(outputs: list[LedgerOutput]) -> list[str]:
    """Subjects of the issues about facts without room."""
    raised = [out for out in outputs if isinstance(out, DataQualityRaised)]
    return [out.subject for out in raised if out.issue is QualityIssue.TABLE_FULL]


def invented(n: int, what: str) -> msgspec.Struct:
    """Return the fact of a liar about one invented counterparty, asset or account."""
    fields: dict[str, Any] = {
        "counterparty": {"counterparty": f"invented{n}"},
        "asset": {"asset": f"GEM{n}"},
        "account": {"account": f"invented{n}"},
        "book": {"book": f"invented{n}"},
    }[what]
    return balance(f"x{n}", 1, "1", source="liar", **fields)


def real(desk: Desk) -> list[LedgerOutput]:
    """Report facts of listed names and of what is held; return all that is said of them."""
    desk.tell(fill("f1", 2), fill("f2", 3, base="USDC", counterparty="binance"))
    desk.tell(balance("b1", 4, "7", asset="GEM-OF-OURS"), balance("b2", 4, "7", counterparty="otc"))
    desk.tell(transfer("t1", 5, "requested"), order("o1", 6, "1"), position("p1", 7, "2"))
    desk.tell(balance("b3", 8, "9", asset="ETH"), balance("b4", 8, "3", counterparty="otc"))
    desk.tell(fill("f3", 9, account="main", base="ETH", quote="USDC"), tick(10))
    return [out for out in desk.out if "invented" not in str(out) and "liar" not in str(out)]


def held(desk: Desk) -> None:
    """Report an unlisted counterparty and an unlisted asset that we hold."""
    desk.tell(balance("h1", 0, "1", asset="GEM-OF-OURS"), balance("h2", 0, "1", counterparty="otc"))


def our_holdings(reading: CounterpartyReading) -> list[Any]:
    """Holdings of a reading without those of the liar."""
    return [h for h in reading.holdings if "GEM" not in h.asset and "invented" not in str(h)]


@pytest.mark.parametrize(
    ("what", "share"),
    [
        ("counterparty", COUNTERPARTIES // SOURCE_SHARE),
        ("asset", HOLDINGS // SOURCE_SHARE),
        ("account", HOLDINGS // SOURCE_SHARE),
        ("book", HOLDINGS // SOURCE_SHARE),
    ],
)
def test_invented_names_change_nothing_that_is_listed_or_held(what: str, share: int) -> None:
    """Of 10,000 one source gets a quarter of the room; the rest is refused, and told once."""
    quiet, flooded = Desk(), Desk()
    for desk in (quiet, flooded):
        held(desk)
    flooded.tell(*(invented(n, what) for n in range(FLOOD)))
    refused = refusals(flooded.out)
    assert len(refused) == FLOOD - share
    assert {out.reason for out in refused} == {RejectReason.LIMIT_REACHED}
    assert told(flooded.out) == ["ledger:liar"]
    before, after = real(quiet), real(flooded)
    assert not refusals(quiet.out)
    assert len(refusals(flooded.out)) == FLOOD - share
    plain = [out for out in before if isinstance(out, CounterpartyReading)]
    readings = {
        out.counterparty: out for out in flooded.out if isinstance(out, CounterpartyReading)
    }
    assert len(plain) == 3
    for reading in plain:
        assert our_holdings(readings[reading.counterparty]) == our_holdings(reading)
        assert readings[reading.counterparty].flow == reading.flow
        assert readings[reading.counterparty].positions == reading.positions
    if what == "counterparty":
        assert after == before
    rows = 3 if what == "counterparty" else 2  # party and flow, or cell; what was shown
    proofs = {"counterparty": share, "account": MAX_ACCOUNTS}.get(what, 1)  # of its source
    assert len(flooded.store()) <= len(quiet.store()) + rows * share + proofs + 1


@pytest.mark.parametrize("what", ["counterparty", "asset", "account"])
def test_a_flood_survives_a_restart(what: str) -> None:
    """After each restart the same facts give the same outputs and the same rows."""
    plain, restarted = (
        Desk(max_counterparties=40, max_holdings=40),
        Desk(max_counterparties=40, max_holdings=40),
    )
    for n in range(60):
        source = {"source": f"liar{n % 7}"}
        for event in (
            balance(f"x{n}", n, "1", **source, **_names(n, what)),
            balance(f"y{n}", n, "1", **source, **_names(n, what), kind="margin"),
            tick(n),
        ):
            assert plain.tell(event) == restarted.tell(event)
        if n % 3 == 0:
            restarted.restart()
    assert refusals(plain.out)
    assert plain.store() == restarted.store()
    later = [fill("late", 8 * DAY), tick(8 * DAY)]
    assert plain.tell(*later) == restarted.tell(*later)
    assert plain.store() == restarted.store()


def _names(n: int, what: str) -> dict[str, Any]:
    if what == "asset":
        return {"asset": f"GEM{n}"}
    return {what: f"invented{n}"}


def test_invented_sources_leave_room_for_listed_names() -> None:
    """Together they fill what is unlisted; listed counterparties and assets still have room."""
    desk = Desk(max_counterparties=100, max_holdings=100)
    for n in range(300):
        desk.tell(balance(f"c{n}", 0, "1", source=f"liar{n}", counterparty=f"invented{n}"))
    assert len(desk.state.parties) == 100
    named = [f"ledger:liar{100 + n}" for n in range(NAMED_WRITERS)]
    assert told(desk.out) == [*named, "ledger:*"]
    assert len(desk.state.refused) == NAMED_WRITERS + 1
    desk.tell(balance("k", 0, "1"))
    for n in range(300):
        desk.tell(balance(f"a{n}", 0, "1", source=f"liar{n}", asset=f"GEM{n}"))
    assert len(desk.state.parties["kraken"].cells) == 100
    said = desk.tell(*(balance(name, 1, "1", asset=name) for name in ASSETS), fill("f", 2))
    said += desk.tell(balance("b", 3, "1", counterparty="binance"))
    assert not refusals(said)


def test_the_listed_assets_of_an_account_are_not_counted() -> None:
    """One account with all listed assets is one name; a further account is another."""
    desk = Desk(max_holdings=12)
    for n, account in enumerate(("a", "b", "c", "d")):
        facts = [
            balance(f"{account}{name}", n, "1", asset=name, account=account) for name in ASSETS
        ]
        assert len(refusals(desk.tell(*facts))) == (4 if account == "d" else 0)
    assert len(desk.state.parties["kraken"].cells) == 12
    assert not refusals(desk.tell(balance("e", 9, "1", account="d", source="another")))


def test_an_account_stays_counted_when_its_first_holding_is_dropped() -> None:
    """Another holding of the account stands for it, also after a restart."""
    desk = Desk(max_holdings=12)
    for account in ("a", "b", "c"):
        desk.tell(balance(f"{account}1", 0, "0", account=account))
        desk.tell(balance(f"{account}2", 0, "5", asset="ETH", account=account))
    desk.tell(fill("now", 9 * DAY, source="another"), tick(9 * DAY))
    assert ("mm", "a", "", "BTC", "custody") not in desk.state.parties["kraken"].cells
    for _ in range(2):
        (refused,) = refusals(desk.tell(balance("d", 9 * DAY + 1, "1", account="d")))
        assert refused.detail == "limit=max_holdings value=12 of_one_source=3"
        desk.restart()


def test_a_holding_that_is_dropped_makes_room() -> None:
    """Zero for long, it is no name any more."""
    desk = Desk(max_holdings=12)
    desk.tell(*(balance(f"g{n}", 0, "0", asset=f"GEM{n}") for n in range(3)))
    assert refusals(desk.tell(balance("g3", 1, "1", asset="GEM3")))
    desk.tell(fill("now", 9 * DAY), tick(9 * DAY))
    assert not refusals(desk.tell(balance("g4", 9 * DAY + 1, "1", asset="GEM4")))


def test_the_issue_ends_when_nothing_more_is_refused() -> None:
    """A quarter of an hour after the last refusal, also across a restart."""
    desk = Desk(max_counterparties=1)
    desk.tell(*(invented(n, "counterparty") for n in range(5)))
    desk.tell(tick(2), tick(600))
    late = balance("z", 700, "1", source="liar", counterparty="invented9")
    assert told(desk.tell(late)) == []
    desk.restart()
    assert not [o for o in desk.tell(tick(1_599)) if isinstance(o, DataQualityResolved)]
    (end,) = [o for o in desk.tell(tick(1_600)) if isinstance(o, DataQualityResolved)]
    assert (end.issue, end.subject) == (QualityIssue.TABLE_FULL, "ledger:liar")
    assert "refused/liar" not in desk.store()
    again = balance("zz", 1_700, "1", source="liar", counterparty="invented9")
    assert told(desk.tell(again)) == ["ledger:liar"]


def test_old_facts_without_room_are_told_once() -> None:
    """Live, the issue lasts from when they were heard, not from their own time."""
    desk = Desk(live=True, max_counterparties=1)
    arrived = balance("now", 3 * DAY, "1").ts
    for n in range(3):
        desk.tell(
            balance(f"o{n}", n, "1", source="liar", counterparty=f"old{n}", arrived=arrived),
            tick(3 * DAY + n),
        )
    assert told(desk.out) == ["ledger:liar"]
    assert not [out for out in desk.out if isinstance(out, DataQualityResolved)]


def test_rows_of_an_older_build_have_no_writer() -> None:
    """They are held, count in the sum and for no source, and nothing takes their place."""
    desk = Desk(max_counterparties=8, max_holdings=8)
    desk.tell(*(balance(f"o{n}", 0, "1", counterparty=f"old{n}", source=f"s{n}") for n in range(3)))
    desk.tell(*(balance(f"g{n}", 0, "1", asset=f"GEM{n}", source=f"s{n}") for n in range(3)))
    for name, party in desk.state.parties.items():
        party.by = ""
        party.names = None
        desk.state.dirty[f"party/{name}"] = party
        for holding in party.cells.values():
            holding.by = ""
            desk.state.dirty[holding.key] = holding
    desk.state.counts = None
    desk.restart()
    for n in range(9):
        desk.tell(balance(f"n{n}", 1, "1", counterparty=f"new{n}", source=f"t{n}"))
        desk.tell(balance(f"m{n}", 1, "1", asset=f"NEW{n}", source=f"t{n}"))
    assert sorted(desk.state.parties) == ["kraken", *(f"new{n}" for n in range(5)), "old0", "old1",
                                          "old2"]  # fmt: skip
    cells = [key[3] for key in desk.state.parties["kraken"].cells]
    assert cells == ["GEM0", "GEM1", "GEM2", *(f"NEW{n}" for n in range(5))]


SILENT = 41 * DAY
"""Longer than `forget_s`, seconds."""


def gone(desk: Desk, name: str = "ghost") -> bool:
    """Whether no stored row is about a counterparty."""
    return not [key for key in desk.store() if name in key.split("/")]


def history(name: str = "ghost", **where: str) -> list[msgspec.Struct]:
    """Return facts of every kind about a counterparty, after which nothing is held or open."""
    trade = fill("f", 30, counterparty=name, settles_at=60, **where)
    return [
        balance("b1", 10, "4", counterparty=name, **where),
        trade,
        settlement("d", 60, of=trade, status="delivered"),
        order("o1", 70, "2", counterparty=name, **where),
        order("o2", 80, "0", counterparty=name, **where),
        position("p1", 90, "3", counterparty=name, **where),
        fill(
            "c",
            95,
            counterparty=name,
            side="sell",
            qty="3",
            kind="perp",
            instrument="BTC-PERP",
            **where,
        ),
        position("p2", 100, "0", counterparty=name, **where),
        loan("l1", 110, "7", counterparty=name, **where),
        loan("l2", 120, "0", counterparty=name, **where),
        transfer("w1", 130, "requested", counterparty=name, **where),
        transfer("w2", 140, "confirmed", counterparty=name, **where),
        balance("b2", 150, "0", counterparty=name, **where),
        balance("b3", 150, "0", asset="USD", counterparty=name, **where),
    ]


def test_a_counterparty_without_anything_is_forgotten() -> None:
    """No row of it is left after long silence, and its source has its room again."""
    desk = Desk()
    desk.tell(*history(), tick(160), tick(400), tick(2 * DAY))
    assert not refusals(desk.out)
    assert not gone(desk)
    desk.tell(tick(SILENT - 2 * DAY))
    assert not gone(desk)
    desk.tell(tick(SILENT + 2 * DAY))
    assert gone(desk)
    assert desk.state.parties == {}
    assert desk.store() != {}


@pytest.mark.parametrize(
    "more",
    [
        balance("x", 200, "1", counterparty="ghost"),
        position("x", 200, "1", counterparty="ghost"),
        order("x", 200, "1", counterparty="ghost"),
        loan("x", 200, "1", counterparty="ghost"),
        transfer("x", 200, "requested", counterparty="ghost", transfer_id="open"),
        fill("x", 200, counterparty="ghost", settles_at=10 * SILENT),
        # A snapshot that facts do not explain: the break stays open.
        [
            balance("y", 200, "1", counterparty="ghost"),
            balance("z", 201, "0", counterparty="ghost"),
        ],
    ],
    ids=lambda more: type(more).__name__,
)
def test_what_is_open_keeps_its_counterparty(more: msgspec.Struct | list[msgspec.Struct]) -> None:
    """Anything that is held, waits, or rests."""
    desk = Desk()
    facts = more if isinstance(more, list) else [more]
    desk.tell(*history(), *facts, tick(300), tick(2 * DAY), tick(5 * SILENT))
    assert list(desk.state.parties) == ["ghost"]
    assert not gone(desk)


def test_a_listed_counterparty_is_never_forgotten() -> None:
    """Its number is that of the reference data."""
    desk = Desk()
    desk.tell(*history("kraken"), tick(300), tick(2 * DAY), tick(5 * SILENT))
    assert not gone(desk, "kraken")


def test_an_old_fact_of_a_forgotten_counterparty_counts_no_second_time() -> None:
    """It is a dead letter; new facts open the counterparty again."""
    desk = Desk()
    desk.tell(*history(), tick(300), tick(2 * DAY), tick(5 * SILENT))
    (late,) = refusals(desk.tell(fill("f", 30, counterparty="ghost")))
    assert (late.reason, "parties" in late.detail) == (RejectReason.FACT_TOO_LATE, True)
    desk.restart()
    assert refusals(desk.tell(fill("f", 30, counterparty="ghost")))
    assert not refusals(desk.tell(balance("n", 5 * SILENT, "1", counterparty="ghost")))
    assert not refusals(desk.tell(fill("k", 30, counterparty="kraken")))


def test_forgotten_counterparties_make_room() -> None:
    """A table that a liar filled is empty after long silence of what holds nothing."""
    desk = Desk(max_counterparties=8)
    for n in range(3):
        desk.tell(balance(f"b{n}", n, "0", counterparty=f"inv{n}", source="liar"))
    assert told(desk.out) == ["ledger:liar"]
    desk.tell(tick(10), tick(2 * DAY), tick(SILENT + 3 * DAY))
    assert desk.state.parties == {}
    late = SILENT + 3 * DAY
    assert not refusals(desk.tell(balance("n", late, "0", counterparty="x", source="liar")))


def test_a_restart_anywhere_forgets_the_same() -> None:
    """Rows and outputs are equal, byte for byte."""
    found = []
    for restarts in (False, True):
        desk = Desk()
        events = [*history(), *history("second", book="arb"), balance("k", 155, "9"), tick(160)]
        events += [tick(n * DAY) for n in range(1, 60, 3)]
        events += [balance("again", 60 * DAY, "2", counterparty="second"), tick(60 * DAY)]
        for event in events:
            desk.tell(event)
            if restarts:
                desk.restart()
        found.append((desk.store(), desk.out))
    assert found[0] == found[1]
    assert gone(desk)
    assert not gone(desk, "second")
