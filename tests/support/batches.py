"""Batches of one worker, written by hand, that touch every table of the store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from riskwatch.core.clock import micros
from riskwatch.core.enums import Cause, Quality, QualityIssue, RejectReason, State
from riskwatch.core.ids import output_id
from riskwatch.core.outputs import (
    AlertRaised,
    AlertResolved,
    AssetValued,
    AuthorityChanged,
    CounterpartyAssessed,
    DataQualityRaised,
    DataQualityResolved,
    DecisionAdvised,
    DecisionMade,
    EventRejected,
    ExposureChanged,
    KillSwitchChanged,
    LimitMeasured,
    ModelMeasured,
    PositionChanged,
    ScoreUpdated,
)
from riskwatch.core.reference import Asset, Backing, Party, Reference
from riskwatch.store.batch import (
    Batch,
    Counts,
    DeadLetter,
    JournalEntry,
    SequencedOutput,
    StreamOffset,
)

if TYPE_CHECKING:
    from riskwatch.core.outputs import Output

START = datetime(2023, 3, 11, 3, 0, tzinfo=UTC)
FINE = Decimal("123456789012345678901234.123456789012345678")
"""As many digits as the wire allows: 24 before the point, 18 after it."""

REFERENCE = Reference(
    assets={
        "USD": Asset(id="USD", fiat=True),
        "USDC": Asset(id="USDC", peg="USD", issuer="circle", collateral="fiat"),
        "BTC": Asset(id="BTC"),
    },
    parties={
        "kraken": Party(id="kraken", kind="exchange"),
        "circle": Party(
            id="circle",
            kind="issuer",
            backing=(Backing("svb", 0.08), Backing("bny", 0.5), Backing("svb", 0.02)),
        ),
        "svb": Party(id="svb", kind="bank", lgd=0.4),
    },
    pd_by_rating={"unrated": 0.05},
)


def at(minute: float) -> datetime:
    """Event time, in minutes from the start."""
    return START + timedelta(minutes=minute)


def exposure(
    minute: float,
    amount: str,
    value: str | None,
    *,
    counterparty: str = "kraken",
    asset: str = "USDC",
    component: str = "custody",
    book: str = "mm",
) -> ExposureChanged:
    """Exposure of one book at one counterparty."""
    cause = f"desk/{minute}"
    return ExposureChanged(
        id=output_id(cause, "ExposureChanged", f"{book}/{counterparty}/{asset}/{component}"),
        cause_id=cause,
        ts=at(minute),
        book=book,
        counterparty=counterparty,
        account="main",
        asset=asset,
        component=component,
        amount=Decimal(amount),
        price_usd=None if value is None else Decimal("0.97"),
        value_usd=None if value is None else Decimal(value),
    )


def advised(minute: float, state: State, in_force: State, opened: float) -> DecisionAdvised:
    """Say what an advisory rule would have decided; `opened` is the minute of the first time."""
    fields = {
        name: value
        for name, value in msgspec.structs.asdict(decision(minute)).items()
        if name in DecisionAdvised.__struct_fields__
    }
    first = output_id(f"tick/{opened}", "DecisionAdvised", "asset:USDC")
    fields |= {"id": output_id(f"tick/{minute}", "DecisionAdvised", "asset:USDC")}
    fields |= {"previous": State.WATCH, "state": state, "in_force": in_force}
    return DecisionAdvised(**fields, opened_id=first)


def alert(minute: float, key: str = "asset:USDC", severity: State = State.REDUCE) -> AlertRaised:
    """Raise an alert."""
    cause = f"tick/{minute}"
    return AlertRaised(
        id=output_id(cause, "AlertRaised", key),
        cause_id=cause,
        ts=at(minute),
        alert=key,
        scope=key,
        severity=severity,
        cause=Cause.ISSUER,
        title="USDC is 3 % under its peg",
        reasons=["180 bp under the peg, limit 100 bp"],
        exposure_usd=Decimal("970.00"),
        decision_id=decision(minute).id,
    )


def resolved(minute: float, key: str = "asset:USDC") -> AlertResolved:
    """End an alert."""
    cause = f"tick/{minute}"
    return AlertResolved(
        id=output_id(cause, "AlertResolved", key),
        cause_id=cause,
        ts=at(minute),
        alert=key,
        scope=key,
        opened_id="unused",
    )


def quality(minute: float, detail: str = "no trade for 300 s") -> DataQualityRaised:
    """Raise a data-quality issue."""
    cause = f"tick/{minute}"
    return DataQualityRaised(
        id=output_id(cause, "DataQualityRaised", "feed"),
        cause_id=cause,
        ts=at(minute),
        issue=QualityIssue.FEED_STALE,
        subject="kraken:USDC/USD",
        detail=detail,
    )


def quality_resolved(minute: float) -> DataQualityResolved:
    """End the data-quality issue."""
    cause = f"tick/{minute}"
    return DataQualityResolved(
        id=output_id(cause, "DataQualityResolved", "feed"),
        cause_id=cause,
        ts=at(minute),
        issue=QualityIssue.FEED_STALE,
        subject="kraken:USDC/USD",
    )


def decision(minute: float, scope: str = "asset:USDC") -> DecisionMade:
    """Decide to reduce."""
    cause = f"tick/{minute}"
    return DecisionMade(
        id=output_id(cause, "DecisionMade", scope),
        cause_id=cause,
        ts=at(minute),
        scope=scope,
        previous=State.WATCH,
        state=State.REDUCE,
        quality=Quality.GOOD,
        cause=Cause.ISSUER,
        generation="rules",
        rule="asset.discount",
        reasons=["USDC is 180 bp under its peg for 10 min, limit 100 bp", "café \x00 note"],
        features={"discount_bp": 180.0, "live_share": 1.0, "tiny": 1e-07, "huge": 1e22},
        contributions={"discount_bp": 1.8, "live_share": -0.2},
        limits={"discount_bp": 100.0},
        support=["kraken:USDC/USD", "bitstamp:USDC/USD"],
        refute=["binance:USDC/USDT"],
        flip={"feature": "discount_bp", "value": 180.0, "needed": 99.9, "unit": "bp"},
        exposure_usd=Decimal("970.00"),
        el_usd=Decimal("12.50"),
        exit_cost_usd=Decimal("1.94"),
    )


def killswitch(minute: float, state: State = State.REDUCE) -> KillSwitchChanged:
    """Set the switch of one asset."""
    cause = f"tick/{minute}"
    return KillSwitchChanged(
        id=output_id(cause, "KillSwitchChanged", "asset:USDC"),
        cause_id=cause,
        ts=at(minute),
        scope="asset:USDC",
        state=state,
        effective=state,
        quality=Quality.GOOD,
        reasons=["180 bp under the peg"],
        cause=Cause.ISSUER,
        decision_id=decision(minute).id,
        generation="rules",
        valid_until=at(minute + 4),
    )


def others(minute: float) -> list[Output]:
    """One output of every type that the functions above do not make."""
    cause = f"tick/{minute}"
    ts = at(minute)
    return [
        EventRejected(
            id=f"r{minute}",
            reason=RejectReason.FACT_CONFLICT,
            detail="amount changed",
            cause_id=cause,
            ts=ts,
        ),
        PositionChanged(
            id=f"p{minute}",
            book="mm",
            counterparty="kraken",
            account="main",
            instrument="BTC-PERP",
            base="BTC",
            quote="USD",
            qty=Decimal("-0.5"),
            entry_price=Decimal("20000.5"),
            mark_price=None,
            liquidation_price=None,
            notional_usd=Decimal("-10000.25"),
            cause_id=cause,
            ts=ts,
        ),
        AssetValued(
            id=f"v{minute}",
            asset="USDC",
            price_usd=0.982,
            deviation_bp=-180.0,
            value_bp=-101.5,
            direct_bp=None,
            sd_bp=2.5,
            live=10,
            expected=11,
            cause=Cause.ISSUER,
            quality=Quality.GOOD,
            cause_id=cause,
            ts=ts,
        ),
        ScoreUpdated(
            id=f"s{minute}",
            scope="asset:USDC",
            target="depeg_50bp_1h",
            generation="anchored",
            authority="advisory",
            probability=0.93,
            severity=1.8,
            features={"discount_bp": 180.0},
            contributions={"discount_bp": 2.5, "bias": 0.08},
            cause_id=cause,
            ts=ts,
        ),
        AuthorityChanged(
            id=f"a{minute}",
            target="depeg_50bp_1h",
            generation="anchored",
            former="shadow",
            authority="advisory",
            ceiling="bounded",
            reason="evidence",
            detail="better than what it challenged",
            by="evidence",
            evidence={"e_up": 92.5},
            cause_id=cause,
            ts=ts,
        ),
        ModelMeasured(
            id=f"m{minute}",
            target="depeg_50bp_1h",
            generation="anchored",
            authority="advisory",
            ceiling="bounded",
            reason="evidence",
            changed=ts,
            quarantined=False,
            e_up=92.5,
            e_down=0.25,
            needed=240.0,
            labels=520,
            positives=21,
            events=4,
            entities=2,
            log_loss=0.11,
            brier=0.031,
            reliability=0.002,
            resolution=0.012,
            uncertainty=0.0387,
            bins=[[500.0, 12.5, 6.0]],
            cause_id=cause,
            ts=ts,
        ),
        CounterpartyAssessed(
            id=f"c{minute}",
            scope="counterparty:kraken",
            gross_usd=Decimal("1000.10"),
            net_usd=Decimal("900.00"),
            ead_usd=Decimal("1100.00"),
            pd=0.01,
            lgd=0.7,
            el_usd=Decimal("7.70"),
            exit_cost_usd=Decimal("0.50"),
            stuck_usd=Decimal("30.00"),
            jump_to_default_share=0.002,
            horizon_s=86400.0,
            cause_id=cause,
            ts=ts,
        ),
        LimitMeasured(
            id=f"l{minute}",
            limit="venue",
            scope="counterparty:kraken",
            used_usd=Decimal("1000.10"),
            hard_usd=Decimal("5000.00"),
            warning_usd=Decimal("4000.00"),
            utilisation=0.20002,
            status="ok",
            cause_id=cause,
            ts=ts,
        ),
    ]


def steps() -> list[list[Output]]:
    """Return the outputs of five moments, in order."""
    return [
        [
            exposure(0, "1000.500", "970.49"),
            exposure(0, str(FINE), None, asset="XYZ", counterparty="binance"),
            exposure(0, "200", "194.00", component="borrowed"),
            *others(0),
        ],
        [exposure(1, "900", "873.00"), quality(1), quality(1.5, "no trade for 330 s \x00")],
        [
            decision(2),
            advised(2, State.HALT, State.REDUCE, 2),
            killswitch(2),
            alert(2),
            exposure(2, "5", "100000.004", asset="BTC"),
        ],
        [resolved(3), alert(3.5, severity=State.HALT), quality_resolved(3)],
        [
            alert(4, severity=State.HALT),
            killswitch(4, State.HALT),
            advised(4, State.HALT, State.HALT, 2),
            quality(4),
            exposure(4, "0", "0", asset="BTC"),
            exposure(4, "7", "140000.00", asset="BTC", book="arb", component="open_order"),
        ],
    ]


def batches(epoch: int, sizes: tuple[int, ...] = (1, 1, 1, 1, 1), worker: str = "w") -> list[Batch]:
    """Return the same history cut into batches of so many moments."""
    made: list[Batch] = []
    moments = steps()
    assert sum(sizes) == len(moments)
    seq, done = 1, 0
    for size in sizes:
        batch = Batch(worker, epoch, relay=True)
        for outputs in moments[done : done + size]:
            done += 1
            us = micros(at(done))
            batch.outputs += [SequencedOutput(seq + n, o) for n, o in enumerate(outputs)]
            seq += len(outputs)
            batch.journal.append(JournalEntry(done, us, "fill", b'{"n":%d,"x":"\x00\xff"}' % done))
            batch.rows.setdefault("ledger", {}).update(
                {
                    "kraken": b"%d" % done,
                    "Zed|a": b"z",
                    "zed_a": b"z",
                    "é": b"e",
                    f"gone{done}": b"1",
                    f"gone{done - 1}": None,
                }
            )
            batch.dead_letters.append(
                DeadLetter(
                    "fills/0",
                    done,
                    RejectReason.UTF8_INVALID,
                    "byte 3 \x00 \ud800",
                    b"\xff\x00" * 70_000,
                    b"k\xff",
                    (("h", b"\x00\xfe"),),
                )
            )
            batch.us = us
        batch.offsets = [StreamOffset("fills/0", "cluster/topic/1", done * 10, done)]
        batch.counts = Counts(read=done * 2, applied=done, duplicate=0, rejected=done)
        made.append(batch)
    return made
