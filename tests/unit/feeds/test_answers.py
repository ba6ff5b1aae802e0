"""Answers of ccxt and Deribit, logs of OKX, Bybit and FTX, FIX: invented, worked out by hand."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from riskwatch.core.events import (
    AccountSnapshot,
    Adjustment,
    Balance,
    Fill,
    FillCorrection,
    Position,
    Transfer,
)
from riskwatch.errors import OptionNeededError
from riskwatch.feeds.record import Reason
from tests.support.files import import_text

if TYPE_CHECKING:
    from pathlib import Path

D = Decimal


def test_own_trades_of_ccxt(tmp_path: Path) -> None:
    """Spot amounts are coins; those of contracts become coins by the cost."""
    text = """[
    {"info":{},"id":"1","timestamp":1672653600123,"datetime":"2023-01-02T10:00:00.123Z",
     "symbol":"BTC/USDT","order":"o1","type":"limit","side":"buy","takerOrMaker":"maker",
     "price":20000.10,"amount":0.123456789012345678,"cost":null,
     "fee":{"cost":0.5,"currency":"USDT"}},
    {"info":{},"id":"2","timestamp":1672653601000,"datetime":"","symbol":"ETH/USDT:USDT",
     "order":"o2","side":"sell","takerOrMaker":"taker","price":1500,"amount":30,"cost":4500,
     "fee":null},
    {"info":{},"id":"3","timestamp":1672653602000,"datetime":"","symbol":"BTC/USD:BTC",
     "order":"o3","side":"sell","takerOrMaker":"taker","price":20000,"amount":100,"cost":0.5,
     "fee":{"cost":0.0001,"currency":"BTC"}},
    {"info":{},"id":"4","timestamp":1672653603000,"datetime":"","symbol":"ETH/USDT:USDT",
     "order":"o4","side":"sell","takerOrMaker":"taker","price":1500,"amount":30,"cost":null,
     "fee":null}]"""
    made = import_text(tmp_path / "x.json", text, venue="okx", account="a")
    assert made.shape == "ccxt-trades"
    fills = made.of(Fill)
    assert [(f.kind, str(f.qty)) for f in fills] == [
        ("spot", "0.123456789012345678"), ("perp", "3"), ("perp", "0.5"),
    ]  # fmt: skip
    assert fills[0].fee == D("0.5")
    assert [r.reason for r in made.rejects] == [Reason.UNKNOWN_SIZE]
    assert made.held["a/BTC"] == "0.123356789012345678"  # less the fee of the third


def test_a_venue_that_a_file_does_not_prove_is_needed(tmp_path: Path) -> None:
    """The name of the file is a guess that the message mentions, and no more."""
    text = (
        '[{"id":"1","timestamp":1,"datetime":"","symbol":"A/B","side":"buy","price":1,"amount":1}]'
    )
    with pytest.raises(OptionNeededError, match="its name suggests kraken") as error:
        import_text(tmp_path / "kraken_trades.json", text)
    assert error.value.option == "--venue"


def test_public_trades_of_ccxt_are_prices(tmp_path: Path) -> None:
    """The last price and the volume of each step; a trade that comes too late is skipped."""
    rows = ((0, 100, 1), (400, 101, 2), (1500, 102, 3), (900, 99, 4), (5000, 103, 5), (100, 1, 1))
    text = ",".join(
        f'{{"id":"{n}","timestamp":{1672653600000 + ms},"datetime":"","symbol":"BTC/USD",'
        f'"order":null,"side":"buy","takerOrMaker":null,"price":{price},"amount":{size},'
        '"fee":{"cost":null}}'
        for n, (ms, price, size) in enumerate(rows)
    )
    made = import_text(tmp_path / "x", f"[{text}]", venue="kraken")
    assert made.shape == "ccxt-public-trades"
    assert [(str(q.last), str(q.volume), q.ts.second) for q in made.events] == [  # type: ignore[attr-defined]
        ("99", "7", 1), ("102", "3", 2), ("103", "5", 6),
    ]  # fmt: skip
    assert [r.reason for r in made.rejects] == [Reason.OUT_OF_ORDER]


def test_a_balance_of_ccxt_is_a_complete_snapshot(tmp_path: Path) -> None:
    """Coins with an amount are stated, all others are zero; parts and total are compared."""
    text = """{"info":{"x":[{"asset":"BTC"}]},"timestamp":1672653600000,
    "datetime":"2023-01-02T10:00:00.000Z","BTC":{"free":1.5,"used":0.25,"total":1.75},
    "free":{"BTC":1.5,"USDT":0.0,"ETH":1e-18,"SOL":1},
    "used":{"BTC":0.25,"USDT":0.0,"ETH":0,"SOL":1},
    "total":{"BTC":1.75,"USDT":0.0,"ETH":1e-18,"SOL":3}}"""
    made = import_text(tmp_path / "x", text, venue="binance", account="a", wallet="spot")
    assert made.shape == "ccxt-balance"
    assert {b.asset: (str(b.free), str(b.locked)) for b in made.of(Balance)} == {
        "BTC": ("1.5", "0.25"), "ETH": ("1E-18", "0"), "SOL": ("1", "1"),
    }  # fmt: skip
    (snapshot,) = made.of(AccountSnapshot)
    assert (snapshot.assets, snapshot.wallet) == (["BTC", "ETH", "SOL"], "spot")
    assert (made.report.totals, made.report.wrong_totals) == (3, 1)
    with pytest.raises(OptionNeededError, match="--as-of"):
        import_text(
            tmp_path / "y", text.replace("1672653600000", "null"), venue="binance", account="a"
        )


def test_positions_of_ccxt(tmp_path: Path) -> None:
    """Linear contracts times their size; inverse ones at the mark price, which is told."""
    text = """[{"info":{},"symbol":"BTC/USDT:USDT","timestamp":1672653600000,"hedged":false,
    "side":"short","contracts":12,"contractSize":0.001,"entryPrice":20000,"markPrice":21000,
    "liquidationPrice":null},
    {"info":{},"symbol":"BTC/USD:BTC","timestamp":1672653600000,"hedged":true,"side":"long",
    "contracts":300,"contractSize":100,"entryPrice":20000,"markPrice":60000,
    "liquidationPrice":9000}]"""
    made = import_text(tmp_path / "x", text, venue="okx", account="a")
    assert made.shape == "ccxt-positions"
    assert [(str(p.qty), p.side, p.instrument) for p in made.of(Position)] == [
        ("-0.012", None, "BTC/USDT:USDT"), ("0.5", "long", "BTC/USD:BTC"),
    ]  # fmt: skip
    assert sum(made.report.unknown.values()) == 1


def test_transactions_of_ccxt(tmp_path: Path) -> None:
    """Status, network and fee are those of the transfer; an unknown status is no transfer."""
    common = '"address":"0xa","network":"ETH","currency":"USDC","updated":null'
    text = f"""[{{"info":{{}},"id":"w1","txid":"0x1","timestamp":1672653600000,
    "type":"withdrawal",
    "amount":100.5,"status":"ok","fee":{{"cost":1.25,"currency":"USDC"}},{common}}},
    {{"info":{{}},"id":"d1","txid":"0x2","timestamp":1672653600000,"type":"deposit",
    "amount":300,"status":"pending","fee":null,{common}}},
    {{"info":{{}},"id":"d2","txid":"0x3","timestamp":1672653600000,"type":"deposit",
    "amount":300,"status":"ok","fee":null,{common}}},
    {{"info":{{}},"id":"d3","txid":"","timestamp":1672653600000,"type":"deposit",
    "amount":7,"status":"dunno","fee":null,{common}}}]"""
    made = import_text(tmp_path / "x", text, venue="okx", account="a")
    assert made.shape == "ccxt-transactions"
    assert made.held == {"a/USDC": "198.25"}
    assert {t.transfer_id: t.status for t in made.of(Transfer)} == {
        "w1": "confirmed", "d1": "pending", "d2": "confirmed",
    }  # fmt: skip
    assert [r.reason for r in made.rejects] == [Reason.UNKNOWN_STATUS]


def test_positions_of_deribit(tmp_path: Path) -> None:
    """A future counts by its coin, an option by its size; the answer's time is theirs."""
    text = """{"jsonrpc":"2.0","id":1,"usIn":1672653600000000,"usOut":1672653600000123,"result":[
    {"average_price":7440.18,"delta":-0.006687487,"direction":"sell","estimated_liquidation_price":
     15000.5,"floating_profit_loss":0.1,"index_price":7390,"instrument_name":"BTC-PERPETUAL",
     "kind":"future","mark_price":7476.65,"size":-50,"size_currency":-0.006687487},
    {"average_price":0.05,"delta":0.5,"direction":"buy","floating_profit_loss":0.1,"index_price":1,
     "instrument_name":"ETH-30JUN23-2000-C","kind":"option","mark_price":0.06,"size":10}]}"""
    made = import_text(tmp_path / "x", text, account="a")
    assert made.shape == "deribit-positions"
    assert [(p.base, p.quote, str(p.qty), p.ts.microsecond) for p in made.of(Position)] == [
        ("BTC", "USD", "-0.006687487", 123), ("ETH", "USD", "10", 123),
    ]  # fmt: skip


