"""Who invents counterparties, assets or accounts fills no table of the ledger for others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from riskwatch.core.enums import QualityIssue, RejectReason
from riskwatch.core.ledger.config import SOURCE_SHARE, LedgerConfig
from riskwatch.core.ledger.stage import NAMED_WRITERS, LedgerStage
from riskwatch.core.ledger.state import LedgerState
from riskwatch.core.outputs import DataQualityRaised, DataQualityResolved, EventRejected
from riskwatch.core.readings import CounterpartyReading
from riskwatch.core.reference import Asset, Party, Reference
from tests.support.facts import balance, fill, order, position, run, tick, transfer

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

    def __init__(self, *, live: bool = False, **config: int) -> None:
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
    assert len(flooded.store()) <= len(quiet.store()) + rows * share + 1


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
