"""Faust as the host of a worker: consumer group, rebalances, supervision, signals. Nothing else.

Faust's own path (stream, agent, event) costs a fifth of a millisecond for each message, and
acknowledges one whose agent raised. Here its consumer hands over whole fetches, and the offsets
in SQL decide where reading goes on. No tables, no changelogs, no codecs.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import ssl
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import faust
import structlog
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer
from mode import Service

from riskwatch.errors import RiskwatchError, StoppedError, StreamIdentityError
from riskwatch.worker.merge import InboundMessage

if TYPE_CHECKING:
    from collections.abc import Callable

    from faust.types import TP

    from riskwatch.contracts.connection import KafkaConnection
    from riskwatch.worker.worker import Worker

POLL_S: Final = 0.5
"""How long one fetch may wait for a message."""
FETCH_MS: Final = 25
"""How long the broker may wait for a message before it answers a fetch, milliseconds."""
IDLE_WAIT_S: Final = 0.02
"""How long to wait where there is nothing to read or to do."""
COMMIT_OFFSETS_S: Final = 5.0
"""How often the broker is told the offsets, for those who look at it."""
SESSION_S: Final = 10.0
"""After such a silence the group gives a member's partitions to the others."""
THREAD_SWITCH_S: Final = 0.0005
"""How long a thread may keep the interpreter from the others.

The working thread lets go of it at each answer of the database and has to win it back from the
consumer; with Python's five milliseconds, a commit of a dozen statements takes ten times as long.
"""
GC_THRESHOLDS: Final = (20_000, 20, 50)
"""When Python looks for cycles among objects: made and not freed, then rounds by generation.

What a library made when it was imported lives as long as the process and is left out: looking
through that stopped a worker for a third of a second, in the midst of a batch.
"""
DAY_S: Final = 86_400.0
"""A consumer that waits for the database is not dead: its group waits with it."""
EXIT_EXPECTED: Final = 2
EXIT_BUG: Final = 70
"""Exit codes: what riskwatch says of itself, and what nobody foresaw."""
T = TypeVar("T")

log = structlog.get_logger("riskwatch.host")


class Host:
    """What consumer and pump of one process share.

    Parameters
    ----------
    worker : Worker
        What the process does.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.reassigned = False
        self.opening = False
        self._awake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="desk")

    async def in_thread(self, act: Callable[[], T]) -> T:
        """Let the working thread do something, after what it does now."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, act)

    def wake(self) -> None:
        """Say that there is something to do."""
        self._awake.set()

    async def wait_for_work(self) -> None:
        """Wait until there is something to do, or time has passed."""
        try:
            await asyncio.wait_for(self._awake.wait(), IDLE_WAIT_S)
        except TimeoutError:
            return
        self._awake.clear()


class PromptThread(AIOKafkaConsumerThread):
    """The consumer's thread, with fetches that come back soon.

    A partition that was just emptied is not asked for again until the fetch of the others came
    back; with Faust's second and a half, a message could wait as long as that.
    """

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_MS  # noqa: SLF001 - it has no setting
        return consumer