OKX_HEAD = (
    "id,Order id,Time,Trade Type,Symbol,Action,Amount,Trading Unit,Filled Price,PnL,Fee,Fee Unit,"
    "Position Change,Position Balance,Balance Change,Balance,Balance Unit\n"
)
OKX_ROWS = (
    "1,0,2023-01-02 08:00:00,Transfer,,Transfer in,0,cont,0,0,0,USDT,0,0,1500,1500,USDT\n"
    "2,9,2023-01-02 09:00:00,Spot,ETH-USDT,Buy,0.5,ETH,1200,0,-0.0005,ETH,0,0,0.4995,0.4995,ETH\n"
    "3,9,2023-01-02 09:00:00,Spot,ETH-USDT,Sell,600,ETH,1200,0,0,USDT,0,0,-600,900,USDT\n"
    "4,8,2023-01-02 10:00:00,Swap,BTC-USDT-SWAP,Close long,1,cont,17000,12.5,-0.5,USDT,-1,0,12,912,"
    "USDT\n"
    "5,0,2023-01-02 16:00:00,Swap,BTC-USDT-SWAP,Funding fee,1,cont,0,0,0,USDT,0,0,-0.25,911.75,"
    "USDT\n"
)


def test_bills_of_okx(tmp_path: Path) -> None:
    """Entries sum to the running balance; the zone before the header moves the times."""
    text = (
        "\ufeffUID:77,\ufeffAccount Type:Main,\ufeffTime Zone:UTC+8\n\ufeff" + OKX_HEAD + OKX_ROWS
    )
    made = import_text(tmp_path / "x.csv", text)
    assert made.shape == "okx-bills"
    assert made.held == made.stated == {"77/USDT": "911.75", "77/ETH": "0.4995"}
    assert made.of(Transfer)[0].ts.hour == 0
    assert {(a.kind, str(a.amount)) for a in made.of(Adjustment)} == {
        ("fee", "-0.0005"), ("conversion", "0.5"), ("conversion", "-600"), ("fee", "-0.5"),
        ("realised_pnl", "12.5"), ("funding", "-0.25"),
    }  # fmt: skip


