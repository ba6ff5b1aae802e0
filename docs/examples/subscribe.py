"""Print every alert. The next run continues where this one stopped."""

import os

from riskwatch.client import alerts
from riskwatch.contracts.connection import KafkaConnection
from riskwatch.core.outputs import AlertRaised

servers = os.environ.get("RISKWATCH_KAFKA", "localhost:9092")
prefix = os.environ.get("RISKWATCH_TOPIC_PREFIX", "")
broker = KafkaConnection(servers=servers, prefix=prefix)
with alerts(broker, group="pager", start="earliest") as stream:
    for message in stream:
        alert = message.output
        if isinstance(alert, AlertRaised):
            print(alert.severity, alert.scope, alert.title, alert.exposure_usd, flush=True)
