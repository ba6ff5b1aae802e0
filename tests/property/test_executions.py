"""Trades that several sources report, against an independent fold that counts each trade once."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from riskwatch.core.events import FillCorrection
from riskwatch.core.ledger.state import LedgerState
from riskwatch.core.outputs import EventRejected
from tests.support import facts as f

if TYPE_CHECKING:
    from riskwatch.core.events import Event
    from riskwatch.core.stage import Row

SOURCES = ("websocket", "backfill", "drop-copy")
Sums = dict[tuple[str, str, str], Decimal]
"""Amounts that are not zero, by (book, account, asset or instrument)."""


@dataclass
class Story:
    """One trade: its facts, what becomes of it, and the events that tell it."""

    fields: dict[str, object]
    fee: str | None
    end: str
    amended: tuple[str, str]
    returns_fee: bool
    states_fee: bool = False
    events: list[Event] = field(default_factory=list)


class Author:
    """Writes stories of trades; ids are unique per market only."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.count = 0

    def number(self) -> str:
        """Return a positive decimal; the same number may have trailing zeros."""
        x = Decimal(self.random.randrange(1, 10**6)).scaleb(-self.random.choice((0, 2, 6)))
        return f"{x:f}"

    def name(self) -> str:
        """Return an event id that no other event has."""
        self.count += 1
        return f"e{self.count}"

    def story(self, trade_id: int) -> Story:
        """Return the events of one trade, in no order."""
        pick = self.random.choice
        spot = pick((True, True, False))
        base = pick(("BTC", "ETH"))
        when = self.random.randrange(600)
        fields: dict[str, object] = {
            "account": pick(("main", "sub")),
            "book": pick(("mm", "arb")),
            "base": base,
            "quote": "USD",
            "kind": "spot" if spot else "perp",
            "instrument": None if spot else f"{base}-PERP",
            "side": pick(("buy", "sell")),
            "qty": self.number(),
            "price": self.number(),
            "trade_id": str(trade_id),
            "fee_asset": "BNB",
        }
        story = Story(
            fields,
            pick((None, self.number())),
            pick(("stands", "stands", "bust", "amend")),
            (self.number(), self.number()),
            pick((True, False)),
        )
        for source in self.random.sample(SOURCES, self.random.randrange(1, 4)):
            for _ in range(self.random.randrange(1, 3)):
                self._report(story, source, when)
            if story.end != "stands":
                self._correct(story, source, when)
        return story

    def _report(self, story: Story, source: str, when: int) -> None:
        fee = self.random.choice((story.fee, "0", None))
        story.states_fee = story.states_fee or (fee is not None and fee == story.fee)
        fields = {**story.fields, "qty": str(story.fields["qty"]) + self._zeros(story)}
        event = f.fill(self.name(), when, source=source, fee=fee, **fields)
        story.events.append(event)

    def _zeros(self, story: Story) -> str:
        return self.random.choice(("", "00")) if "." in str(story.fields["qty"]) else ""

    def _correct(self, story: Story, source: str, when: int) -> None:
        changes: dict[str, object] = {"status": story.end}
        if story.end == "amend":
            changes["amended_qty"], changes["amended_price"] = map(Decimal, story.amended)
        elif story.returns_fee and story.fee is not None:
            changes["fee"] = story.fee
        event = f.fact(
            FillCorrection, self.name(), when + 60, source=source, **{**story.fields, **changes}
        )
        story.events.append(event)


def fold(stories: list[Story]) -> Sums:
    """Return the amounts of the trades, each counted once."""
    total: defaultdict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    for story in stories:
        where = (str(story.fields["book"]), str(story.fields["account"]))
        fee = Decimal(story.fee or 0) if story.states_fee else Decimal(0)
        total[*where, "BNB"] -= fee
        if story.end == "bust":
            total[*where, "BNB"] += fee if story.returns_fee else 0
            continue
        stated = (str(story.fields["qty"]), str(story.fields["price"]))
        qty, price = map(Decimal, story.amended if story.end == "amend" else stated)
        sign = 1 if story.fields["side"] == "buy" else -1
        if story.fields["kind"] == "spot":
            total[*where, str(story.fields["base"])] += sign * qty
            total[*where, "USD"] -= sign * qty * price
        else:
            total[*where, str(story.fields["instrument"])] += sign * qty
    return {key: amount for key, amount in sorted(total.items()) if amount}


def sums(state: LedgerState) -> Sums:
    """Return the amounts that the ledger holds."""
    party = state.parties["kraken"]
    found = {(key[0], key[1], key[3]): each.amount() for key, each in party.cells.items()}
    found.update({(key[0], key[1], key[4]): each.amount() for key, each in party.positions.items()})
    return {key: amount for key, amount in sorted(found.items()) if amount}


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), trades=st.integers(1, 12), every=st.integers(1, 9))
def test_any_interleaving_of_sources_counts_each_trade_once(
    seed: int, trades: int, every: int
) -> None:
    """Repeats, corrections and late fees in any order, restored anywhere, give the fold."""
    author = Author(seed)
    stories = [author.story(n % 5) for n in range(trades)]
    # One id is one trade within its account and market.
    known = {(s.fields["account"], s.fields["base"], s.fields["kind"], s.fields["trade_id"]): s
             for s in stories}  # fmt: skip
    stories = list(known.values())
    events = [event for story in stories for event in story.events]
    author.random.shuffle(events)
    plain, restored = LedgerState(), LedgerState()
    rows: dict[str, Row] = {}
    for n, event in enumerate(events):
        outputs = f.run([event, f.tick(700 + n)], plain)
        assert [out for out in outputs if isinstance(out, EventRejected)] == []
        assert f.run([event, f.tick(700 + n)], restored) == outputs
        if n % every == 0:
            keep(rows, restored)
            restored = LedgerState()
            restored.load(rows)
    assert sums(plain) == sums(restored) == fold(stories)
    keep(rows, restored)
    whole: dict[str, Row] = {}
    keep(whole, plain)
    assert rows == whole


def keep(rows: dict[str, Row], state: LedgerState) -> None:
    """Apply the changed rows of a state, as a store does."""
    for key, row in state.drain().items():
        if row is None:
            rows.pop(key, None)
        else:
            rows[key] = row
