"""Exports of venues: small invented files, with totals worked out by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskwatch.core.events import Adjustment, Balance, Fill, Transfer
from riskwatch.feeds.file_import import wrong_balances
from riskwatch.feeds.record import Reason
from tests.support.files import import_text

if TYPE_CHECKING:
    from pathlib import Path

KRAKEN_LEDGER = """\
txid,refid,time,type,subtype,aclass,asset,wallet,amount,fee,balance
,QD1,2023-01-01 09:00:00,deposit,,currency,ZUSD,spot / main,1000.00,0,
L1,QD1,2023-01-01 09:05:00,deposit,,currency,ZUSD,spot / main,1000.00,0,1250.00
L2,T1,2023-01-02 10:00:00,trade,tradespot,currency,ZUSD,spot / main,-400.00,1.00,849.00
L3,T1,2023-01-02 10:00:00,trade,tradespot,currency,XXBT,spot / main,0.02,0,0.02
L4,W1,2023-01-03 10:00:00,withdrawal,,currency,XXBT,spot / main,-0.01,0.0005,0.0095
L5,E1,2023-01-04 10:00:00,earn,allocation,currency,XXBT,spot / main,-0.009,0,0.0005
L6,E1,2023-01-04 10:00:00,earn,allocation,currency,XXBT,earn / flexible,0.009,0,0.009
L7,R1,2023-01-05 10:00:00,earn,reward,currency,XXBT,earn / flexible,0.00001,0.000001,0.009009
"""


def test_entries_of_a_kraken_ledger_give_its_running_balance(tmp_path: Path) -> None:
    """Deposit, trade, fee, withdrawal and a move to a wallet sum to the file's own balances."""
    made = import_text(tmp_path / "x.csv", KRAKEN_LEDGER, account="main")
    assert made.shape == "kraken-ledger"
    assert made.held == made.stated
    assert made.held == {
        "main/spot-main/ZUSD": "849",
        "main/spot-main/XXBT": "0.0005",
        "main/earn-flexible/XXBT": "0.009009",
    }
    assert [r.reason for r in made.rejects] == [Reason.NOT_FINAL]
    conversion = next(e for e in made.of(Adjustment) if e.kind == "conversion")
    assert (str(conversion.amount), str(conversion.to_amount)) == ("-400", "0.02")
    first, inside = made.of(Balance)[0], made.of(Transfer)[-1]
    assert (first.asset, str(first.free)) == ("ZUSD", "250")
    assert (inside.wallet, inside.to_wallet) == ("spot-main", "earn-flexible")


def test_the_answer_of_kraken_is_read_like_its_export(tmp_path: Path) -> None:
    """JSON with the entries by their ids; numbers keep their digits."""
    text = (
        '{"error":[],"result":{"ledger":{"L8":{"refid":"T2","time":1688464484.1787,"type":"trade",'
        '"subtype":"","aclass":"currency","asset":"ZGBP","amount":"-24.5000","fee":"0.0490",'
        '"balance":"100.4510"},"L9":{"refid":"T2","time":1688464484.1787,"type":"trade",'
        '"subtype":"","aclass":"currency","asset":"ZUSD","amount":"31.100000000000000001",'
        '"fee":"0","balance":"31.100000000000000001"}},"count":2}}'
    )
    made = import_text(tmp_path / "x", text, account="main")
    assert made.shape == "kraken-ledger"
    assert made.held == made.stated
    assert made.held["main/ZUSD"] == "31.100000000000000001"
    assert made.events[-1].ts.microsecond == 178_700


def test_a_ledger_whose_entries_do_not_sum_is_told(tmp_path: Path) -> None:
    """A balance that the entries do not give is counted, and stays the file's last word."""
    text = KRAKEN_LEDGER.replace("0.0095", "0.0195")
    made = import_text(tmp_path / "x.csv", text, account="main")
    place = ("main", "spot-main", "XXBT")
    assert wrong_balances(made.report.stated[place]) == (3, 1)


def test_the_order_of_a_file_does_not_matter(tmp_path: Path) -> None:
    """The newest entry first gives the same events as the oldest first."""
    head, *rows = KRAKEN_LEDGER.splitlines()
    old = import_text(tmp_path / "old.csv", KRAKEN_LEDGER, account="main")
    new = import_text(tmp_path / "new.csv", "\n".join([head, *reversed(rows)]), account="main")
    assert {e.event_id: e for e in new.events} == {e.event_id: e for e in old.events}


def test_a_ledger_without_its_trades(tmp_path: Path) -> None:
    """Trades that another file states are left out, each counted."""
    made = import_text(tmp_path / "x.csv", KRAKEN_LEDGER, account="main", trades=False)
    assert {e.kind for e in made.of(Adjustment)} == {"interest", "fee"}
    assert [r.reason for r in made.rejects].count(Reason.OTHER_FILE) == 2


