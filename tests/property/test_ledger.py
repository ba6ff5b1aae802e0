"""The ledger against an independent fold of the complete set of facts, in random orders."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from riskwatch.core.clock import MINUTE, SECOND, micros, moment
from riskwatch.core.events import Tick
from riskwatch.core.ledger.config import LedgerConfig
from riskwatch.core.ledger.stage import LedgerStage
from riskwatch.core.ledger.state import LedgerState
from riskwatch.core.money import EXACT, ZERO
from riskwatch.core.outputs import EventRejected
from riskwatch.core.readings import CounterpartyReading
from tests.support import facts as f
from tests.support.fold import fold, fold_accounts, fold_positions

if TYPE_CHECKING:
    from riskwatch.core.events import Fill, LedgerEvent
    from riskwatch.core.stage import Row

STATUSES = ("requested", "pending", "sent", "confirmed", "failed", "cancelled")
KINDS = ("custody", "margin", "collateral_posted", "loan")


class Author:
    """Generates stories of facts with unique ids, within `span` seconds."""

    def __init__(self, seed: int, span: int) -> None:
        self.random = random.Random(seed)
        self.span = span
        self.count = 0

    def name(self) -> str:
        """Return a fresh id, in no particular order."""
        self.count += 1
        return f"{self.random.randrange(1000)}-{self.count}"

    def when(self) -> float:
        """Return a time; whole seconds, so that ties happen."""
        return float(self.random.randrange(self.span))

    def number(self) -> str:
        """Return a positive decimal of up to 18 digits with up to 18 decimals."""
        digits = self.random.choice((2, 5, 18))
        scale = self.random.choice((0, 2, 8, 18))
        return str(Decimal(self.random.randrange(1, 10**digits)).scaleb(-scale))

    def signed(self) -> str:
        """Return a decimal of either sign."""
        return self.random.choice(("", "-")) + self.number()

    def where(self) -> dict[str, object]:
        """Return one of a few places."""
        pick = self.random.choice
        return {
            "counterparty": pick(("kraken", "binance")),
            "account": pick(("main", "sub")),
            "book": pick(("mm", "arb")),
            "source_seq": pick((None, 1, 2)),
        }

    def fill(self) -> Fill:
        """Return a fill of any kind."""
        pick = self.random.choice
        kind = pick(("spot", "spot", "spot", "perp"))
        base = pick(("BTC", "ETH"))
        when = self.when()
        return f.fill(
            self.name(),
            when,
            **self.where(),
            kind=kind,
            instrument=pick((None, f"{base}-PERP")) if kind == "perp" else None,
            base=base,
            quote=pick(("USD", "USDC")) if kind == "spot" else "USD",
            side=pick(("buy", "sell")),
            qty=self.number(),
            price=self.number(),
            fee=pick((None, self.signed())),
            fee_asset=pick((None, "BTC", "BNB")),
            reference_price=pick((None, "100")),
            settles_at=pick((None, when + self.random.randrange(-5, self.span))),
        )

    def trade(self) -> list[LedgerEvent]:
        """Return a fill, perhaps busted, perhaps settled, perhaps unknown."""
        fill = self.fill()
        story: list[LedgerEvent] = [fill]
        chance = self.random.random
        if chance() < 0.3:
            story.append(f.bust(self.name(), self.when(), fill))
        settles = fill.settles_at is not None
        fields = [s for s in ("delivered", "failed", "delivered") if settles and chance() < 0.3]
        story += [f.settlement(self.name(), self.when(), fill, status) for status in fields]
        return story if chance() < 0.9 else story[1:]

    def transfer(self) -> list[LedgerEvent]:
        """Return statuses of one transfer, some repeated, not always consistent."""
        pick = self.random.choice
        where = self.where()
        fields = {
            "transfer_id": self.name(),
            "asset": pick(("BTC", "USDC")),
            "amount": self.number(),
            "direction": pick(("deposit", "withdrawal")),
        }
        story: list[LedgerEvent] = []
        for _ in range(self.random.randrange(1, 6)):
            where["source_seq"] = pick((None, 1, 2))
            when = self.when()
            story.append(f.transfer(self.name(), when, pick(STATUSES), **fields, **where))
        return story

    def snapshot(self) -> list[LedgerEvent]:
        """Return a balance or a position."""
        pick = self.random.choice
        if pick((True, True, False)):
            balance = f.balance(
                self.name(),
                self.when(),
                self.number(),
                **self.where(),
                asset=pick(("BTC", "ETH", "USD", "USDC", "BNB")),
                locked=pick((None, self.number())),
                borrowed=pick((None, self.number())),
                unrealized_pnl=pick((None, self.signed())),
                kind=pick(("custody", *KINDS)),
            )
            return [balance]
        base = pick(("BTC", "ETH"))
        instrument = pick((None, f"{base}-PERP"))
        # No two at one time: of one instrument they would be two positions without a side.
        when, qty = self.when() + 1e-6 * self.count, self.signed()
        where = self.where()
        return [f.position(self.name(), when, qty, **where, base=base, instrument=instrument)]

    def book(self) -> list[LedgerEvent]:
        """Return snapshots of one order and of one loan."""
        pick = self.random.choice
        where = self.where()
        story: list[LedgerEvent] = []
        side, name, way = pick(("buy", "sell")), self.name(), pick(("lent", "borrowed"))
        for _ in range(self.random.randrange(1, 4)):
            where["source_seq"] = pick((None, 1, 2))
            left = pick(("0", self.number()))
            when = self.when()
            if pick((True, False)):
                story.append(f.order(self.name(), when, left, order_id=name, side=side, **where))
            else:
                story.append(f.loan(self.name(), when, left, loan_id=name, direction=way, **where))
        return story

    def write(self, stories: int) -> list[LedgerEvent]:
        """Return the facts of `stories` stories in random order."""
        kinds = (self.trade, self.trade, self.transfer, self.snapshot, self.snapshot, self.book)
        facts = [fact for _ in range(stories) for fact in self.random.choice(kinds)()]
        self.random.shuffle(facts)
        return facts


def compare(state: LedgerState, events: list[LedgerEvent], now: int) -> list[CounterpartyReading]:
    """Assert that the readings at `now` equal the fold of `events`; return the readings."""
    for name in state.parties:
        state.parties[name].changed = True
    outputs = f.run([Tick(us=now)], state)
    readings = [out for out in outputs if isinstance(out, CounterpartyReading)]
    held = {
        (h.book, r.counterparty, h.account, h.asset, h.component): h.amount
        for r in readings
        for h in r.holdings
        if h.amount
    }
    lots = {
        (p.book, r.counterparty, p.account, p.instrument): p.qty
        for r in readings
        for p in r.positions
        if p.qty
    }
    assert held == fold(events, moment(now))
    assert lots == fold_positions(events)
    return readings


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), stories=st.integers(1, 40))
def test_any_order_within_the_late_window_gives_the_fold(seed: int, stories: int) -> None:
    """Any permutation of facts that are near in time gives the holdings of the complete set."""
    author = Author(seed, span=(6, 60, 800)[seed % 3])
    events = author.write(stories)
    now = micros(f.at(author.random.randrange(2 * author.span)))
    flows = []
    for _ in range(2):
        author.random.shuffle(events)
        state = LedgerState()
        refused = [out for out in f.run(events, state) if isinstance(out, EventRejected)]
        assert refused == []
        readings = compare(state, events, now)
        flows.append([msgspec.structs.replace(r.flow, slippage_bp=0.0) for r in readings])
    assert flows[0] == flows[1]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_delays_shorter_than_the_window_do_not_matter_however_long_the_stream(seed: int) -> None:
    """Facts over hours, each delayed by up to 14 minutes, with ticks and sweeps in between."""
    author = Author(seed, span=4 * 3600)
    facts = author.write(80)
    delays = {fact.event_id: author.random.randrange(840) * SECOND for fact in facts}
    arrivals = sorted(facts, key=lambda e: (micros(e.ts) + delays[e.event_id], e.event_id))
    state = LedgerState()
    refused = []
    for event in arrivals:
        due = micros(event.ts) + delays[event.event_id]
        outputs = f.run([Tick(us=due), event], state)
        refused += [out for out in outputs if isinstance(out, EventRejected)]
    assert refused == []
    compare(state, arrivals, micros(f.at(9 * 3600)))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), every=st.integers(1, 7))
def test_reloading_at_any_point_changes_no_output_and_no_row(seed: int, every: int) -> None:
    """A state that is stored and reloaded at times gives equal outputs and equal rows."""
    author = Author(seed, span=author_span(seed))
    events = author.write(60)
    if seed % 3:
        events.sort(key=lambda e: e.ts)
    config = LedgerConfig(max_holdings=12, max_trades=8, max_orders=4, max_transfers=6, max_loans=4)
    stage = LedgerStage(config)
    plain, restarted = LedgerState(), LedgerState()
    rows: dict[str, Row] = {}
    for n, event in enumerate(events):
        now = Tick(us=micros(event.ts) + author.random.randrange(3 * MINUTE))
        for step in (event, now) if n % 3 else (event,):
            assert stage.step(plain, step) == stage.step(restarted, step)
        if n % every == 0:
            merge(rows, restarted)
            restarted = LedgerState()
            restarted.load(rows)
    merge(rows, restarted)
    whole: dict[str, Row] = {}
    merge(whole, plain)
    assert rows == whole
    again = LedgerState()
    again.load(rows)
    assert again.drain() == {}


def shared(author: Author, facts: int) -> list[LedgerEvent]:
    """Return facts of books that share accounts whose wallets the venue states."""
    pick = author.random.choice
    out: list[LedgerEvent] = []
    for _ in range(facts):
        account, seq = pick(("main", "sub")), pick((None, 1, 2))
        where: dict[str, object] = {"account": account, "source_seq": seq}
        name, when, number = author.name(), author.when(), author.number()
        if pick((True, False)):
            where |= {"book": pick(("mm", "arb", "x")), "side": pick(("buy", "sell"))}
            where |= {"wallet": pick((None, None, "spot", "fund")), "price": "2"}
            out.append(f.fill(name, when, qty=number, **where))
        else:
            wallet = pick((None, "spot", "fund")) if account == "sub" else "spot"
            where |= {"book": pick(("unallocated", "unallocated", "treasury"))}
            where |= {"wallet_type": "funding" if wallet == "fund" else wallet}
            asset = pick(("BTC", "USD"))
            out.append(
                f.balance(name, when, number, wallet=wallet, asset=asset, covers="account", **where)
            )
    return out


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), facts=st.integers(1, 40), every=st.integers(1, 9))
def test_an_account_holds_what_the_venue_said_last_and_what_came_after(
    seed: int, facts: int, every: int
) -> None:
    """However books share it, in whatever order facts come, and restored anywhere."""
    author = Author(seed, span=(6, 60, 800)[seed % 3])
    events = shared(author, facts)
    for _ in range(2):
        author.random.shuffle(events)
        state, rows = LedgerState(), dict[str, "Row"]()
        for n, event in enumerate(events):
            assert f.run([event], state) == []
            if n % every == 0:
                merge(rows, state)
                state = LedgerState()
                state.load(rows)
        reading = f.read(f.run([Tick(us=micros(f.at(900)))], state))
        held: dict[tuple[str, str, str], Decimal] = {}
        for h in reading.holdings:
            key = ("kraken", h.account, h.asset)
            held[key] = EXACT.add(held.get(key, ZERO), h.amount)
        right = fold_accounts(events)
        assert {key: amount for key, amount in held.items() if amount} == right


def author_span(seed: int) -> int:
    """Return a span of minutes, hours or weeks."""
    return (600, 20_000, 30 * 86_400)[seed % 3]


def merge(rows: dict[str, Row], state: LedgerState) -> None:
    """Apply a state's changed rows, as a store does."""
    for key, row in state.drain().items():
        if row is None:
            rows.pop(key, None)
        else:
            rows[key] = row