def test_bills_of_okx_without_a_zone_need_one(tmp_path: Path) -> None:
    """Times without a zone are not taken for UTC."""
    with pytest.raises(OptionNeededError, match="--zone"):
        import_text(tmp_path / "x.csv", OKX_HEAD + OKX_ROWS, account="a")
    made = import_text(tmp_path / "y.csv", OKX_HEAD + OKX_ROWS, account="a", zone_us=0)
    assert made.of(Transfer)[0].ts.hour == 8


def test_the_answers_of_okx(tmp_path: Path) -> None:
    """Bills of the trading account by type; those of the funding account are moves of our own."""
    text = """{"code":"0","msg":"","data":[
    {"bal":"99.5","balChg":"-0.5","billId":"2","ccy":"USDT","fee":"0","instId":"BTC-USDT-SWAP",
     "instType":"SWAP","ordId":"","ts":"1672653600001","type":"8"},
    {"bal":"100","balChg":"100","billId":"1","ccy":"USDT","fee":"0","instId":"",
     "instType":"","ordId":"","ts":"1672653600000","type":"1"}]}"""
    made = import_text(tmp_path / "x", text, account="a")
    assert made.held == made.stated == {"a/USDT": "99.5"}
    assert [a.kind for a in made.of(Adjustment)] == ["funding"]


def test_the_log_of_bybit(tmp_path: Path) -> None:
    """Fee and funding are entries apart; the sum is the wallet's balance."""
    text = (
        "UID: 531,Company Name: ,Country:\n"
        "Uid,Currency,Contract,Type,Direction,Quantity,Position,Filled Price,Funding,Fee Paid,"
        "Cash Flow,Change,Wallet Balance,Action,Time(UTC)\n"
        "531,USDT,,TRANSFER_IN,--,0,0,0,0,0,1000,1000,1000,--,2023-01-02 08:00:00\n"
        "531,USDT,BTCUSDT,TRADE,SELL,0.02,0,17000,0,-0.20,1.00,0.80,1000.80,CLOSE,"
        "2023-01-02 09:00:00\n"
        "531,USDT,BTCUSDT,SETTLEMENT,BUY,0.02,0,17000,-0.0216,0,0,-0.0216,1000.7784,SETTLEMENT,"
        "2023-01-02 16:00:00\n"
    )
    made = import_text(tmp_path / "x.csv", text)
    assert made.shape == "bybit-log"
    assert made.held == made.stated == {"531/USDT": "1000.7784"}
    assert [(a.kind, str(a.amount)) for a in made.of(Adjustment)] == [
        ("fee", "-0.2"), ("realised_pnl", "1"), ("funding", "-0.0216"),
    ]  # fmt: skip