def test_fills_of_kraken(tmp_path: Path) -> None:
    """Quantity, price and fee are those of the row, and the cost is checked."""
    text = (
        '"txid","ordertxid","pair","time","type","ordertype","price","cost","fee","vol","margin",'
        '"misc","ledgers"\n'
        '"T1","O1","XXBTZUSD","2023-01-02 10:00:00.1234","buy","limit",20000.00000,400.00000,'
        '1.00000,0.02000000,0.00000,"","L2,L3"\n'
        '"T2","O2","USDTZUSD","2023-01-02 11:00:00.0000","sell","market",0.99990,99.99000,'
        '0.20000,100.00000000,0.00000,"",""\n'
        '"T3","O3","XBT/EUR","2023-01-02 12:00:00.0000","buy","limit",19000.0,99.0,0,0.01,0,"",""\n'
    )
    made = import_text(tmp_path / "x.csv", text, account="main")
    assert made.shape == "kraken-trades"
    # 0.02 bought for 400 and a fee of 1; 100 USDT sold for 99.99 less 0.2; 0.01 for 190.
    assert made.held == {
        "main/XXBT": "0.02", "main/ZUSD": "-301.21", "main/USDT": "-100", "main/XBT": "0.01",
        "main/EUR": "-190",
    }  # fmt: skip
    assert (made.report.totals, made.report.wrong_totals) == (3, 1)
    assert [f.trade_id for f in made.of(Fill)] == ["T1", "T2", "T3"]


def test_fills_and_statement_of_coinbase_agree(tmp_path: Path) -> None:
    """The fills change the balances by what the statement of the same trades says."""
    fills = (
        "portfolio,trade id,product,side,created at,size,size unit,price,fee,total,"
        "price/fee/total unit\n"
        "desk,7,BTC-USD,BUY,2021-01-02T10:00:00.000Z,0.50000000,BTC,30000.00,75.00,-15075.00,USD\n"
        "desk,8,BTC-USD,SELL,2021-01-03T10:00:00.000Z,0.20000000,BTC,31000.00,31.00,6169.00,USD\n"
    )
    statement = (
        "portfolio,type,time,amount,balance,amount/balance unit,transfer id,trade id,order id\n"
        "desk,deposit,2021-01-01T10:00:00.000Z,20000.00,20000.00,USD,x-1,,\n"
        "desk,match,2021-01-02T10:00:00.000Z,0.5,0.5,BTC,,7,o\n"
        "desk,match,2021-01-02T10:00:00.000Z,-15000.00,5000.00,USD,,7,o\n"
        "desk,fee,2021-01-02T10:00:00.000Z,-75.00,4925.00,USD,,7,o\n"
        "desk,match,2021-01-03T10:00:00.000Z,-0.2,0.3,BTC,,8,o\n"
        "desk,match,2021-01-03T10:00:00.000Z,6200.00,11125.00,USD,,8,o\n"
        "desk,fee,2021-01-03T10:00:00.000Z,-31.00,11094.00,USD,,8,o\n"
    )
    traded = import_text(tmp_path / "f.csv", fills)
    stated = import_text(tmp_path / "s.csv", statement)
    assert (traded.shape, stated.shape) == ("coinbase-fills", "coinbase-statement")
    assert traded.held == {"desk/BTC": "0.3", "desk/USD": "-8906"}
    assert (traded.report.totals, traded.report.wrong_totals) == (2, 0)
    assert stated.held == stated.stated == {"desk/BTC": "0.3", "desk/USD": "11094"}


def test_fills_of_coinbases_interface(tmp_path: Path) -> None:
    """The answer of Advanced Trade names portfolio, order and liquidity."""
    text = (
        '{"fills":[{"entry_id":"e","trade_id":"t-1","order_id":"o-1",'
        '"trade_time":"2023-05-31T09:59:59Z","trade_type":"FILL","price":"10000.00",'
        '"size":"0.001","commission":"1.25","product_id":"BTC-USD","size_in_quote":false,'
        '"sequence_timestamp":"2023-05-31T09:58:59Z","liquidity_indicator":"MAKER",'
        '"user_id":"u","side":"BUY","retail_portfolio_id":"p-1"}],"cursor":"1"}'
    )
    made = import_text(tmp_path / "x.json", text)
    (fill,) = made.of(Fill)
    assert (fill.account, fill.order_id, fill.liquidity) == ("p-1", "o-1", "maker")
    assert made.held == {"p-1/BTC": "0.001", "p-1/USD": "-11.25"}


