"""The Faust host of a worker: consumer group, rebalances, supervision and signals.

Faust's own path (stream, agent, event) costs 0.2 ms per message, and acknowledges a message whose
agent raised. Here the consumer passes on whole fetches, and the offsets in SQL decide where
reading continues. The host uses no tables, no changelogs and no codecs of Faust.
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
"""Longest wait of one fetch for a message, seconds."""
FETCH_MS: Final = 25
"""Longest wait of the broker for a message before it answers a fetch, milliseconds."""
IDLE_WAIT_S: Final = 0.02
"""Pause when there is nothing to read or to do, seconds."""
COMMIT_OFFSETS_S: Final = 5.0
"""Interval at which offsets are committed at the broker, for people who look there; seconds."""
SESSION_S: Final = 10.0
"""Time without a heartbeat after which the group reassigns a member's partitions, seconds."""
THREAD_SWITCH_S: Final = 0.0005
"""Switch interval of Python's threads, seconds.

The working thread releases the interpreter lock at each answer of the database and must take it
back from the consumer. With Python's default of 5 ms, a commit of a dozen statements takes ten
times as long.
"""
GC_THRESHOLDS: Final = (20_000, 20, 50)
"""Thresholds of Python's garbage collector: net new objects, then rounds by generation.

Objects that libraries make at import live as long as the process, and are excluded (gc.freeze): a
collection through them stopped a worker for a third of a second, in the middle of a batch.
"""
DAY_S: Final = 86_400.0
"""Longest time between polls, seconds. A consumer that waits for the database is not dead."""
EXIT_EXPECTED: Final = 2
EXIT_BUG: Final = 70
"""Exit codes: of an error of riskwatch's own kind, and of any other exception."""
T = TypeVar("T")

log = structlog.get_logger("riskwatch.host")


class Host:
    """State that the consumer and the pump of one process share.

    Parameters
    ----------
    worker : Worker
        The worker that the process runs.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.reassigned = False
        self.opening = False
        self._awake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="desk")

    async def in_thread(self, act: Callable[[], T]) -> T:
        """Call `act` in the working thread, after its present call."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, act)

    def wake(self) -> None:
        """Signal that there is work."""
        self._awake.set()

    async def wait_for_work(self) -> None:
        """Wait for a signal of :meth:`wake`, or for :data:`IDLE_WAIT_S`."""
        try:
            await asyncio.wait_for(self._awake.wait(), IDLE_WAIT_S)
        except TimeoutError:
            return
        self._awake.clear()


class PromptThread(AIOKafkaConsumerThread):
    """The consumer thread, with short fetches.

    A partition that was just emptied is not fetched again until the fetch of the others returns.
    With Faust's default of 1.5 s, a message could wait as long as that.
    """

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_MS  # noqa: SLF001 - it has no setting
        return consumer


