"""Stored databases of released row formats: how they are made, read back and gone on with.

Each holds a HALT that a person latched, a request of its release that waits for a second person,
a limit that a person lowered, a decision that a model asked for, the state of the models, and a
checkpoint at the last entry of the journal.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typer.testing import CliRunner

from riskwatch.cli import app
from riskwatch.config import paths
from riskwatch.contracts.codec import encode
from riskwatch.contracts.signing import public_key_text
from riskwatch.core.events import Balance, Fill, Peg, Quote
from riskwatch.core.stage import FORMAT
from riskwatch.version import ENGINE
from tests.support.people import KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from typer.testing import Result

    from riskwatch.core.events import WireEvent

FOLDER: Final = Path(__file__).parents[1] / "stored"
START: Final = datetime(2024, 5, 6, 9, 0, tzinfo=UTC)
SCOPE: Final = "asset:USDC"
LIMIT: Final = "kraken"
HARD_USD: Final = 60_000.0
"""What the limit was lowered to; the shipped one is far above."""
MINUTES: Final = 24
VENUES: Final = ("kraken", "coinbase")


def named(number: int = FORMAT, engine: str = ENGINE) -> str:
    """Name of a stored database: its format, and the engine that made it."""
    return f"format-{number}-engine-{engine}"


def at(minutes: float) -> datetime:
    """Moment of the invented history."""
    return START + timedelta(minutes=minutes)


class Desk:
    """A folder with rules, two supervisors and a database, driven by real commands."""

    def __init__(self, folder: Path, files: str = "stored") -> None:
        self.folder = folder
        self.files = files
        self.url = f"sqlite:///{folder / 'stored.db'}"
        self.rules = folder / "rules"
        self.sent = 0
        if not self.rules.exists():
            self._furnish()

    def _furnish(self) -> None:
        for source in sorted(paths.rules_folder().rglob("*")):
            if source.is_file():
                target = self.rules / source.relative_to(paths.rules_folder())
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read_bytes())
        for name in ("ann", "bob"):
            key = KEYS[name]
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            path = self.folder / f"{name}.pem"
            path.write_bytes(pem)
            path.chmod(0o600)
            public = public_key_text(key.public_key())
            self.run("operator", "add", name, "--role", "supervisor", "--public-key", public)

    def run(self, *args: str, name: str = "ann", fails: bool = False) -> Result:
        """Run a command as somebody; it must succeed, unless it `fails`."""
        env = {
            "RISKWATCH_CONFIG": str(self.rules),
            "RISKWATCH_DATABASE": self.url,
            "RISKWATCH_KAFKA": "",
            "RISKWATCH_OPERATOR": name,
            "RISKWATCH_OPERATOR_KEY": str(self.folder / f"{name}.pem"),
            "COLUMNS": "250",
        }
        done = CliRunner().invoke(app, list(args), env=env)
        assert fails or done.exit_code == 0, (args, done.output, done.exception)
        return done

    def replay(self, events: Iterable[WireEvent]) -> None:
        """Go on with events."""
        path = self._next()
        path.write_bytes(b"".join(encode(event) + b"\n" for event in events))
        self.run("replay", str(path))

    def command(self, minutes: float, *args: str, name: str = "ann") -> Path:
        """Sign a command for a moment, into a file that is not replayed yet."""
        path = self._next()
        options = ("--reason", "an exercise", "--out", str(path), "--at", at(minutes).isoformat())
        self.run("killswitch", *args, *options, name=name)
        return path

    def turn(self, minutes: float, *args: str, name: str = "ann") -> None:
        """Sign a command for a moment, and replay it."""
        self.run("replay", str(self.command(minutes, *args, name=name)))

    def _next(self) -> Path:
        self.sent += 1
        return self.folder / f"{self.files}-{self.sent:03d}.ndjson"


def history() -> Iterator[WireEvent]:
    """Invented events: USDC loses half a per cent for a while, we hold and trade some of it."""
    n = 0

    def common(minutes: float) -> dict[str, Any]:
        nonlocal n
        n += 1
        return {"v": 1, "event_id": f"e{n}", "ts": at(minutes), "source": "desk"}

    yield Peg(**common(0), asset="USDC", venue="oracle", price=Decimal(1))
    for venue in VENUES:
        yield balance("50000", 0, venue, common(0))
    for minute in range(MINUTES):
        price = Decimal("0.9940") if 6 <= minute < 14 else Decimal("0.9999")
        for venue in VENUES:
            yield quote(venue, "USDC", price, common(minute + 0.1))
        if minute % 6 == 3:
            yield quote("kraken", "BTC", Decimal(64_000 + minute), common(minute + 0.2))
            yield fill(price, common(minute + 0.3))


def balance(free: str, minutes: float, venue: str, common: dict[str, Any] | None = None) -> Balance:
    """What we have of USDC at a venue."""
    given = common or {
        "v": 1, "event_id": f"b{venue}{minutes}", "ts": at(minutes), "source": "desk",
    }  # fmt: skip
    return Balance(
        **given, counterparty=venue, account="main", book="mm", asset="USDC", free=Decimal(free)
    )


def quote(venue: str, base: str, price: Decimal, common: dict[str, Any]) -> Quote:
    """A book with a tight spread."""
    half = price * Decimal("0.00005")
    size = Decimal(10_000)
    return Quote(
        **common, venue=venue, base=base, quote="USD", bid=price - half, ask=price + half,
        bid_size=size, ask_size=size, volume=Decimal(500),
    )  # fmt: skip


def fill(price: Decimal, common: dict[str, Any]) -> Fill:
    """A small sale, a little worse than the mid."""
    return Fill(
        **common, counterparty="kraken", account="main", book="mm", base="USDC", quote="USD",
        side="sell", qty=Decimal(1_000), price=price * Decimal("0.9998"), reference_price=price,
    )  # fmt: skip


def make(folder: Path) -> Desk:
    """Make the history with this build, up to a request that waits."""
    desk = Desk(folder)
    desk.run("db", "upgrade")
    desk.replay(history())
    hard = f"{HARD_USD:.0f}"
    desk.turn(MINUTES + 1, "set-limit", LIMIT, "--scope", "counterparty:kraken", "--hard-usd", hard)
    desk.turn(MINUTES + 2, "halt", SCOPE)
    desk.turn(MINUTES + 3, "release", SCOPE, "--yes")
    desk.run("audit", "checkpoint", "--end")
    return desk


def dumped(desk: Desk) -> str:
    """The database as SQL text."""
    with sqlite3.connect(desk.folder / "stored.db") as conn:
        conn.execute("DELETE FROM lease")  # who ran it and when is of the machine
        return "\n".join(conn.iterdump()) + "\n"


def opened(name: str, folder: Path) -> Desk:
    """Make a firm on a copy of a stored database."""
    desk = Desk(folder, "later")
    script = (FOLDER / f"{name}.sql").read_text()
    conn = sqlite3.connect(folder / "stored.db")
    conn.executescript(script)
    conn.close()
    return desk