def test_a_statement_of_binance_by_wallet(tmp_path: Path) -> None:
    """Each row changes its wallet; both rows of a move are one transfer; unknown ones are told."""
    text = (
        "User_ID,UTC_Time,Account,Operation,Coin,Change,Remark\n"
        "77,2023-01-01 09:00:00,Spot,Deposit,USDT,1000.00000000,\n"
        "77,2023-01-02 10:00:00,Spot,Transaction Spend,USDT,-500.00000000,\n"
        "77,2023-01-02 10:00:00,Spot,Transaction Buy,BTC,0.02500000,\n"
        "77,2023-01-02 10:00:00,Spot,Transaction Fee,BTC,-0.00002500,\n"
        "77,2023-01-03 10:00:00,Spot,Transfer Between Spot Account and UM Futures Account,"
        "USDT,-200,\n"
        "77,2023-01-03 10:00:01,USD-M Futures,Transfer Between Spot Account and UM Futures Account,"
        "USDT,200,\n"
        "77,2023-01-03 18:00:00,USD-M Futures,Funding Fee,USDT,-0.12345678,\n"
        "77,2023-01-03 18:00:00,USD-M Futures,Funding Fee,USDT,-0.12345678,\n"
        '77,2023-01-04 10:00:00,Spot,Withdraw,BTC,-0.01,"Withdraw fee is included"\n'
        "77,2023-01-05 10:00:00,Spot,Moon Gift,BTC,0.001,\n"
    )
    made = import_text(tmp_path / "x.csv", text)
    assert made.shape == "binance-statement"
    assert made.held == {
        "77/Spot/USDT": "300",
        "77/Spot/BTC": "0.015975",
        "77/USD-M-Futures/USDT": "199.75308644",
    }
    assert dict(made.report.unknown) == {"operation Moon Gift": 1}
    assert len({e.event_id for e in made.events}) == len(made.events)
    inside = next(t for t in made.of(Transfer) if t.to_wallet)
    assert (inside.wallet, inside.to_wallet) == ("Spot", "USD-M-Futures")


def test_trades_of_binance_in_all_versions(tmp_path: Path) -> None:
    """Units in the cells, a column for the fee's coin, and the answer of the interface."""
    newer = (
        "Date(UTC),Pair,Side,Price,Executed,Amount,Fee\n"
        "2022-03-28 13:01:36,SOLBUSD,SELL,110.03,0.1800000000SOL,19.8054BUSD,0.0198054BUSD\n"
        "2022-03-28 13:02:36,1INCHBTC,BUY,0.00005,10.01INCH,0.0005BTC,0.00001BNB\n"
    )
    older = (
        "Date(UTC),Market,Type,Price,Amount,Total,Fee,Fee Coin\n"
        "2019-03-28 13:01:36,SOLBUSD,BUY,110.00,2.00,220.00,0.002,SOL\n"
    )
    answer = (
        '[{"symbol":"BNBBTC","id":28457,"orderId":100234,"price":"4.00000100","qty":"12.0",'
        '"quoteQty":"48.000012","commission":"10.1","commissionAsset":"BNB",'
        '"time":1499865549590,"isBuyer":true,"isMaker":false,"isBestMatch":true}]'
    )
    one = import_text(tmp_path / "n.csv", newer, account="a")
    assert one.held == {
        "a/SOL": "-0.18", "a/BUSD": "19.7855946", "a/1INCH": "10", "a/BTC": "-0.0005",
        "a/BNB": "-0.00001",
    }  # fmt: skip
    two = import_text(tmp_path / "o.csv", older, account="a")
    assert two.held == {"a/SOL": "1.998", "a/BUSD": "-220"}
    three = import_text(tmp_path / "a.json", answer, account="a")
    assert three.held == {"a/BNB": "1.9", "a/BTC": "-48.000012"}
    assert {one.shape, two.shape, three.shape} == {"binance-trades"}
    assert [each.report.wrong_totals for each in (one, two, three)] == [0, 0, 0]


def test_a_wallet_of_bitmex(tmp_path: Path) -> None:
    """Amounts contain the fee, and entries of one time have the last balance."""
    text = (
        "timestamp,transactTime,transactType,transactStatus,currency,network,amount,fee,"
        "walletBalance,orderID,transactID,address,marginBalance\n"
        "2020-05-01T01:00:00.000Z,,Deposit,Completed,XBt,,1000,,1000,,t0,,\n"
        "2020-05-02T12:00:00.000Z,,RealisedPNL,Completed,XBt,,-30,0.0,1020,,t1,XBTUSD,\n"
        "2020-05-02T12:00:00.000Z,,RealisedPNL,Completed,XBt,,50,0.0,1020,,t2,ETHUSD,\n"
        "2020-05-03T12:00:00.000Z,,Withdrawal,Canceled,XBt,btc,-500,10.0,1020,,t3,1abc,\n"
        "2020-05-04T12:00:00.000Z,,Withdrawal,Completed,XBt,btc,-500,10.0,520,,t4,1abc,\n"
    )
    made = import_text(tmp_path / "x.csv", text, account="main")
    assert made.shape == "bitmex-wallet"
    assert made.held == made.stated == {"main/XBt": "520"}
    out = made.of(Transfer)[-1]
    assert (str(out.amount), str(out.fee), out.network, out.address) == ("490", "10", "btc", "1abc")
    assert [r.reason for r in made.rejects] == [Reason.NOT_FINAL]
