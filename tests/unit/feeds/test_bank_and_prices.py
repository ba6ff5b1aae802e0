"""Bank statements, and files of prices that are no bars: invented, worked out by hand."""

from __future__ import annotations

from decimal import Context, Decimal, localcontext
from typing import TYPE_CHECKING

import pytest

from riskwatch.core.events import Adjustment, Balance, Quote, Transfer
from riskwatch.errors import FeedError, OptionNeededError
from riskwatch.feeds.file_import import wrong_balances
from riskwatch.feeds.record import Reason
from riskwatch.feeds.shapes.pool_states import pool_price
from tests.support.files import import_text

if TYPE_CHECKING:
    from pathlib import Path

D = Decimal
CAMT = """<?xml version="1.0" encoding="UTF-8"?>
<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt><Stmt><Id>S1</Id>
<Acct><Id><IBAN>DE02120300000000202051</IBAN></Id><Ccy>EUR</Ccy></Acct>
<Bal><Tp><CdOrPrtry><Cd>OPBD</Cd></CdOrPrtry></Tp><Amt Ccy="EUR">1000.00</Amt>
<CdtDbtInd>CRDT</CdtDbtInd><Dt><Dt>2023-01-02</Dt></Dt></Bal>
<Bal><Tp><CdOrPrtry><Cd>CLBD</Cd></CdOrPrtry></Tp><Amt Ccy="EUR">1148.25</Amt>
<CdtDbtInd>CRDT</CdtDbtInd><Dt><Dt>2023-01-03</Dt></Dt></Bal>
<Ntry><Amt Ccy="EUR">50.25</Amt><CdtDbtInd>DBIT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts>
<BookgDt><Dt>2023-01-02</Dt></BookgDt><AcctSvcrRef>R1</AcctSvcrRef></Ntry>
<Ntry><Amt Ccy="EUR">200.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts>
<BookgDt><Dt>2023-01-03</Dt></BookgDt><AcctSvcrRef>R2</AcctSvcrRef></Ntry>
<Ntry><Amt Ccy="EUR">1.50</Amt><CdtDbtInd>DBIT</CdtDbtInd><Sts>BOOK</Sts>
<BookgDt><Dt>2023-01-03</Dt></BookgDt><BkTxCd><Domn><Cd>ACMT</Cd><Fmly><Cd>MDOP</Cd>
<SubFmlyCd>CHRG</SubFmlyCd></Fmly></Domn></BkTxCd></Ntry>
<Ntry><Amt Ccy="EUR">9999.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts><Cd>PDNG</Cd></Sts>
<BookgDt><Dt>2023-01-03</Dt></BookgDt><AcctSvcrRef>R3</AcctSvcrRef></Ntry>
</Stmt></BkToCstmrStmt></Document>
"""


def test_a_statement_in_camt053(tmp_path: Path) -> None:
    """1,000 less 50.25 and 1.50, plus 200: the closing balance; what is not booked is skipped."""
    made = import_text(tmp_path / "x", CAMT, venue="dkb")
    assert made.shape == "camt053"
    assert made.held == made.stated == {"DE02120300000000202051/EUR": "1148.25"}
    assert {t.transfer_id: t.direction for t in made.of(Transfer)} == {
        "R1": "withdrawal", "R2": "deposit",
    }  # fmt: skip
    assert [(a.kind, str(a.amount)) for a in made.of(Adjustment)] == [("fee", "-1.5")]
    assert [r.reason for r in made.rejects] == [Reason.NOT_FINAL]
    assert (made.report.totals, made.report.wrong_totals) == (1, 0)


def test_a_statement_that_does_not_add_up_is_told(tmp_path: Path) -> None:
    """The closing balance of the bank is not that of its entries."""
    made = import_text(tmp_path / "x", CAMT.replace("1148.25", "1149.25"), venue="dkb")
    assert made.report.wrong_totals == 1
    (lines,) = made.report.stated.values()
    assert wrong_balances(lines)[1] == 1
    assert str(made.of(Balance)[-1].free) == "1149.25"


def test_a_statement_that_defines_entities_is_refused(tmp_path: Path) -> None:
    """A document type could make a small file a big one."""
    evil = CAMT.replace("<Document", '<!DOCTYPE x [<!ENTITY a "b">]><Document', 1)
    with pytest.raises(FeedError, match="must not define entities"):
        import_text(tmp_path / "x", evil, venue="dkb")