class BatchConsumer(Consumer):
    """Hands over what a fetch brought, as it is, and reads from where the desk says."""

    host: Host

    def _new_consumer_thread(self) -> PromptThread:
        return PromptThread(self, loop=self.loop, beacon=self.beacon)

    async def perform_seek(self) -> None:
        """Stand still until the desk has opened what was assigned."""
        self.pause_partitions(self.assignment())
        self.host.reassigned = True
        self.host.wake()

    async def open(self) -> None:
        """Have the desk open the assigned partitions, and read each from where it says."""
        host = self.host
        host.reassigned, host.opening = False, True
        plain, desk = host.worker.connection.plain, host.worker.desk
        assigned = {(plain(tp.topic), tp.partition): tp for tp in self.assignment()}
        positions = await host.in_thread(lambda: desk.assign(assigned))
        still = self.assignment()
        here = {assigned[p]: offset for p, offset in positions.items() if assigned[p] in still}
        for tp, offset in here.items():
            await self.seek(tp, offset)
        host.opening = False
        self.resume_partitions(here)

    async def commit_offsets(self) -> None:
        """Tell the broker the offsets, as advice to people; what counts is in SQL."""
        worker = self.host.worker
        plain = worker.connection.plain
        offsets = await self.host.in_thread(worker.desk.offsets)
        places = {tp: (plain(tp.topic), tp.partition) for tp in self.assignment()}
        known = {tp: offsets[place] for tp, place in places.items() if place in offsets}
        if known:
            await self._commit(known)

    async def _drain_messages(self, fetcher: Any) -> None:
        """Fetch for as long as the service runs; partitions that have enough waiting pause."""
        worker = self.host.worker
        plain, desk = worker.connection.plain, worker.desk
        passed: dict[TP, int] = {}
        while not (self.should_stop or fetcher.should_stop):
            if not self.flow_active or self.host.reassigned or self.host.opening:
                await asyncio.sleep(IDLE_WAIT_S)
                continue
            self._balance()
            if not self._get_active_partitions():
                await asyncio.sleep(IDLE_WAIT_S)
                continue
            generation = self.app.consumer_generation_id
            starts = {tp: self._behind(tp) for tp in self.assignment()}
            records = await self._fetched()
            if self._moved(generation):
                # A fetch that outlived a rebalance: it may have brought what lies behind the new
                # positions, and passed it. Reading goes on where the desk says, once more.
                self.host.reassigned = True
                self.host.wake()
                continue
            for tp in self.assignment():
                fetched, behind = records.get(tp, ()), self._behind(tp)
                if not fetched and behind == passed.get(tp, 0):
                    continue
                passed[tp] = behind
                messages = [
                    InboundMessage(
                        r.offset, max(0, r.timestamp * 1000), r.key, r.value, tuple(r.headers)
                    )
                    for r in fetched
                ]
                end = max(self.highwater(tp) or 0, behind)
                where = (plain(tp.topic), tp.partition)
                desk.enqueue(where, messages, end, behind, starts.get(tp, 0))
            if records:
                self.host.wake()

    def _moved(self, generation: int) -> bool:
        """Whether the partitions are others than they were, or are being given anew."""
        host = self.host
        return generation != self.app.consumer_generation_id or host.reassigned or host.opening

    async def _fetched(self) -> dict[TP, Any]:
        """Wait for messages; ends the process where the broker does not have what comes next."""
        try:
            records, _ = await self._wait_next_records(POLL_S)
        except OffsetOutOfRangeError as error:
            lost = ", ".join(f"{tp.topic}/{tp.partition} {at}" for tp, at in error.args[0].items())
            said = f"{lost}: the broker does not have this offset (see docs/operations.md)"
            end_process(self.host.worker, StreamIdentityError(said))
        except NoOffsetForPartitionError as error:
            # The group gave us partitions in the midst of a fetch. What it knows of offsets is
            # advice, and often nothing: reading goes on where the desk says, once it has opened.
            log.info("assigned in the midst of a fetch", unknown=str(error))
            return {}
        return dict(records or {})

    def _behind(self, tp: TP) -> int:
        """Offset behind all that was fetched and handed over of a partition; 0 if nothing was.

        The end of a transaction is an offset without a message.
        """
        consumer = self._thread._ensure_consumer()  # noqa: SLF001
        assigned = consumer._subscription.subscription.assignment  # noqa: SLF001
        state = None if assigned is None else assigned.state_value(tp)
        return state.position if state is not None and state.has_valid_position else 0

    def _balance(self) -> None:
        """Pause partitions that have enough waiting in memory, and let the others go on."""
        worker = self.host.worker
        plain, desk = worker.connection.plain, worker.desk
        assigned = self.assignment()
        full = {tp for tp in assigned if desk.is_full((plain(tp.topic), tp.partition))}
        active: set[TP] = self._get_active_partitions()
        self.pause_partitions(full & active)
        self.resume_partitions(assigned - full - active)


class BatchApp(faust.App):
    """A Faust app whose consumer is a :class:`BatchConsumer`."""

    host: Host

    def _new_consumer(self) -> BatchConsumer:
        consumer = BatchConsumer(
            self.transport,
            callback=self.topics.on_message,
            on_partitions_revoked=self._on_partitions_revoked,
            on_partitions_assigned=self._on_partitions_assigned,
            beacon=self.beacon,
        )
        consumer.host = self.host
        return consumer


