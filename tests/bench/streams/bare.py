"""What the broker and decoding alone allow: a consumer that decodes fills and drops them.

``python -m tests.bench.streams.bare COUNT``
"""

from __future__ import annotations

import asyncio
import sys
from time import perf_counter

from aiokafka import (
    AIOKafkaConsumer,
    TopicPartition,
)

from riskwatch.contracts.codec import decode
from riskwatch.contracts.topics import TOPICS
from riskwatch.worker.settings import ProcessSettings
from tests.bench.streams.load import FILLS


async def read(count: int) -> float:
    """Read and decode `count` fills; returns how many a second."""
    connection = ProcessSettings.read().connection
    consumer = AIOKafkaConsumer(
        bootstrap_servers=connection.servers, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        name = connection.topic(FILLS)
        consumer.assign([TopicPartition(name, n) for n in range(TOPICS[FILLS].partitions)])
        done, began = 0, 0.0
        while done < count:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                began = began or perf_counter()
                for record in records:
                    decode(record.value)
                done += len(records)
        return done / (perf_counter() - began)
    finally:
        await consumer.stop()


if __name__ == "__main__":
    print(asyncio.run(read(int(sys.argv[1]))))  # noqa: T201 - what the parent reads
