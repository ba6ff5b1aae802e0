"""Print every alert. The next run continues where this one stopped."""

from riskwatch.client import alerts
from riskwatch.contracts.connection import KafkaConnection
from riskwatch.core.outputs import AlertRaised

broker = KafkaConnection.from_env("reader")
with alerts(broker, group="pager", start="earliest") as stream:
    for message in stream:
        alert = message.output
        if isinstance(alert, AlertRaised):
            print(alert.severity, alert.scope, alert.title, alert.exposure_usd, flush=True)
