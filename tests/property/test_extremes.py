"""Chains, cycles and stars of prices, and sums, at the bounds of the contract: nothing raises.

Every example goes through all stages and into SQLite. What comes out is finite, can be read again,
and lies within the stated bounds.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from decimal import Decimal
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as replaced
from sqlalchemy import inspect, select, text

from riskwatch.contracts.outputs import decode_output
from riskwatch.core.clock import SECOND, rfc3339
from riskwatch.core.reference import Asset, Backing, Limit, Party
from riskwatch.engine import bootstrap
from riskwatch.engine.replay import ReplayJob, replay_files
from riskwatch.store import migrate
from riskwatch.store.engine import open_engine
from riskwatch.store.schema import METADATA
from tests.support.fakes import ListPublisher
from tests.support.toy import START_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from riskwatch.config.config import Config

CONFIG: Final = bootstrap.configuration()
WHOLE: Final = "9" * 24
NUMBERS: Final = (
    WHOLE, f"{WHOLE}.{'9' * 18}", "1" + "0" * 23, "0.000000000000000001", "1",
    "1.000000000000000001",
    "1000000000000", "1000000000000.000000000000000001", "0.000000000001", "0.0000000001", "20000",
)  # fmt: skip
"""The bounds of the contract, the bounds of prices and values, and ordinary ones."""
MAX_USD: Final = 1e15
LIMIT: Final = 1e40
"""No number of an output is beyond this; the largest are squares of bounded basis points."""

numbers = st.sampled_from(NUMBERS)
names = st.sampled_from(("USD", "USDC", "USDT", "BTC", "EUR", "X0", "X1", "X2"))
venues = st.sampled_from(("kraken", "coinbase", "nowhere"))


class Author:
    """Writes events with unique ids, at times that never go back.

    `tables` is what SQL says after the replay.
    """

    def __init__(self, config: Config = CONFIG) -> None:
        self.config = config
        self.lines: list[str] = []
        self.seconds = 0.0
        self.tables: dict[str, list[dict[str, Any]]] = {}

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds

    def tell(self, event: str, **fields: Any) -> None:
        """Write one event."""
        n = len(self.lines)
        head = {"type": event, "v": 1, "event_id": f"e{n}", "source": "feed",
                "ts": rfc3339(round((START_S + self.seconds) * SECOND))}  # fmt: skip
        self.lines.append(json.dumps(head | fields))

    def quote(self, venue: str, base: str, quote: str, price: str, **fields: Any) -> None:
        """Write a quote."""
        self.tell("quote", venue=venue, base=base, quote=quote, last=price, **fields)

    def own(self, event: str, party: str, **fields: Any) -> None:
        """Write a fact about ourselves."""
        self.tell(event, counterparty=party, account="main", book="mm", **fields)


def check_finite(value: Any, path: str) -> None:
    """Fail where a number is not finite, or is out of all bounds."""
    if isinstance(value, float):
        assert isfinite(value), path
        assert abs(value) <= LIMIT, path
    elif isinstance(value, dict):
        for key, item in value.items():
            check_finite(item, f"{path}.{key}")
            if key.endswith("_usd") and isinstance(item, str):
                assert abs(float(item)) <= MAX_USD or key == "price_usd", path
    elif isinstance(value, list):
        for item in value:
            check_finite(item, path)


def check_tables(url: str) -> dict[str, list[dict[str, Any]]]:
    """Read every table and view, as people do; fail at a value that is out of all bounds."""
    engine = open_engine(url)
    try:
        catalogue = inspect(engine)
        names = [*catalogue.get_table_names(), *catalogue.get_view_names()]
        found: dict[str, list[dict[str, Any]]] = {}
        with engine.connect() as conn:
            for name in names:
                known = METADATA.tables.get(name)
                query = text(f'SELECT * FROM "{name}"') if known is None else select(known)
                found[name] = [dict(row) for row in conn.execute(query).mappings()]
    finally:
        engine.dispose()
    # A view may add up rows that are at the bound, each of them once.
    views = MAX_USD * max(1, len(found["exposure"]) + len(found["position"]))
    for name, rows in found.items():
        most = MAX_USD if name in METADATA.tables else views
        for row in rows:
            for column, value in row.items():
                number = float(value) if isinstance(value, Decimal) else value
                check_finite(number, f"{name}.{column}")
                if column.endswith("_usd") and column != "price_usd" and number is not None:
                    assert abs(float(number)) <= most, f"{name}.{column}"
    return found


def refuse_constant(text: str) -> None:
    """Fail at NaN and Infinity, which are no JSON."""
    raise AssertionError(text)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One migrated database, to copy."""
    path = tmp_path_factory.mktemp("extremes") / "template.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="module")
