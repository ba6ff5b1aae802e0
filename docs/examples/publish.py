"""Publish one fill to riskwatch."""

from datetime import UTC, datetime
from decimal import Decimal

from riskwatch.client import publish
from riskwatch.contracts.connection import KafkaConnection
from riskwatch.core.events import Fill

where = {"counterparty": "kraken", "account": "main", "book": "arb", "source": "desk"}
trade = {"base": "BTC", "quote": "USD", "side": "buy", "qty": Decimal("0.5")}
price = Decimal("20000.1")
fill = Fill(v=1, event_id="fill-1", ts=datetime.now(UTC), price=price, **where, **trade)
result = publish(KafkaConnection.from_env("desk"), [fill])
print(result.sent, result.refused)