class Pump(Service):
    """Lets the worker take its turns, until something ends it."""

    def __init__(self, app: BatchApp, **kwargs: Any) -> None:
        self.app = app
        super().__init__(**kwargs)

    @Service.task
    async def _run(self) -> None:
        host = self.app.host
        told = 0.0
        if host.worker.stop.is_set():
            signal.raise_signal(signal.SIGTERM)  # it came before Faust listened
            return
        try:
            while not self.should_stop:
                if host.reassigned:
                    await self._consumer.open()
                if await host.in_thread(host.worker.run_once):
                    continue
                await host.wait_for_work()
                if host.worker.shares_group and self.loop.time() - told > COMMIT_OFFSETS_S:
                    told = self.loop.time()
                    await self._consumer.commit_offsets()
        except StoppedError:
            return  # asked to stop while it waited for a server
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends the process
            end_process(host.worker, error)

    @property
    def _consumer(self) -> BatchConsumer:
        consumer = self.app.consumer
        assert isinstance(consumer, BatchConsumer)
        return consumer

    async def on_stop(self) -> None:
        """End what the working thread does, and give the leases back."""
        host = self.app.host
        host.worker.stop.set()
        await host.in_thread(host.worker.close)


def end_process(worker: Worker, error: Exception) -> NoReturn:
    """End the process at once: what is true is in SQL, and starting again is how one recovers.

    Unwinding the consumer would take a minute where the broker is the trouble.
    """
    worker.failure = error
    expected = isinstance(error, RiskwatchError)
    log.error(
        "ends",
        worker=worker.kind,
        error=f"{type(error).__name__}: {error}",
        exc_info=None if expected else error,
    )
    sys.stderr.write(f"riskwatch: {error}\n")
    sys.stderr.flush()
    os._exit(EXIT_EXPECTED if expected else EXIT_BUG)


def make_app(worker: Worker) -> BatchApp:
    """Make the Faust app of a worker."""
    app = BatchApp(
        worker.group,
        broker=[f"kafka://{server.strip()}" for server in worker.connection.servers.split(",")],
        broker_credentials=credentials(worker.connection),
        broker_session_timeout=SESSION_S,
        broker_heartbeat_interval=SESSION_S / 4,
        broker_max_poll_interval=DAY_S,
        # Every offset to read from is ours: one that is gone is never made good by skipping.
        consumer_auto_offset_reset="none",
        datadir=tempfile.gettempdir(),
        store="memory://",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        web_in_thread=False,
    )
    app.host = Host(worker)
    app.finalize()
    app.topics.add(app.topic(*[worker.connection.topic(name) for name in worker.topics]))

    async def revoked(*_: Any, **__: Any) -> None:
        await app.host.in_thread(worker.desk.suspend)

    app.on_partitions_revoked.connect(revoked)
    app.service(_pump_of(app))
    return app


def _pump_of(app: BatchApp) -> type[Pump]:
    """Faust makes its services from classes: one that knows its app."""

    class OwnPump(Pump):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(app, **kwargs)

    return OwnPump


def credentials(connection: KafkaConnection) -> Any:
    """Turn the connection into what Faust calls credentials."""
    context = None
    if connection.tls:
        context = ssl.create_default_context(cafile=connection.cafile)
        if connection.certfile:
            context.load_cert_chain(connection.certfile, connection.keyfile)
    if connection.sasl:
        return faust.SASLCredentials(
            username=connection.username,
            password=connection.password,
            mechanism=connection.mechanism,
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context)


def run(worker: Worker) -> None:
    """Run a worker until a signal or a failure ends it."""
    sys.setswitchinterval(THREAD_SWITCH_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    app = make_app(worker)
    host = faust.Worker(
        app, quiet=True, override_logging=False, redirect_stdouts=False, loglevel="warning"
    )
    host.spinner = None
    try:
        host.execute_from_commandline()
    except SystemExit as done:  # how it says that it is done
        if done.code:
            raise
    except Exception as error:  # noqa: BLE001 - Faust's own trouble
        end_process(worker, error)