def replay(template: Path) -> Callable[[Author], int]:
    """Replay what an author wrote, and check everything that comes out."""

    def go(author: Author) -> int:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            path = folder / "events.ndjson"
            path.write_text("\n".join(author.lines) + "\n")
            published = ListPublisher()
            database = shutil.copy(template, folder / "r.db")
            job = ReplayJob([path], f"sqlite:///{database}", publisher=published)
            done = replay_files(job, bootstrap.pipeline(author.config), config=author.config)
            author.tables = check_tables(f"sqlite:///{database}")
        assert done.read == len(author.lines)
        for _, topic, _, value in published.lines:
            check_finite(json.loads(value, parse_constant=refuse_constant), topic)
            decode_output(value)
        return len(published.lines)

    return go


@given(
    shape=st.sampled_from(("chain", "cycle", "star in", "star out", "parallel")),
    prices=st.lists(numbers, min_size=1, max_size=60),
    venue=venues,
    anchored=st.booleans(),
    amount=numbers,
    rounds=st.integers(1, 4),
)
@settings(max_examples=25, deadline=None)
def test_graphs_of_prices(
    replay: Callable[[Author], int], shape: str, prices: list[str], venue: str, amount: str,
    rounds: int, *, anchored: bool,
) -> None:  # fmt: skip
    """One holding of each asset of the graph, and a tick after each round of quotes."""
    author = Author()
    nodes = [f"A{i}" for i in range(len(prices) + 1)]
    if anchored:
        nodes[0] = "USD"
    for i, node in enumerate(nodes[1:]):
        author.own("balance", "kraken", asset=node, free=amount if i % 2 else "1")
    for _ in range(rounds):
        for i, price in enumerate(prices):
            if shape == "chain":
                author.quote(venue, nodes[i + 1], nodes[i], price)
            elif shape == "cycle":
                author.quote(venue, nodes[(i + 1) % len(nodes[1:])], nodes[i], price)
            elif shape == "star in":
                author.quote(venue, nodes[i + 1], nodes[0], price)
            elif shape == "star out":
                author.quote(venue, nodes[0], nodes[i + 1], price)
            else:
                author.quote(f"v{i}", nodes[1], nodes[0], price)
        author.pause(301.0)
    author.quote("kraken", "BTC", "USD", "20000")
    assert replay(author) > 0


fact = st.one_of(
    st.tuples(st.just("quote"), venues, names, names, numbers, numbers),
    st.tuples(st.just("peg"), venues, names, names, numbers, numbers),
    st.tuples(st.just("balance"), venues, names, names, numbers, numbers),
    st.tuples(st.just("position"), venues, names, names, numbers, numbers),
    st.tuples(st.just("fill"), venues, names, names, numbers, numbers),
    st.tuples(st.just("perp"), venues, names, names, numbers, numbers),
    st.tuples(st.just("open_order"), venues, names, names, numbers, numbers),
    st.tuples(st.just("loan"), venues, names, names, numbers, numbers),
    st.tuples(st.just("transfer"), venues, names, names, numbers, numbers),
)


def write_fact(author: Author, told: tuple[str, str, str, str, str, str]) -> None:
    """Write one event with two numbers."""
    kind, party, base, quote, one, two = told
    n = len(author.lines)
    if kind == "quote":
        author.quote(party, base, quote, one, volume=two, bid=min(one, two, key=float),
                     ask=max(one, two, key=float), bid_size=two)  # fmt: skip
    elif kind == "peg":
        author.tell("peg", venue=party, asset=base, price=one, volume=two)
    elif kind == "balance":
        author.own("balance", party, asset=base, free=one, locked=two, borrowed=two,
                   unrealized_pnl=f"-{one}")  # fmt: skip
    elif kind == "position":
        author.own("position", party, base=base, quote=quote, qty=f"-{one}", entry_price=two,
                   mark_price=one)  # fmt: skip
    elif kind in ("fill", "perp"):
        author.own("fill", party, base=base, quote=quote, side="sell", qty=one, price=two,
                   reference_price=one, fee=f"-{two}", kind="spot" if kind == "fill" else "perp",
                   )  # fmt: skip
    elif kind == "open_order":
        author.own("open_order", party, order_id=f"o{n}", base=base, quote=quote, side="buy",
                   qty=one, price=two)  # fmt: skip
    elif kind == "loan":
        author.own("loan", party, loan_id=f"l{n}", asset=base, amount=one, direction="lent")
    else:
        author.own("transfer", party, transfer_id=f"t{n}", asset=base, amount=one,
                   direction="withdrawal", status="sent")  # fmt: skip


