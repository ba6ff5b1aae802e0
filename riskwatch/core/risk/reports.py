"""Reports: outputs about exposures, values, scores, limits, assessments and missing data."""

from __future__ import annotations

import decimal
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from riskwatch.core.clock import MINUTE, SECOND, micros, moment
from riskwatch.core.enums import Cause, Quality, QualityIssue
from riskwatch.core.events import identity
from riskwatch.core.instruments import OPTION, SIZED_BY_CONTRACTS, value_position
from riskwatch.core.money import EXACT, MAX_USD, canonical, mul, quantise, saturated, usd
from riskwatch.core.outputs import (
    AssetValued,
    CounterpartyAssessed,
    DataQualityRaised,
    DataQualityResolved,
    ExposureChanged,
    LimitMeasured,
    Origin,
    PositionChanged,
    ScoreUpdated,
    position_place,
)
from riskwatch.core.readings import Holding
from riskwatch.core.risk.claims import PENDING, UNCLEAR, UNOPENED
from riskwatch.core.risk.exposure import (
    basis_of,
    position_key,
    price_of,
    valuation_of,
    value_of,
)
from riskwatch.core.risk.marks import is_unrecognised
from riskwatch.core.risk.state import LastReported, LimitRow, Valuation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from riskwatch.core.events import Credit, LegalEntity, NettingSet
    from riskwatch.core.instruments import PositionValue
    from riskwatch.core.readings import OpenPosition
    from riskwatch.core.reference import Reference
    from riskwatch.core.risk.config import RiskConfig
    from riskwatch.core.risk.credit_loss import CreditAssessment
    from riskwatch.core.risk.exposure import Exposures
    from riskwatch.core.risk.limits import LimitUsage
    from riskwatch.core.risk.scorer import ModelScore
    from riskwatch.core.risk.state import AssetRow, PartyRow, RiskState

ReportOutput = (
    ExposureChanged
    | PositionChanged
    | AssetValued
    | ScoreUpdated
    | CounterpartyAssessed
    | LimitMeasured
    | DataQualityRaised
    | DataQualityResolved
)


PRICE_STEP: Final = 0.001
"""Share by which a price must move before a holding whose amount stays is valued again."""


def exposures_changed(
    state: RiskState, name: str, row: PartyRow, us: int, config: RiskConfig, reference: Reference
) -> Iterator[ReportOutput]:
    """Report the holdings of a counterparty that changed or are due to be valued again."""
    gone = dict.fromkeys(row.shown)
    for h in row.holdings:
        key = _holding_key(h)
        gone.pop(key, None)
        found = valuation_of(h.asset, state, us)
        by = _valued_by(h.asset, found, state, reference)
        found = _steady(found, row.shown.get(key), h.amount, by)
        shown = LastReported(h.amount, None if found is None else found.price, us, by, h.confirmed)
        if not _due(row.shown.get(key), shown, config):
            continue
        row.shown[key] = shown
        yield _exposure(us, name, key, h, found, by)
        if not h.amount:
            del row.shown[key]
    for key in sorted(gone):
        del row.shown[key]
        book, account, asset, component, *rest = key.split("/")
        wallet = rest[0] if rest else ""
        ended = Holding(book, account, asset, component, Decimal(0), wallet)
        yield _exposure(us, name, key, ended, None, "")
    yield from _positions_changed(state, name, row, us, config)


def _valued_by(asset: str, found: Valuation | None, state: RiskState, reference: Reference) -> str:
    """Return what gives a holding its value; empty if nothing does."""
    if found is not None:
        return found.by
    return UNRECOGNISED if is_unrecognised(asset, state, reference) else ""


def value_holdings(state: RiskState, us: int) -> Iterator[ExposureChanged]:
    """Return every holding, valued at the prices that the state has now; it changes nothing."""
    for name in sorted(state.parties):
        for h in state.parties[name].holdings:
            if h.amount:
                found = valuation_of(h.asset, state, us)
                yield _exposure(
                    us, name, _holding_key(h), h, found, "" if found is None else found.by
                )


def _holding_key(h: Holding) -> str:
    """Return ``book/account/asset/component``, and the wallet behind it if it is stated."""
    key = f"{h.book}/{h.account}/{h.asset}/{h.component}"
    return f"{key}/{h.wallet}" if h.wallet else key


