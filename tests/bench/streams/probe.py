"""News that must engage a switch, sent one by one, and the switches that come back."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiokafka import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    TopicPartition,
)

from tests.bench.streams.load import Maker, now_us

if TYPE_CHECKING:
    from riskwatch.contracts.connection import KafkaConnection

LADDER: Final = (
    ("wire", "regulatory_action", "WATCH"),
    ("wire", "withdrawals_suspended", "REDUCE"),
    ("court", "withdrawals_suspended", "HALT"),
)
"""Source, kind, and the state that follows from it and from what came before."""
LATE_S: Final = 60.0
"""How long the last switch may take before the probing gives up."""


@dataclass
class Probe:
    """One piece of news and its switch; times in seconds since 1970.

    Attributes
    ----------
    sent, arrived, told, received : float
        Handed to the producer; appended by the broker; handed to the worker's producer;
        handed to the consumer.
    """

    sent: float
    arrived: float = 0.0
    told: float = 0.0
    received: float = 0.0

    @property
    def took(self) -> float:
        """From send to receive, seconds."""
        return self.received - self.sent


class Prober:
    """Sends news of held counterparties, and waits for their switches.

    Parameters
    ----------
    connection : KafkaConnection
        The broker.
    parties : list of str
        Whose news; each climbs :data:`LADDER` once.
    every_s : float
        Seconds from one to the next, half as long to half as long again.
    """

    def __init__(self, connection: KafkaConnection, parties: list[str], every_s: float) -> None:
        self._connection = connection
        self._parties = parties
        self._every_s = every_s
        self._probes: dict[tuple[str, str], Probe] = {}
        self._waiting = 0

    def run(self) -> list[Probe]:
        """Send everything and wait for what follows.

        Raises
        ------
        TimeoutError
            If a switch does not come.
        """
        return asyncio.run(self._run())

    async def _run(self) -> list[Probe]:
        servers, name = self._connection.servers, self._connection.topic("riskwatch.killswitch")
        producer = AIOKafkaProducer(bootstrap_servers=servers)
        consumer = AIOKafkaConsumer(bootstrap_servers=servers, enable_auto_commit=False)
        await producer.start()
        await consumer.start()
        try:
            place = TopicPartition(name, 0)
            consumer.assign([place])
            await consumer.seek_to_end(place)
            await consumer.position(place)
            listening = asyncio.create_task(self._listen(consumer))
            await self._send(producer)
            await asyncio.wait_for(listening, LATE_S)
        finally:
            await producer.stop()
            await consumer.stop()
        return list(self._probes.values())

    async def _send(self, producer: Any) -> None:
        make, pick = Maker(run="probe"), random.Random(3)
        for source, kind, state in LADDER:
            for party in self._parties:
                topic, key, value = make.credit(now_us(), source, party, kind)
                probe = Probe(time.time())
                self._probes[f"counterparty:{party}", state] = probe
                sent = await producer.send_and_wait(self._connection.topic(topic), value, key=key)
                probe.arrived = sent.timestamp / 1e3
                await asyncio.sleep(self._every_s * pick.uniform(0.5, 1.5))

    async def _listen(self, consumer: Any) -> None:
        missing = len(LADDER) * len(self._parties)
        while missing:
            records = await consumer.getmany(timeout_ms=1000)
            now = time.time()
            for record in (r for batch in records.values() for r in batch):
                said = msgspec.json.decode(record.value)
                probe = self._probes.get((said["scope"], said["state"]))
                if probe is not None and not probe.received:
                    probe.received, probe.told = now, record.timestamp / 1e3
                    missing -= 1