MT940 = """:20:STMT
:25:20041010/123456
:28C:1/1
:60F:C230101EUR1000,00
:61:2301020102D50,25NTRFNONREF//B1
:86:Payment
:61:2301030103C200,00NTRFOWN2//B2
:86:Income
:61:2301030103RC20,00NTRFOWN3//B3
:86:Income taken back
:61:2301030103D1,50NCHGNONREF
:86:Charges
:62F:C230103EUR1128,25
-
"""


def test_a_statement_in_mt940(tmp_path: Path) -> None:
    """1,000 less 50.25, 20 and 1.50, plus 200; a reversed credit goes out."""
    made = import_text(tmp_path / "x.sta", MT940, venue="dkb")
    assert made.shape == "mt940"
    assert made.held == made.stated == {"20041010-123456/EUR": "1128.25"}
    assert {t.transfer_id: str(t.amount) for t in made.of(Transfer)} == {
        "B1": "50.25", "B2": "200", "B3": "20",
    }  # fmt: skip
    assert (made.report.totals, made.report.wrong_totals) == (1, 0)


def test_statements_of_two_accounts_in_one_file(tmp_path: Path) -> None:
    """Each account keeps its own entries and balances."""
    other = MT940.replace("123456", "777").replace("EUR", "USD").replace("B", "X")
    made = import_text(tmp_path / "x.sta", MT940 + other, venue="dkb")
    assert made.held == {"20041010-123456/EUR": "1128.25", "20041010-777/USD": "1128.25"}


def test_a_banks_table_with_a_mapping(tmp_path: Path) -> None:
    """Columns, dates and numbers are what the caller says; the balance is checked."""
    text = (
        "Buchungstag;Text;Soll;Haben;Saldo;Ref\n"
        "02.01.2023;Miete;1.050,25;;8.949,75;r1\n"
        "03.01.2023;Eingang;;2.000,00;10.949,75;r2\n"
    )
    mapping = {
        "date": "Buchungstag", "debit": "Soll", "credit": "Haben", "balance": "Saldo", "id": "Ref",
        "currency": "EUR", "date_format": "%d.%m.%Y", "decimal": ",",
    }  # fmt: skip
    made = import_text(
        tmp_path / "x.csv", text, "bank-csv", venue="dkb", account="giro", mapping=mapping
    )
    assert made.held == made.stated == {"giro/EUR": "10949.75"}
    assert str(made.of(Balance)[0].free) == "10000"
    with pytest.raises(OptionNeededError, match="--map"):
        import_text(tmp_path / "y.csv", text, "bank-csv", venue="dkb", account="giro")


def quotes(made: object) -> list[tuple[str, str, str, str | None, str]]:
    """Return venue, pair, price, volume and time of the quotes of an import."""
    return [
        (
            q.venue,
            f"{q.base}/{q.quote}",
            str(q.last),
            q.volume and str(q.volume),
            f"{q.ts:%H:%M:%S}",
        )
        for q in made.of(Quote)  # type: ignore[attr-defined]
    ]


def test_trades_of_tardis(tmp_path: Path) -> None:
    """Each exchange and symbol has its own quotes; contracts have no volume in coins."""
    text = (
        "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n"
        "binance,BTCUSDT,1672653600100000,1672653600200000,1,buy,17000.10,0.5\n"
        "binance,BTCUSDT,1672653600900000,1672653600990000,2,sell,17001,0.25\n"
        "deribit,BTC-PERPETUAL,1672653600900000,1672653600990000,9,sell,16999.5,1200\n"
        "binance,BTCUSDT,1672653603000000,1672653603100000,3,buy,17002,1\n"
    )
    made = import_text(tmp_path / "x.csv", text)
    assert made.shape == "tardis-trades"
    assert quotes(made) == [
        ("binance", "BTC/USDT", "17001", "0.75", "10:00:01"),
        ("deribit", "BTC/USD", "16999.5", None, "10:00:01"),
        ("binance", "BTC/USDT", "17002", "1", "10:00:04"),
    ]


@pytest.mark.parametrize("header", [True, False])
def test_aggregate_trades(tmp_path: Path, header: bool) -> None:
    """With and without a header; venue and pair are needed, because no column has them."""
    head = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n"
    rows = (
        "1001,100.5,0.5,7,7,1672653600100,true\n"
        "1002,100.7,1.5,8,9,1672653600900,false\n"
        "1003,100.6,2,10,10,1672653601000,true\n"
    )
    text = head + rows if header else rows
    with pytest.raises(OptionNeededError, match="--venue"):
        import_text(tmp_path / "x.csv", text)
    pair = {"venue": "binance", "base": "ETH", "quote": "USDT"}
    made = import_text(tmp_path / "x.csv", text, **pair)
    assert made.shape == "aggregate-trades"
    assert quotes(made) == [
        ("binance", "ETH/USDT", "100.7", "2", "10:00:01"),
        ("binance", "ETH/USDT", "100.6", "2", "10:00:02"),
    ]