def _exposure(
    us: int, name: str, key: str, h: Holding, found: Valuation | None, by: str
) -> ExposureChanged:
    exact = None if found is None else _price(found.price)
    value = None if exact is None else _cents(mul(h.amount, exact))
    return ExposureChanged(
        **Origin.tick(us).stamp(ExposureChanged, f"{h.book}/{name}/{key.partition('/')[2]}"),
        book=h.book,
        counterparty=name,
        account=h.account,
        asset=h.asset,
        component=h.component,
        amount=h.amount,
        price_usd=exact,
        value_usd=_NOTHING_USD if by == UNRECOGNISED else value,
        valued_by=by or None,
        priced_at=moment(found.us) if found is not None and found.us else None,
        confirmed_at=moment(h.confirmed) if h.confirmed else None,
        wallet=h.wallet or msgspec.UNSET,
    )


def _positions_changed(
    state: RiskState, name: str, row: PartyRow, us: int, config: RiskConfig
) -> Iterator[PositionChanged]:
    for p in row.positions:
        key, place = position_key(p), position_place(p.account, p.wallet, p.side)
        found = _priced(state, p, us)
        by = "" if found is None else found.by
        found = _steady(found, row.positions_shown.get(key), p.qty, by)
        price = None if found is None else found.price
        shown = LastReported(p.qty, price, us, by, p.confirmed)
        if not _due(row.positions_shown.get(key), shown, config):
            continue
        row.positions_shown[key] = shown
        if not p.qty:
            del row.positions_shown[key]
        full = f"{p.book}/{name}/{place}/{p.instrument}/position"
        value = value_position(p, _prices_of(state, p.base, price), basis_of(row, p))
        yield PositionChanged(
            **Origin.tick(us).stamp(PositionChanged, full),
            book=p.book,
            counterparty=name,
            account=p.account,
            instrument=p.instrument,
            base=p.base,
            quote=p.quote,
            qty=p.qty,
            entry_price=p.entry_price,
            mark_price=p.mark_price,
            liquidation_price=p.liquidation_price,
            notional_usd=_notional(p, value, price),
            wallet=p.wallet or msgspec.UNSET,
            side=p.side or msgspec.UNSET,
            valued_by=by or None,
            priced_at=moment(found.us) if found is not None and found.us else None,
            confirmed_at=moment(p.confirmed) if p.confirmed else None,
            kind=p.kind or msgspec.UNSET,
            contract_type=p.form or msgspec.UNSET,
            contract_size=msgspec.UNSET if p.contract_size is None else p.contract_size,
            settle=value.settle if p.form or p.settle else msgspec.UNSET,
            delta=_amount(value.delta),
            delta_usd=_known(_dollars(value.delta_usd)),
            pnl=_amount(value.pnl),
            pnl_usd=_known(_dollars(value.pnl_usd)),
            option_value_usd=usd(value.option_usd) if value.is_option else msgspec.UNSET,
        )


def _priced(state: RiskState, p: OpenPosition, us: int) -> Valuation | None:
    """Return the price of the base of a position, or its own mark if nothing prices the base."""
    found, quote = valuation_of(p.base, state, us), price_of(p.quote, state)
    if p.kind == OPTION:
        return found  # its mark is the price of the option
    if found is None and p.mark_price is not None and quote is not None:
        return Valuation(value_of(p.mark_price, quote), "mark", p.confirmed)
    return found


def _prices_of(state: RiskState, base: str, price: float | None) -> Callable[[str], float | None]:
    """Return the prices of assets, the base at the price that is reported."""
    return lambda asset: price if asset == base else price_of(asset, state)


def _notional(p: OpenPosition, value: PositionValue, price: float | None) -> Decimal | None:
    """Return the notional in USD, exact in the price where the size is an amount of the base."""
    if p.form in SIZED_BY_CONTRACTS and p.kind != OPTION:
        return _dollars(value.notional_usd)
    return None if price is None else _cents(mul(p.qty, _price(price)))


def _dollars(x: float | None) -> Decimal | None:
    return None if x is None else usd(x)