@given(
    told=st.lists(st.tuples(fact, st.sampled_from((0.0, 0.000001, 1.0, 61.0, 4000.0))), max_size=60)
)
@settings(max_examples=40, deadline=None)
def test_facts_of_all_kinds(replay: Callable[[Author], int], told: list[Any]) -> None:
    """Events of every kind in any order, over ordinary prices; the last tick sees all of them."""
    author = Author()
    for base, price in (("BTC", "20000"), ("USDC", "1"), ("USDT", "1")):
        author.quote("kraken", base, "USD", price)
    for one, pause in told:
        write_fact(author, one)
        author.pause(pause)
    author.pause(400.0)
    author.quote("coinbase", "BTC", "USD", "20000")
    assert replay(author) > 0


MEMBERS: Final = 4


def linked(hard_usd: float) -> Config:
    """Return a configuration with a group, an issuer with a bank behind it, and their limits."""
    venues = {
        f"m{n}": Party(id=f"m{n}", kind="exchange", group="g", native_token=f"C{n}")
        for n in range(MEMBERS)
    }
    issuer = Party(id="iss", kind="issuer", group="g", backing=(Backing("bk", 0.5),))
    banks = {"bk": Party(id="bk", kind="bank", group="g")}
    coins = {f"C{n}": Asset(id=f"C{n}", peg="USD", issuer="iss") for n in range(MEMBERS)}
    subjects = {
        "group": "g", "issuer": "iss", "bank": "bk", "counterparty": "*", "asset": "*",
        "book": "*", "firm": "*",
    }  # fmt: skip
    limits = tuple(
        Limit(id=f"l-{kind}", scope_kind=kind, subject=name, hard_usd=hard_usd)
        for kind, name in subjects.items()
    )
    reference = replaced(
        CONFIG.reference,
        assets=CONFIG.reference.assets | coins,
        parties=CONFIG.reference.parties | venues | banks | {"iss": issuer},
    )
    return replaced(CONFIG, reference=reference, limits=replaced(CONFIG.limits, limits=limits))


LINKED: Final = {hard: linked(hard) for hard in (1.0, 1e9, MAX_USD)}


@given(
    hard=st.sampled_from(sorted(LINKED)),
    price=st.sampled_from(("1", "0.000001", "1000000", "1000000000000")),
    held=st.lists(
        st.tuples(
            st.integers(0, MEMBERS - 1), st.integers(0, MEMBERS - 1), numbers,
            st.sampled_from(("free", "borrowed", "position", "open_order", "loan", "transfer")),
        ),
        min_size=1, max_size=24,
    ),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_sums_over_groups_and_issuers(
    replay: Callable[[Author], int], hard: float, price: str, held: list[tuple[int, int, str, str]]
) -> None:
    """Sums at the bounds are saturated and never less than a part of them; every table is read."""
    author = Author(LINKED[hard])
    for n in range(MEMBERS):
        for venue in ("m0", "m1"):
            author.quote(venue, f"C{n}", "USD", price)
    for n, (party, coin, amount, kind) in enumerate(held):
        name, asset = f"m{party}", f"C{coin}"
        if kind in ("free", "borrowed"):
            borrowed = {"borrowed": amount} if kind == "borrowed" else {}
            free = "0" if kind == "borrowed" else amount
            author.own("balance", name, asset=asset, free=free, **borrowed)
        elif kind == "position":
            author.own("position", name, base=asset, quote="USD", instrument=f"{asset}-P",
                       qty=amount if n % 2 else f"-{amount}")  # fmt: skip
        else:
            write_fact(author, (kind, name, asset, "USD", amount, price))
    author.pause(400.0)
    author.quote("m0", "C0", "USD", price)
    author.pause(400.0)
    author.quote("m1", "C0", "USD", price)
    assert replay(author) > 0
    used = {row["scope"]: float(row["used_usd"]) for row in author.tables["limit_state"]}
    for total, part in (("group:g", "counterparty:m"), ("issuer:iss", "asset:C"), ("firm", "book")):
        for scope, usd in used.items():
            if scope.startswith(part) and total in used:
                assert min(usd, MAX_USD) <= used[total] * (1 + 1e-9) + 0.01, (scope, total)
    assert author.tables["killswitch_now"] is not None