def test_exports_of_ftx(tmp_path: Path) -> None:
    """Trades, withdrawals with their fee, and funding that the account paid."""
    trades = (
        "ID,Time,Market,Side,Order Type,Size,Price,Total,Fee,Fee Currency,TWAP\n"
        "1,2021-06-01T10:00:00.000000+00:00,BTC/USD,buy,Order,0.5,36000,18000,12.6,USD,\n"
        "2,2021-06-01T11:00:00.000000+00:00,ETH-PERP,sell,Order,2,2600,5200,3.64,USD,\n"
    )
    out = (
        "Time,Coin,Amount,Destination,Status,Transaction ID,fee\n"
        "2021-06-02T10:00:00.000000+00:00,BTC,0.2,bc1q,complete,ab12,0.0005\n"
        "2021-06-03T10:00:00.000000+00:00,BTC,0.1,bc1q,cancelled,,0.0005\n"
    )
    funding = "Time,Future,Payment,Rate\n2021-06-01T12:00:00+00:00,ETH-PERP,0.52,0.0001\n"
    one = import_text(tmp_path / "t.csv", trades, account="a")
    two = import_text(tmp_path / "w.csv", out, account="a")
    three = import_text(tmp_path / "f.csv", funding, account="a")
    assert [m.shape for m in (one, two, three)] == ["ftx-trades", "ftx-transfers", "ftx-funding"]
    assert one.held == {"a/BTC": "0.5", "a/USD": "-18016.24"}
    assert one.trial.positions() == {("a", "ETH-PERP"): D(-2)}
    assert two.held == {"a/BTC": "-0.2005"}
    assert three.held == {"a/USD": "-0.52"}
    assert [m.report.wrong_totals for m in (one, two, three)] == [0, 0, 0]


def fix(*fields: str, separator: str = "\x01") -> str:
    """Return a FIX message with its length and checksum."""
    body = "\x01".join(fields) + "\x01"
    head = f"8=FIX.4.4\x019={len(body)}\x01"
    total = sum((head + body).encode()) % 256
    return f"{head}{body}10={total:03d}\x01".replace("\x01", separator)


def execution(entry: str, *more: str, exec_type: str = "F") -> tuple[str, ...]:
    """Return the fields of an execution report of 10 BTC at 20,000."""
    return ("35=8", "49=VENUE", "56=DESK", "1=prop", "37=ord", f"17={entry}", f"150={exec_type}",
            "39=2", "55=BTC/USD", "54=1", "32=10", "31=20000", "60=20230102-10:00:00.123456",
            *more)  # fmt: skip


@pytest.mark.parametrize("separator", ["\x01", "|", "^"])
def test_a_drop_copy_with_a_correction_and_a_bust(tmp_path: Path, separator: str) -> None:
    """10 at 20,000; 5 corrected to 4 at 20,100; 2 cancelled: 14 BTC, and what they cost."""
    log = [
        fix("35=A", "98=0", separator=separator),
        fix(*execution("e1", "12=25", "13=3", "479=USD", "851=1"), separator=separator),
        fix(*execution("e2", "32=5"), separator=separator).replace(f"32=10{separator}", "", 1),
        fix(*execution("e3", "32=2"), separator=separator).replace(f"32=10{separator}", "", 1),
        fix(*execution("e0", exec_type="0"), separator=separator),
        fix(*execution("c1", "19=e2", exec_type="G"), separator=separator)
        .replace(f"32=10{separator}", f"32=4{separator}")
        .replace(f"31=20000{separator}", f"31=20100{separator}"),
        fix(*execution("b1", "19=e3", exec_type="H"), separator=separator),
        fix(*execution("b2", "19=e3", exec_type="H"), separator=separator),
        fix(*execution("e1"), separator=separator),
    ]
    text = "\n".join(f"2023-01-02 10:00:00.124 IN {line}" for line in log)
    made = import_text(tmp_path / "x.log", text, venue="kraken")
    assert made.shape == "fix-executions"
    assert made.held == {"prop/BTC": "14", "prop/USD": "-280425"}  # 200,000 + 80,400 + 25
    first = made.of(Fill)[0]
    assert (first.account, first.trade_id, first.liquidity, first.ts.microsecond) == (
        "prop", "e1", "maker", 123_456,
    )  # fmt: skip
    assert [(c.status, c.trade_id) for c in made.of(FillCorrection)] == [
        ("amend", "e2"), ("bust", "e3"),
    ]  # fmt: skip
    assert [str(r.reason) for r in made.rejects] == [
        "no_effect", "no_effect", "unknown_trade", "duplicate",
    ]  # fmt: skip
    assert made.report.unknown["messages whose checksum is wrong"] == 3


def test_the_older_way_to_cancel_a_trade(tmp_path: Path) -> None:
    """FIX 4.2 states a cancellation by ExecTransType."""
    log = fix(*execution("e1")) + fix(*execution("b1", "19=e1", "20=1"))
    made = import_text(tmp_path / "x.fix", log.replace("FIX.4.4", "FIX.4.2"), venue="kraken")
    assert made.held == {"prop/BTC": "0", "prop/USD": "0"}