def _known(x: Decimal | None) -> Decimal | msgspec.UnsetType:
    return msgspec.UNSET if x is None else x


def _amount(x: float | None) -> Decimal | msgspec.UnsetType:
    """Return an amount of a coin that follows from estimated prices, to eight digits."""
    if x is None:
        return msgspec.UNSET
    return canonical(Decimal(f"{saturated(x):.8f}"))


def _steady(
    found: Valuation | None, before: LastReported | None, amount: Decimal, by: str
) -> Valuation | None:
    """Return a valuation at the reported price, if only the price changed, and little."""
    if found is None or before is None or before.price is None:
        return found
    moved = abs(found.price - before.price) >= PRICE_STEP * abs(before.price)
    if moved or (before.amount, before.by) != (amount, by):
        return found
    return replace(found, price=before.price)


def _due(shown: LastReported | None, now: LastReported, config: RiskConfig) -> bool:
    """Whether a holding is due.

    It is if its amount or what values it changed; if its price moved and enough time passed; or
    if it was confirmed again and somewhat less time passed.
    """
    if shown is None:
        return bool(now.amount)
    if (shown.amount, shown.by) != (now.amount, now.by):
        return True
    passed = now.us - shown.us
    if shown.price != now.price and (now.price is None or shown.price is None):
        return True
    if shown.price != now.price and passed >= config.revalue_s * SECOND:
        return True
    return shown.confirmed != now.confirmed and passed >= config.report_s * SECOND


def asset_valued(
    name: str, row: AssetRow, quality: Quality, us: int, config: RiskConfig
) -> Iterator[AssetValued]:
    """Report the value of an asset if it moved, or its cause or quality changed.

    With new observations, or other live feeds, it is reported `report_s` after the last time, too.
    """
    seen = row.reading
    changed = seen.cause is not row.sent_cause or quality is not row.sent_quality
    moved = abs(seen.deviation_bp - row.sent_bp) >= config.move_bp
    fresh = (seen.observations, seen.live) != (row.sent_observations, row.sent_live)
    due = fresh and us - row.sent_us >= config.report_s * SECOND
    if row.sent_us and not (changed or moved or due):
        return
    row.sent_us, row.sent_bp = us, seen.deviation_bp
    row.sent_observations, row.sent_live = seen.observations, seen.live
    row.sent_cause, row.sent_quality = seen.cause, quality
    yield AssetValued(
        **Origin.tick(us).stamp(AssetValued, f"asset:{name}"),
        asset=name,
        price_usd=seen.price_usd,
        deviation_bp=seen.deviation_bp,
        value_bp=seen.value_bp,
        direct_bp=seen.direct_bp,
        sd_bp=seen.sd_bp,
        live=seen.live,
        expected=seen.expected,
        cause=seen.cause,
        quality=quality,
    )


def asset_forgotten(name: str, row: AssetRow, us: int, config: RiskConfig) -> Iterator[AssetValued]:
    """Report that a published value is unknown from now on, if the last report says otherwise."""
    if row.sent_us and row.sent_quality is not Quality.UNKNOWN:
        row.reading = msgspec.structs.replace(row.reading, live=0)
        yield from asset_valued(name, row, Quality.UNKNOWN, us, config)


def score_updated(scored: ModelScore, us: int) -> ScoreUpdated:
    """Return the output of one score."""
    key = f"{scored.scope}|{scored.target}|{scored.generation}"
    features, contributions = scored.grounds()
    return ScoreUpdated(
        **Origin.tick(us).stamp(ScoreUpdated, key),
        scope=scored.scope,
        target=scored.target,
        generation=scored.generation,
        authority=scored.authority,
        probability=scored.probability,
        severity=scored.severity,
        features=features,
        contributions=contributions,
    )


LIMIT_MOVE: Final = 0.001
"""Change of a usage, as a share of the hard limit, from which it is published at once."""