def test_prices_of_defillama(tmp_path: Path) -> None:
    """Current prices and a chart; a second token of one symbol has its chain in its name."""
    current = """{"coins":{
    "ethereum:0xa0b8":{"decimals":6,"symbol":"USDC","price":0.99987654321,"timestamp":1672653600,
     "confidence":0.99},
    "polygon:0x2791":{"decimals":6,"symbol":"USDC","price":0.95,"timestamp":1672653600,
     "confidence":0.5}}}"""
    chart = """{"coins":{"coingecko:tether":{"symbol":"USDT","confidence":0.99,
    "prices":[{"timestamp":1672653600,"price":1.0001},{"timestamp":1672657200,"price":0.9999}]}}}"""
    made = import_text(tmp_path / "x", current)
    assert made.shape == "defillama-prices"
    assert [row[1:3] for row in quotes(made)] == [
        ("USDC/USD", "0.99987654321"), ("USDC@polygon/USD", "0.95"),
    ]  # fmt: skip
    assert sum(made.report.unknown.values()) == 1
    assert [row[2] for row in quotes(import_text(tmp_path / "y", chart))] == ["1.0001", "0.9999"]


def test_states_of_a_pool(tmp_path: Path) -> None:
    """The balances of the two coins are the sizes; the coin that is too many is the cheaper one."""
    text = (
        ",time,UST,USDC,UST%,USDC%,Ideal Balance,total\n"
        "0,2022-05-08T13:00:00+00:00,750,250.5,0.75,0.25,0.5,1000.5\n"
    )
    pair = {"venue": "curve", "base": "UST", "quote": "USDC", "amplification": "100"}
    made = import_text(tmp_path / "x.csv", text, **pair)
    assert made.shape == "pool-states"
    (quote,) = made.of(Quote)
    assert (str(quote.ask_size), str(quote.bid_size)) == ("750", "250.5")
    assert D("0.98") < quote.last < 1
    product = import_text(tmp_path / "y.csv", text, **pair | {"amplification": "0"})
    assert product.of(Quote)[0].last == D("0.334")  # 250.5 / 750
    other = import_text(tmp_path / "z.csv", text, **pair | {"base": "FRAX"})
    assert [r.reason for r in other.rejects] == [Reason.UNKNOWN_PAIR]
    with pytest.raises(OptionNeededError, match="--amplification"):
        import_text(tmp_path / "x.csv", text, **pair | {"amplification": ""})


def test_the_price_of_a_pool_is_that_of_a_small_trade() -> None:
    """A trade of a millionth at the price leaves the invariant where it was."""
    sizes, factor, small = [D(900), D(300), D(500)], D(85), D("0.000001")
    price = pool_price(sizes, sizes[0], sizes[1], factor)
    after = [sizes[0] + small, sizes[1] - small * price, sizes[2]]

    def invariant(balances: list[Decimal]) -> Decimal:
        """Return the invariant by bisection."""
        low, high = D(1), sum(balances, start=D(0)) * 2
        for _ in range(200):
            mid = (low + high) / 2
            power = mid
            for each in balances:
                power = power * mid / (3 * each)
            excess = factor * 3 * sum(balances, start=D(0)) + mid - factor * 3 * mid - power
            low, high = (mid, high) if excess > 0 else (low, mid)
        return low

    with localcontext(Context(prec=50)):
        change = invariant(after) - invariant(sizes)
        value = invariant([sizes[0] + small, *sizes[1:]]) - invariant(sizes)
    assert abs(change) < abs(value) / 1_000_000


def test_closes_without_highs_and_lows(tmp_path: Path) -> None:
    """A close is that of the bar that opens at its time; a price is one of its time."""
    closes = "date,close\n2023-01-02,0.999\n2023-01-03,0.998\n2023-01-04,1.001\n"
    prices = "timestamp,price,volume\n1672653600,0.999,12.5\n1672653601,-1,1\n"
    pair = {"venue": "kraken", "base": "USDC", "quote": "USD"}
    made = import_text(tmp_path / "x.csv", closes, **pair)
    assert made.shape == "closes"
    assert [q.ts.day for q in made.of(Quote)] == [3, 4, 5]
    spot = import_text(tmp_path / "y.csv", prices, **pair)
    assert quotes(spot) == [("kraken", "USDC/USD", "0.999", "12.5", "10:00:00")]
    assert [r.reason for r in spot.rejects] == [Reason.NOT_POSITIVE]
