"""Quotes and fills with the time of the clock, half and half, at a steady rate until SIGTERM.

``python -m tests.bench.streams.background RATE RUN``; prints the rate that it kept.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from typing import Final

from aiokafka import AIOKafkaProducer

from riskwatch.contracts.topics import TOPICS
from riskwatch.worker.merge import partition_of
from riskwatch.worker.settings import ProcessSettings
from tests.bench.streams.load import Maker, now_us

SLOT_S: Final = 0.005


async def publish(rate: float, run: str) -> float:
    """Publish until told to stop; returns how many a second were confirmed."""
    connection = ProcessSettings.read().connection
    producer = AIOKafkaProducer(bootstrap_servers=connection.servers, linger_ms=1)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    make = Maker(run=run)
    await producer.start()
    began, sent = time.monotonic(), 0
    try:
        while not stop.is_set():
            due = int(rate * (time.monotonic() - began))
            while sent < due:
                topic, key, value = (make.quote if sent % 2 else make.fill)(now_us())
                await producer.send(
                    connection.topic(topic), value, key=key,
                    partition=partition_of(key, TOPICS[topic].partitions),
                )  # fmt: skip
                sent += 1
            await asyncio.sleep(SLOT_S)
        await producer.flush()
        return sent / (time.monotonic() - began)
    finally:
        await producer.stop()


if __name__ == "__main__":
    print(asyncio.run(publish(float(sys.argv[1]), sys.argv[2])))  # noqa: T201 - for the parent