def limit_measured(
    state: RiskState, measured: LimitUsage, us: int, config: RiskConfig, *, held: bool
) -> Iterator[LimitMeasured]:
    """Report the usage of a limit if its status changed, if it moved, or if it is due.

    `held` says that holdings changed since the last tick: then every change is published. So what
    is published is exact at each change of status or holdings, and within :data:`LIMIT_MOVE`
    between them. The row of the limit holds what is published.
    """
    key, status, hard = measured.key, measured.status, measured.limit.hard_usd
    before = state.limits.get(key)
    if before is not None:
        moved = abs(measured.used - before.used)
        due = us - before.us >= config.revalue_s * SECOND
        known = (before.status, before.hard) == (status, hard) and not (held and moved)
        if known and not due and moved < LIMIT_MOVE * hard:
            return
    state.limits[key] = LimitRow(measured.used, us, status, hard)
    state.mark(f"limit/{key}")
    limit = measured.limit
    yield LimitMeasured(
        **Origin.tick(us).stamp(LimitMeasured, key),
        limit=limit.id,
        scope=measured.scope,
        used_usd=usd(measured.used),
        hard_usd=usd(limit.hard_usd),
        warning_usd=usd(limit.hard_usd * limit.warning_share),
        utilisation=measured.utilisation,
        status=status,
        why=measured.why,
    )


def jump_to_default(a: CreditAssessment, equity: float) -> float:
    """Return the loss if a party failed now, as a share of the firm's equity."""
    return quantise(a.lgd * a.ead / equity)


def counterparty_assessed(
    scope: str, a: CreditAssessment, us: int, jump: float
) -> CounterpartyAssessed:
    """Return the output of one assessment; `jump` is its :func:`jump_to_default`."""
    return CounterpartyAssessed(
        **Origin.tick(us).stamp(CounterpartyAssessed, scope),
        scope=scope,
        gross_usd=usd(a.gross),
        net_usd=usd(a.net),
        ead_usd=usd(a.ead),
        pd=a.pd,
        lgd=a.lgd,
        el_usd=usd(a.el),
        exit_cost_usd=usd(a.exit_cost),
        stuck_usd=usd(a.stuck),
        jump_to_default_share=jump,
        horizon_s=a.horizon_s,
    )


def missing_data_issues(
    state: RiskState, us: int, reference: Reference, exposures: Exposures
) -> Iterator[ReportOutput]:
    """Report holdings without a price, sums at their maximum, and names without reference data."""
    found: dict[str, str] = {}
    totals = {f"counterparty:{name}": sums for name, sums in exposures.party.items()}
    for scope, sums in (totals | {"firm": exposures.firm}).items():
        if sums.is_saturated:
            found[f"{QualityIssue.OUT_OF_RANGE}|{scope}"] = (
                f"what is held is worth {MAX_USD:.0e} USD or more and counts as that much: the "
                "amount or the price must be wrong"
            )
    found |= _doubtful_holdings(state)
    held = {
        h.asset: None
        for name in sorted(state.parties)
        for h in state.parties[name].holdings
        if h.amount
    }
    sent: dict[str, None] = {}
    for asset in sorted(held):
        if price_of(asset, state) is not None:
            continue
        if is_unrecognised(asset, state, reference):
            sent[asset] = None
            found[f"{QualityIssue.UNRECOGNISED}|asset:{asset}"] = (
                f"{asset} arrived, is not listed and was never traded by us: it counts as nothing "
                f"and restricts only itself. If it is ours, add it to [assets] of reference.toml"
            )
        else:
            found[f"{QualityIssue.PRICE_MISSING}|asset:{asset}"] = (
                f"{asset} is held, and no feed, mark, trade or assumption says what it is worth: "
                "limits that hold it are unknown. State assumed_usd in reference.toml"
            )
    for asset in sorted({**held, **dict.fromkeys(state.assets)}):
        if asset not in reference.assets and asset not in sent:
            found[f"{QualityIssue.REFERENCE_MISSING}|asset:{asset}"] = (
                f"taken for a floating asset without an issuer: add {asset} to [assets] of "
                "reference.toml"
            )
    for party in sorted({**dict.fromkeys(state.parties), **dict.fromkeys(state.venues)}):
        if party not in reference.parties:
            default = reference.party(party)
            prices = (
                "; until then its prices count for nobody else" if party in state.venues else ""
            )
            found[f"{QualityIssue.REFERENCE_MISSING}|counterparty:{party}"] = (
                f"taken for an unrated {default.kind}, custody {default.custody}, LGD "
                f"{default.lgd:g}: add {party} to [parties] of reference.toml{prices}"
            )
    yield from _issues(state, found, us)