class BatchConsumer(Consumer):
    """Passes fetches unchanged to the partition manager, and reads from the offsets it returns."""

    host: Host

    def _new_consumer_thread(self) -> PromptThread:
        return PromptThread(self, loop=self.loop, beacon=self.beacon)

    async def perform_seek(self) -> None:
        """Pause until the partition manager has opened the assigned partitions."""
        self.pause_partitions(self.assignment())
        self.host.reassigned = True
        self.host.wake()

    async def open(self) -> None:
        """Open the assigned partitions in the partition manager, and seek to its offsets."""
        host = self.host
        host.reassigned, host.opening = False, True
        plain, manager = host.worker.connection.plain, host.worker.partitions
        assigned = {(plain(tp.topic), tp.partition): tp for tp in self.assignment()}
        positions = await host.in_thread(lambda: manager.assign(assigned))
        current = self.assignment()
        offsets = {assigned[p]: offset for p, offset in positions.items() if assigned[p] in current}
        for tp, offset in offsets.items():
            await self.seek(tp, offset)
        host.opening = False
        self.resume_partitions(offsets)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Check nothing, every few seconds.

        Faust would look for the progress of its agents, which this host does not have, and report
        a healthy worker as hanging. ``/live`` and ``/ready`` report one that does not work.
        """

    async def commit_offsets(self) -> None:
        """Commit the offsets at the broker, for people who look there. Only those in SQL count."""
        worker = self.host.worker
        plain = worker.connection.plain
        offsets = await self.host.in_thread(worker.partitions.offsets)
        places = {tp: (plain(tp.topic), tp.partition) for tp in self.assignment()}
        known = {tp: offsets[place] for tp, place in places.items() if place in offsets}
        if known:
            await self._commit(known)

    async def _drain_messages(self, fetcher: Any) -> None:
        """Fetch while the service runs. Partitions with a full buffer pause."""
        worker = self.host.worker
        plain, manager = worker.connection.plain, worker.partitions
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
                # The fetch outlived a rebalance: it may hold messages behind the new positions,
                # and have moved beyond them. Open again, and read from the stored offsets.
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
                manager.enqueue(where, messages, end, behind, starts.get(tp, 0))
            if records:
                self.host.wake()

    def _moved(self, generation: int) -> bool:
        """Whether the assigned partitions changed, or are about to change."""
        host = self.host
        return generation != self.app.consumer_generation_id or host.reassigned or host.opening

    async def _fetched(self) -> dict[TP, Any]:
        """Wait for messages. End the process if the broker lacks the next offset."""
        try:
            records, _ = await self._wait_next_records(POLL_S)
        except OffsetOutOfRangeError as error:
            lost = ", ".join(f"{tp.topic}/{tp.partition} {at}" for tp, at in error.args[0].items())
            text = f"{lost}: the broker does not have this offset (see docs/operations.md)"
            end_process(self.host.worker, StreamIdentityError(text))
        except NoOffsetForPartitionError as error:
            # The group assigned partitions during a fetch. Its offsets do not count and are often
            # missing: reading continues once the partition manager has opened the partitions.
            log.info("assigned in the midst of a fetch", unknown=str(error))
            return {}
        return dict(records or {})

    def _behind(self, tp: TP) -> int:
        """Return the offset behind the fetched messages of a partition; 0 if there are none.

        The end of a transaction is an offset without a message.
        """
        consumer = self._thread._ensure_consumer()  # noqa: SLF001
        assigned = consumer._subscription.subscription.assignment  # noqa: SLF001
        state = None if assigned is None else assigned.state_value(tp)
        return state.position if state is not None and state.has_valid_position else 0

    def _balance(self) -> None:
        """Pause partitions with a full buffer, and resume the others."""
        worker = self.host.worker
        plain, manager = worker.connection.plain, worker.partitions
        assigned = self.assignment()
        full = {tp for tp in assigned if manager.is_full((plain(tp.topic), tp.partition))}
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
    """Runs the iterations of the worker until it stops or fails."""

    def __init__(self, app: BatchApp, **kwargs: Any) -> None:
        self.app = app
        super().__init__(**kwargs)

    @Service.task
    async def _run(self) -> None:
        host = self.app.host
        committed_s = 0.0
        if host.worker.stop.is_set():
            signal.raise_signal(signal.SIGTERM)  # it came before Faust set its handler
            return
        try:
            while not self.should_stop:
                if host.reassigned:
                    await self._consumer.open()
                if await host.in_thread(host.worker.run_once):
                    continue
                await host.wait_for_work()
                if host.worker.shares_group and self.loop.time() - committed_s > COMMIT_OFFSETS_S:
                    committed_s = self.loop.time()
                    await self._consumer.commit_offsets()
        except StoppedError:
            return  # the process was asked to stop while it waited for a server
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends the process
            end_process(host.worker, error)

    @property
    def _consumer(self) -> BatchConsumer:
        consumer = self.app.consumer
        assert isinstance(consumer, BatchConsumer)
        return consumer

    async def on_stop(self) -> None:
        """Stop the working thread, and release the leases."""
        host = self.app.host
        host.worker.stop.set()
        await host.in_thread(host.worker.close)


def end_process(worker: Worker, error: Exception) -> NoReturn:
    """End the process at once. All committed state is in SQL, and a restart recovers from it.

    An orderly stop of the consumer would take a minute if the broker is the trouble.
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
    """Return the Faust app of a worker."""
    app = BatchApp(
        worker.group,
        broker=[f"kafka://{server.strip()}" for server in worker.connection.servers.split(",")],
        broker_credentials=credentials(worker.connection),
        broker_session_timeout=SESSION_S,
        broker_heartbeat_interval=SESSION_S / 4,
        broker_max_poll_interval=DAY_S,
        # All offsets come from SQL. The consumer must never skip an offset that is gone.
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
        await app.host.in_thread(worker.partitions.suspend)

    app.on_partitions_revoked.connect(revoked)
    app.service(_pump_of(app))
    return app


def _pump_of(app: BatchApp) -> type[Pump]:
    """Return a pump class for one app, because Faust creates its services from classes."""

    class OwnPump(Pump):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(app, **kwargs)

    return OwnPump


def credentials(connection: KafkaConnection) -> Any:
    """Return Faust's credentials for a connection; ``None`` for plain text."""
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
    except SystemExit as done:  # Faust ends this way
        if done.code:
            raise
    except Exception as error:  # noqa: BLE001 - a failure of Faust itself
        end_process(worker, error)
