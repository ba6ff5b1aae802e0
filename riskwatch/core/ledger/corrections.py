"""Handler of corrections of fills: busts and amendments, each checked against what was applied."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from riskwatch.core.enums import QualityIssue
from riskwatch.core.ledger.fills import find_trade, remember_correction, update_trade
from riskwatch.core.ledger.memory import (
    BUSTED,
    SETTLES,
    TradeEntry,
    facts_mark,
    fee_mark,
    place_mark,
    trade_mark,
)
from riskwatch.core.ledger.outputs import (
    LedgerOutput,
    LedgerParameters,
    execution_issue,
    fact_conflict,
    fact_too_late,
    trade_conflict,
)
from riskwatch.core.ledger.sizes import sized
from riskwatch.core.ledger.trades import (
    Amendment,
    TradeFacts,
    TradeFill,
    TradeRow,
    facts_of,
    resolve_corrections,
    trade_fill,
)

if TYPE_CHECKING:
    from riskwatch.core.events import FillCorrection
    from riskwatch.core.ledger.memory import LoggedFill
    from riskwatch.core.ledger.party import EntityKey, LedgerParty


class KnownTrade(NamedTuple):
    """What the ledger knows of the trade that a correction names; ``None`` for what it does not.

    `key` is that of its row, and `mark` that of its trade id.
    """

    key: EntityKey
    mark: str
    row: TradeRow | None
    entry: TradeEntry | None
    fill: LoggedFill | None

    @property
    def is_filled(self) -> bool:
        """Whether a fill of it is known, and its row if it settles later."""
        if self.row is not None and (self.row.fill is not None or self.row.facts is not None):
            return True
        if self.entry is not None:
            return not self.entry.flag & SETTLES
        return self.fill is not None and not self.fill.settles


def apply_correction(
    parameters: LedgerParameters, party: LedgerParty, event: FillCorrection, us: int
) -> list[LedgerOutput]:
    """Cancel or change a trade at the time of the correction.

    A correction of a trade that is not known is kept, moves nothing and is told; it counts once the
    trade is known. One that restates another trade than the known one is refused.
    """
    if event.kind != "spot":
        event = sized(parameters, party, event)
    known = _known_trade(party, event)
    if event.wallet is None and known.fill is not None and known.fill.wallet:
        event = replace(event, wallet=known.fill.wallet)
    row = find_trade(parameters, party, known.key, us)
    facts = facts_of(event)
    if _is_repeat(event, known, facts):
        return []
    if row is None and known.entry is not None and known.entry.flag & BUSTED:
        raise fact_conflict(f"{_name(event)} was busted before")
    settles = trade_fill(event).settles_us
    if not known.is_filled and settles is not None and settles <= party.trade_horizon:
        raise fact_too_late(f"{_name(event)} horizon={party.trade_horizon} collection=trades")
    new = _with_correction(event, row, known.mark, facts)
    if not known.is_filled:
        out = update_trade(parameters, party, event, known.key, (row, new))
        if row is not None and row.waits:
            return out
        subject = f"{party.name}/{'/'.join(known.key)}"
        detail = f"no fill of it is known, nothing is moved: {_name(event)} {facts.text()}"
        return [*out, execution_issue(event, QualityIssue.TRADE_UNKNOWN, subject, detail)]
    new.facts = new.facts or _applied_facts(event, known, facts)
    _check_place(event, known)
    if event.status == "bust":
        new.fee_waits = _fee_waits(event, known)
    dropped = resolve_corrections(new)
    if dropped:
        raise trade_conflict(f"{_name(event)} restates {dropped} known: {_known_text(known)}")
    out = update_trade(parameters, party, event, known.key, (row, new))
    remember_correction(party, known.key, new)
    return out


def _known_trade(party: LedgerParty, event: FillCorrection) -> KnownTrade:
    """Find the trade that a correction names."""
    executions, facts = party.account(event.account), facts_of(event)
    mark, entry, fill = "", None, None
    name = event.fill_id or f"{facts.market}#{event.trade_id}"
    key = (event.book, event.account, name)
    key = party.aliases.get(key, key)
    if event.trade_id is not None:
        digest = trade_mark(facts, event.trade_id)
        mark, entry = digest.hex(), executions.memory.find(digest)
        if entry is not None:
            fill = executions.log.find_trade(event.trade_id, digest)
    else:
        fill = executions.log.find(event.book, name)
        if fill is not None and fill.trade_id is not None:
            entry = executions.memory.find(trade_mark(fill.facts, fill.trade_id))
        elif fill is None and key not in party.trades:
            entry = executions.memory.find_fill(name, facts)
        mark = "" if entry is None else entry.mark.hex()
    if mark:
        key = party.links.get((event.account, mark), key)
    row = party.trades.get(key)
    if row is not None and row.mark and mark and row.mark != mark:
        raise trade_conflict(f"{_name(event)} names two trades")
    return KnownTrade(key, mark or ("" if row is None else row.mark), row, entry, fill)


def _name(event: FillCorrection) -> str:
    if event.trade_id is not None:
        return f"trade_id={event.trade_id}"
    return f"fill_id={event.fill_id}"


def _is_repeat(event: FillCorrection, known: KnownTrade, facts: TradeFacts) -> bool:
    """Whether another source reported the same correction; refuse another one of a busted trade."""
    row = known.row
    if row is None:
        return False
    if event.status == "amend":
        after = _amended(event, facts)
        each = [*row.amendments, *([] if row.amending is None else [row.amending])]
        if any((a.facts_before, a.facts_after) == (facts, after) for a in each):
            return True
        if facts in row.others and row.facts == after:
            return True
        if row.amending is not None:
            raise trade_conflict(f"{_name(event)} was amended in another way before")
    if row.bust is None:
        return False
    if event.status == "bust" and event.trade_id is not None and row.bust_facts == facts:
        return True
    raise fact_conflict(f"{_name(event)} was busted before")


def _amended(event: FillCorrection, facts: TradeFacts) -> TradeFacts:
    """Return the facts that an amendment makes."""
    qty = facts.qty if event.amended_qty is None else event.amended_qty
    price = facts.price if event.amended_price is None else event.amended_price
    return facts._replace(qty=qty, price=price)


def _with_correction(
    event: FillCorrection, row: TradeRow | None, mark: str, facts: TradeFacts
) -> TradeRow:
    """Return the row of a trade with a correction that waits to be checked."""
    new = replace(row) if row is not None else TradeRow()
    new.mark = mark
    if event.status == "bust":
        new.bust, new.bust_facts, new.pending = trade_fill(event), facts, True
        return new
    if new.fill is not None or event.settles_at is not None:
        raise fact_conflict(
            f"{_name(event)} settles later: report a bust and another fill, not an amendment"
        )
    after = _amended(event, facts)
    amended = replace(event, qty=after.qty, price=after.price)
    new.amending = Amendment(trade_fill(event), trade_fill(amended), facts, after)
    return new


def _applied_facts(
    event: FillCorrection, known: KnownTrade, facts: TradeFacts
) -> TradeFacts | None:
    """Return the facts of the first report: of the log, or what a digest confirms."""
    if known.entry is None:
        if known.fill is not None:
            return known.fill.facts
        return facts if known.row is not None and _agrees(known.row.fill, event) else None
    if known.entry.facts == facts_mark(facts):
        return facts
    after = _amended(event, facts)
    return after if known.entry.facts == facts_mark(after) else None


def _agrees(fill: TradeFill | None, event: FillCorrection) -> bool:
    """Whether a fill of an older build, which is kept without its facts, moved the same."""
    return fill is not None and fill.legs == trade_fill(event).legs


def _check_place(event: FillCorrection, known: KnownTrade) -> None:
    """Refuse a correction in another book or wallet than that of the fill."""
    place = (event.book, event.wallet or "")
    wrong = known.key[0] != event.book
    if known.entry is not None:
        wrong = wrong or known.entry.place != place_mark(*place)
    elif known.fill is not None:
        wrong = wrong or (known.fill.book, known.fill.wallet) != place
    elif known.row is not None:
        wrong = wrong or known.row.wallet != place[1]
    if wrong:
        raise trade_conflict(
            f"{_name(event)} book={place[0]} wallet={place[1]}: the fill has another book or wallet"
        )


def _fee_waits(event: FillCorrection, known: KnownTrade) -> bool:
    """Whether a bust returns a fee that no report has stated yet; refuse one that is another."""
    fee = fee_mark(event.fee, event.fee_asset or event.quote)
    if not event.fee:
        return False
    stated = None
    if known.entry is not None:
        if not known.entry.has_fee:
            return True
        stated = known.entry.fee
    elif known.row is not None and known.row.fill is not None:
        stated = fee_mark(known.row.fill.fee, known.row.fill.fee_asset)
    elif known.fill is not None:
        stated = fee_mark(known.fill.fee, known.fill.fee_asset)
    if stated != fee:
        raise trade_conflict(
            f"{_name(event)} fee={event.fee} {event.fee_asset}: the fill has another fee"
        )
    return False


def _known_text(known: KnownTrade) -> str:
    """Return what is known of a trade, as far as it is kept in words."""
    if known.fill is not None:
        return known.fill.facts.text()
    if known.row is not None and known.row.facts is not None:
        return known.row.facts.text()
    return "another trade"