NAMED_WRITERS: Final = 64
"""Number of sources that alerts about refused news name; others are told of together."""
REFUSED_CLEAR: Final = 15 * MINUTE
"""An alert about refused news ends when no more was refused for this long, microseconds."""
_REFUSED: Final = f"{QualityIssue.TABLE_FULL}|news:"


def news_refused(
    state: RiskState, event: Credit | LegalEntity | NettingSet, why: str
) -> Iterator[ReportOutput]:
    """Report that there is no room for news of a source, once until that ends."""
    key, us = f"{_REFUSED}{event.source}", micros(event.ts)
    if key not in state.issues:
        named = sum(1 for each in state.issues if each.startswith(_REFUSED))
        key = key if named < NAMED_WRITERS else f"{_REFUSED}*"
    known = key in state.issues
    state.issues[key] = max(us, state.issues.get(key, us))
    state.mark(f"issue/{key}")
    if not known:
        yield DataQualityRaised(
            **Origin(identity(event), event.ts).stamp(DataQualityRaised, key),
            issue=QualityIssue.TABLE_FULL,
            subject=key.partition("|")[2],
            detail=f"its news has no room and is a dead letter: {why}",
            cause=Cause.NONE,
        )


_DOUBTS: Final = {
    UNOPENED: (
        QualityIssue.OPENING_UNKNOWN,
        "fills took more than nothing: state a balance; until then it is no exposure",
    ),
    UNCLEAR: (
        QualityIssue.STATEMENT_UNCLEAR,
        "several books state it, and none says which part (`covers`): the sum counts",
    ),
    PENDING: (
        QualityIssue.SNAPSHOT_PENDING,
        "a snapshot took it away without facts: it counts until a later one agrees",
    ),
}


def _doubtful_holdings(state: RiskState) -> dict[str, str]:
    """Return the issues about holdings whose amount is in doubt, one per account and asset."""
    return {
        f"{_DOUBTS[h.basis][0]}|{name}/{h.account}/{h.asset}": _DOUBTS[h.basis][1]
        for name in sorted(state.parties)
        for h in state.parties[name].holdings
        if h.basis in _DOUBTS and h.amount
    }


def _issues(state: RiskState, found: dict[str, str], us: int) -> Iterator[ReportOutput]:
    for key in sorted(found):
        if key in state.issues:
            continue
        state.issues[key] = us
        state.mark(f"issue/{key}")
        kind, _, subject = key.partition("|")
        yield DataQualityRaised(
            **Origin.tick(us).stamp(DataQualityRaised, key),
            issue=QualityIssue(kind),
            subject=subject,
            detail=found[key],
            cause=Cause.NONE,
        )
    for key in sorted(state.issues):
        refused = key.startswith(_REFUSED) and us - state.issues[key] < REFUSED_CLEAR
        if key in found or refused:
            continue
        del state.issues[key]
        state.mark(f"issue/{key}")
        kind, _, subject = key.partition("|")
        yield DataQualityResolved(
            **Origin.tick(us).stamp(DataQualityResolved, key),
            issue=QualityIssue(kind),
            subject=subject,
        )


def _price(price: float) -> Decimal:
    return canonical(Decimal(f"{price:.10f}"))


def _cents(value: Decimal) -> Decimal:
    """Round a value to the cent, half to even, within the maximum of an output.

    The exact context would refuse to round.
    """
    if abs(value) >= _MAX_USD:
        return _MAX_USD.copy_sign(value)
    return value.quantize(Decimal("0.01"), context=_ROUNDING)


UNRECOGNISED: Final = "unrecognised"
"""What gives a holding of nobody's asset its value, which is nothing."""
_NOTHING_USD: Final = Decimal("0.00")
_MAX_USD = Decimal(f"{MAX_USD:.2f}")
_ROUNDING = decimal.Context(
    prec=EXACT.prec,
    rounding=decimal.ROUND_HALF_EVEN,
    traps=[decimal.InvalidOperation, decimal.FloatOperation],
)
