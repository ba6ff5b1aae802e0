"""A kill switch with limits before the trade, and tables of them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from riskwatch.client import KillSwitch
from riskwatch.contracts.connection import KafkaConnection
from riskwatch.contracts.heartbeat import decode_heartbeat
from riskwatch.contracts.pretrade import ClientLimits, Mid, PretradeTable, ScopeLimits
from riskwatch.core.clock import SECOND, moment
from tests.support.guarding import Time, Truth

BUY: Final[dict[str, Any]] = {
    "counterparty": "kraken", "asset": ("BTC", "USD"), "book": "arb", "side": "buy",
    "price": 20_000.0,
}  # fmt: skip
LEFT: Final = {
    "firm": 1_000_000.0, "counterparty:*": 800_000.0, "asset:BTC": 400_000.0,
    "asset:USDC": 50_000.0, "issuer:circle": 40_000.0, "bank:svb": 2_000.0, "book:arb": 600_000.0,
    "group:g": 500_000.0,
}  # fmt: skip
BINDS: Final = {
    "asset:USDC": {"issuer:circle": 1.0, "bank:svb": 0.1}, "counterparty:kraken": {"group:g": 1.0},
}  # fmt: skip


def client_limits(**fields: Any) -> ClientLimits:
    """Return terms of a client that may trade at kraken and coinbase."""
    settings: dict[str, Any] = {
        "share": 0.5, "max_order_usd": 1e6, "rate": 100.0, "burst": 1_000,
        "counterparties": ["kraken", "coinbase"],
    }  # fmt: skip
    return ClientLimits(**(settings | fields))


class LimitedSwitch:
    """A kill switch that is not started, with tables from a worker that the test plays."""

    def __init__(self, **options: Any) -> None:
        self.time = Time()
        self.truth = Truth(self.time)
        self.switch = KillSwitch(
            "desk-1", kafka=KafkaConnection(),
            clock=lambda: self.time.steady, wall=lambda: self.time.wall, **options,
        )  # fmt: skip
        self.later(10.0)  # what the process before used is in the first table

    def table(self, **fields: Any) -> PretradeTable:
        """Return a table as of now."""
        now = self.time.wall
        terms = client_limits(max_order_usd=250_000.0)
        settings: dict[str, Any] = {
            "measured": moment(round(now * SECOND)), "until": moment(round((now + 30) * SECOND)),
            "left": LEFT, "binds": BINDS, "known": {"kraken": now, "coinbase": now},
            "mids": {"BTC": Mid(20_000.0, fresh=True), "USD": Mid(1.0, fresh=True),
                     "USDC": Mid(1.0, fresh=True)},
            "stale_collar_bp": 100.0, "clients": {"desk-1": terms},
            "scopes": {"firm": ScopeLimits(max_order_usd=250_000.0, collar_bp=300.0)},
        }  # fmt: skip
        return PretradeTable(**(settings | fields))

    def know(self, table: PretradeTable | msgspec.UnsetType | None = None) -> KillSwitch:
        """Deliver a heartbeat with a table, over the wire; returns the switch."""
        made = self.table() if table is None else table
        beat = msgspec.structs.replace(self.truth.beat(), pretrade=made)
        self.switch.trust.beat(decode_heartbeat(msgspec.json.encode(beat)))
        self.later(0.0)
        return self.switch

    def later(self, seconds: float) -> None:
        """Advance the time while a server answers."""
        self.time.pass_(seconds)
        self.switch.trust.mark_answered("test")
        self.switch.trust.settle()
