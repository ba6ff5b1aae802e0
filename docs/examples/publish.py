"""Publish one fill to riskwatch."""

import os
from datetime import UTC, datetime
from decimal import Decimal

from riskwatch.client import publish
from riskwatch.contracts.connection import KafkaConnection
from riskwatch.core.events import Fill

servers = os.environ.get("RISKWATCH_KAFKA", "localhost:9092")
prefix = os.environ.get("RISKWATCH_TOPIC_PREFIX", "")
where = {"counterparty": "kraken", "account": "main", "book": "arb", "source": "desk"}
trade = {"base": "BTC", "quote": "USD", "side": "buy", "qty": Decimal("0.5")}
price = Decimal("20000.1")
fill = Fill(v=1, event_id="fill-1", ts=datetime.now(UTC), price=price, **where, **trade)
result = publish(KafkaConnection(servers=servers, prefix=prefix), [fill])
print(result.sent, result.refused)
