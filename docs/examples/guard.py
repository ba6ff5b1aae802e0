"""Ask the guard before each order, with its size and price, and keep the venue's dead-man timer refreshed."""

import os
import time

from riskwatch.client import DeadMan, KillSwitch
from riskwatch.contracts.connection import KafkaConnection

kafka = KafkaConnection.from_env("client")
redis = os.environ.get("RISKWATCH_REDIS")
deployment = os.environ.get("RISKWATCH_DEPLOYMENT")  # `riskwatch db current` prints it


def cancel_all_after(timeout_s: float) -> None:
    """Call the venue here. Raise an exception if the venue did not accept the call."""


with (
    KillSwitch("desk-1", kafka=kafka, redis=redis, deployment=deployment) as guard,
    DeadMan(cancel_all_after, 60.0, lambda: guard.allows(counterparty="kraken")),
):
    guard.wait_ready(20)
    for _ in range(int(os.environ.get("ORDERS", "1000000"))):
        answer = guard.allows(
            counterparty="kraken",
            asset=("BTC", "USDC"),
            book="arb",
            side="buy",
            usd=1_000.0,
            price=20_000.0,
        )
        if answer:
            print("send", flush=True)
        else:
            print("stop", answer.state, answer.scope, answer.decision_id, answer.reason, flush=True)
        time.sleep(0.05)
