"""The kill switch of an order path: it answers from a local table, without a network call."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack

import msgspec

from riskwatch.client.fork import INHERITED, check_owner, close_after_fork
from riskwatch.client.guard.ack_publisher import AckPublisher
from riskwatch.client.guard.advisory import AdvisoryTerms
from riskwatch.client.guard.budget import Budgets, UsageFile
from riskwatch.client.guard.kafka_source import KafkaSource
from riskwatch.client.guard.limits import OrderGate, OrderLimits
from riskwatch.client.guard.naming import canonical_order, is_plain, split_pair
from riskwatch.client.guard.order_check import (
    HEDGE,
    Order,
    OrderCheck,
    check_flag,
    checked_order,
)
from riskwatch.client.guard.redis_source import RedisSource
from riskwatch.client.guard.restriction import DEPOSIT, DESTINATIONS, TRADES, Intent
from riskwatch.client.guard.trust import Terms, TrustState, steady
from riskwatch.client.guard.view import ALLOWED, CANCEL_ALLOWED, Answer, SwitchRow, View, index_rows
from riskwatch.contracts.acks import CLIENT_NAME, MAX_SCOPES, MAX_TEXT, Ack, AppliedScope, DrillAck
from riskwatch.contracts.keyfile import read_private_key
from riskwatch.contracts.names_file import shipped_names
from riskwatch.core.clock import SECOND, moment
from riskwatch.core.enums import State, strictest
from riskwatch.core.scopes import (
    ACCOUNT,
    BANK,
    BOOK,
    COUNTERPARTY,
    GROUP,
    ISSUER,
    NETWORK,
    TRADER,
    VENUE_ASSET,
    parse,
)
from riskwatch.core.text import visible
from riskwatch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from riskwatch.client.guard.restriction import Destination
    from riskwatch.client.guard.source import SwitchSource
    from riskwatch.contracts.acks import Used
    from riskwatch.contracts.connection import KafkaConnection
    from riskwatch.contracts.heartbeat import Heartbeat
    from riskwatch.core.names import NameTable
    from riskwatch.core.outputs import DrillSignalled
    from riskwatch.core.scopes import Assets


def build_acknowledgement(
    trust: TrustState,
    client: str,
    started: datetime,
    unwound: dict[str, Used],
    sources: Mapping[str, str],
) -> Ack:
    """Build the acknowledgement of what was applied until now."""
    with trust.lock:
        rows = [row for row in trust.table.rows() if row.state is not State.NORMAL]
        rows.sort(key=lambda row: (-row.state.rank, row.scope))
        beat, (epoch, seq) = trust.verified, trust.table.newest
        floor = trust.floor()
        return Ack(
            client=client,
            started=started,
            epoch=epoch,
            seq=seq,
            beat_seq=0 if beat is None else beat.seq,
            beat_ts=None if beat is None else beat.ts,
            digest=trust.table.digest(),
            floor=floor,
            why="" if floor is State.NORMAL else _text(trust.view.bound),
            scopes={row.scope: _applied_switch(row) for row in rows[:MAX_SCOPES]},
            left_out=max(0, len(rows) - MAX_SCOPES),
            unwound=unwound,
            sources={name: _text(state) for name, state in sources.items()},
            sent_ts=utc_moment(trust.calendar.wall()),
            deployment=trust.deployment.id,
        )


def _text(text: str) -> str:
    """Return a text as an acknowledgement may hold it: one visible line, not too long."""
    return visible(text)[:MAX_TEXT]


def _applied_switch(row: SwitchRow) -> AppliedScope:
    return AppliedScope(
        state=row.state,
        decision_id=row.decision_id,
        seq=row.seq,
        applied_ts=utc_moment(row.applied),
    )


def utc_moment(wall: float) -> datetime:
    """Return the moment of a number of seconds since 1970."""
    return moment(int(wall * SECOND))


# A drill at the client sets its scope to HALT on a copy of the table and checks an order there.

_FOR_EVER = float("inf")


def order_in(scope: str) -> Order:
    """Return an order that a scope binds.

    Raises
    ------
    ValueError
        If `scope` is not a valid scope.

    Examples
    --------
    >>> order_in("venue-asset:binance/USDe").counterparty
    'binance'
    """
    at = parse(scope)
    orders = {
        BOOK: Order(book=at.name),
        COUNTERPARTY: Order(counterparty=at.name),
        VENUE_ASSET: Order(counterparty=at.name, asset=at.asset),
        ACCOUNT: Order(counterparty=at.name, intent=Intent(account=at.account)),
        TRADER: Order(intent=Intent(trader=at.name)),
        # The drill's row has no members, so that it binds whatever touches a counterparty.
        GROUP: Order(counterparty=at.name),
        ISSUER: Order(counterparty=at.name),
        BANK: Order(counterparty=at.name),
        NETWORK: Order(intent=Intent(side=DEPOSIT, network=at.name)),
    }
    return orders.get(at.kind, Order(asset=at.name or None))


def run_drill(
    trust: TrustState, order_check: OrderCheck, client: str, drill: DrillSignalled
) -> DrillAck:
    """Carry out a drill on a copy of the table; the table itself does not change."""
    wall = trust.calendar.wall()
    with trust.lock:
        before, rows = trust.table.digest(), trust.table.rows()
        real = trust.view
    try:
        order = order_in(drill.scope)
    except ValueError:
        order, refused = Order(), False
    else:
        halt = SwitchRow(
            scope=drill.scope, state=State.HALT, decision_id=drill.id, why="drill", worker="",
            epoch=0, seq=0, applied=wall,
        )  # fmt: skip
        table = {row.scope: row for row in rows} | {drill.scope: halt}
        copy = View(index_rows(table.values()), _FOR_EVER, "")
        refused = not order_check.check_verified(copy, order, wall)
    applied = trust.calendar.wall()
    with trust.lock:
        after, now = trust.table.digest(), trust.view
    return DrillAck(
        drill=drill.id,
        client=client,
        scope=drill.scope,
        applied_ts=utc_moment(applied),
        refused=refused,
        cancelled=bool(CANCEL_ALLOWED),
        digest_before=before,
        digest_after=after,
        real_before=order_check.check_verified(real, order, wall).state,
        real_after=order_check.check_verified(now, order, wall).state,
        sources={name: _text(state) for name, state in trust.sources.items()},
        sent_ts=utc_moment(trust.calendar.wall()),
        deployment=trust.deployment.id,
    )


_POLL_S: Final = 0.01

_MAX_NAMES: Final = 10_000
"""Most names that are checked only once; later ones are checked for each order."""
_REDUCE: Final = State.REDUCE.rank


class OrderTerms(TypedDict, total=False):
    """Further terms of an order; what is left out is unknown.

    Attributes
    ----------
    buys, sells : str or tuple of str
        Assets that come in and that go out, where `side` and `asset` do not say it: a swap, a
        redemption, an order with more than two assets.
    top_up : bool
        Whether it is a deposit of margin to the account that it names.
    network : str
        Network of a deposit or withdrawal.
    address : str
        Address to which a withdrawal goes; see `destinations` of :class:`KillSwitch`.
    position_usd : float
        Value of the position that the order closes, USD.
    """

    buys: str | tuple[str, ...] | None
    sells: str | tuple[str, ...] | None
    top_up: bool
    network: str | None
    address: str | None
    position_usd: float | None


_TERMS: Final = OrderTerms.__optional_keys__


def _are_flags(*values: object) -> bool:
    return all(type(value) is bool for value in values)


def _are_known(known: set[str], *names: object) -> bool:
    return all(name is None or (type(name) is str and name in known) for name in names)


class KillSwitch:
    """Decides for every order whether it may go. A context manager.

    Its threads keep a local table, by Kafka, by the Redis mirror, or by both. With both, one
    subscription is enough, and each supplies what the other missed. :meth:`allows` reads only the
    local table: it uses no network and no lock, and never waits.

    The guard fails closed. Everything is at HALT until the first heartbeat whose digest agrees with
    the table. Everything is at REDUCE when no heartbeat is valid any more, no server answers, the
    machine's clock jumps, or the threads stall or die; and at HALT after `terms.reduce_s`, if that
    or the policy sets an end. The next heartbeat that agrees ends this. Cancels always pass.

    Parameters
    ----------
    client : str
        Name of this order path. It acknowledges under this name, so each order path needs its own.
        Letters, digits, ``.``, ``_`` and ``-``.
    kafka : KafkaConnection or None
        The broker.
    redis : str or None
        URL of the mirror.
    prefix : str
        Prefix of the deployment for the mirror's keys; that of `kafka` if left out.
    acks : KafkaConnection or None
        Broker for acknowledgements, by default `kafka`. Without either, nothing is acknowledged.
    signing_key : Path or None
        File of an Ed25519 private key that signs acknowledgements. `client_keys` in ``policy.toml``
        names its public half; nobody else can then acknowledge under this name.
    deployment : str or None
        Deployment to obey (`riskwatch db current` prints it). Without it, the guard obeys the first
        deployment whose heartbeat verifies the table, logs its id, and refuses all others.
    terms : Terms
        Waiting times.
    unwind_share : float
        Share of each authorised unwind that this client may use. Each client counts only its own
        orders, so the shares of all clients must add up to 1.
    used_file : Path or None
        File that stores, over restarts, what this client used of unwinds. Each client needs its own
        file. Without one, the unwind of a HALT that was effective before this process started
        cannot be used.
    hedges : mapping of str to float
        By book, USD of orders with ``hedge=True`` that may pass while no heartbeat verifies the
        table. The last known state must be no worse than WATCH.
    limits : OrderLimits or None
        Stricter limits before the trade than those that the policy sets for this client.
    destinations : mapping of str to str
        Listed addresses of withdrawals: ``own``, or ``custody`` with a listed custodian. In an
        outage withdrawals to both pass. A HALT of the firm passes those to custody.
    advisory : mapping of str to float
        Stricter terms that are tried out: ``reduce_s``, ``lost_s``, ``grace_s``, ``longest_s`` and
        ``hedges.<book>``. Answers are as if they were absent; `Answer.advised`, a counter in the
        acknowledgement and a line in the log say what they would have refused.
    names : NameTable or None
        Canonical names, by default those that riskwatch ships. They must be those of riskwatch,
        else everything is at REDUCE; :func:`riskwatch.client.read_names` reads the file that
        ``riskwatch rules names`` writes.
    clock, wall : callable, optional
        Seconds of a monotonic clock, and seconds since 1970.

    Notes
    -----
    The parameters of :meth:`allows` describe an order. What it does not state is unknown, and
    unknown is careful: without `account` the switches of all accounts of the counterparty bind it,
    and without `trader` those of all traders.

    * `counterparty`, `book`, `account`, `trader`: what it touches. A counterparty may have any
      spelling of the table of names.
    * `asset`: one asset, or base and quote of a pair, in any spelling of the table of names. An
      order with a name that nothing lists has the state that the policy gives to `unlisted`.
    * `side`: ``buy``, ``sell``, ``deposit``, or ``withdrawal`` from a venue, which passes at every
      HALT except that of the firm and of market risk of its account. Of a pair, ``buy`` buys the
      first asset with the second.
    * `reduces`: whether it can only reduce the exposure, in every scope that it touches, or by
      scope. Only scopes at REDUCE or worse are asked, and a scope that a mapping lacks is not
      reduced. Compute it by :func:`riskwatch.client.reducing.reducing`; do not rely on a trader's
      declaration.
    * `cancel`: whether it removes an order from a book. A cancel always passes.
    * `hedge`: whether it reduces the net delta of its book; see `hedges`.
    * `usd`, `slip_bp`, `price`: size, worst accepted price in bp from the reference, and price (in
      the quote, or USD). An authorised unwind needs the first two; a hedge in an outage needs the
      size, and so do closing orders at a HALT of claims. A true answer counts as a use of caps and
      headroom.

    Raises
    ------
    ConfigError
        If there is nothing to subscribe to, or a parameter is out of range.
    SigningError
        If the signing key cannot be read, or others can read it.

    Examples
    --------
    >>> with KillSwitch("desk-1", kafka=KafkaConnection()) as guard:  # doctest: +SKIP
    ...     answer = guard.allows(counterparty="kraken", asset=("BTC", "USD"), book="arb")
    ...     if not answer:
    ...         print(answer.reason, answer.decision_id)
    """

    def __init__(
        self,
        client: str,
        *,
        kafka: KafkaConnection | None = None,
        redis: str | None = None,
        prefix: str | None = None,
        acks: KafkaConnection | None = None,
        signing_key: Path | None = None,
        deployment: str | None = None,
        terms: Terms | None = None,
        unwind_share: float = 1.0,
        used_file: Path | None = None,
        hedges: Mapping[str, float] | None = None,
        limits: OrderLimits | None = None,
        destinations: Mapping[str, Destination] | None = None,
        advisory: Mapping[str, float] | None = None,
        names: NameTable | None = None,
        clock: Callable[[], float] | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        if CLIENT_NAME.fullmatch(client) is None:
            raise ConfigError("kill switch", "client", "letters, digits, '.', '_' or '-'", client)
        if kafka is None and redis is None:
            raise ConfigError("kill switch", "kafka", "a connection, or redis a URL")
        if not 0.0 <= unwind_share <= 1.0:
            raise ConfigError("kill switch", "unwind_share", "a share from 0 to 1", unwind_share)
        for book, cap in (hedges or {}).items():
            if not 0.0 <= cap < inf:  # no amount exceeds a cap of NaN, so every order would pass
                raise ConfigError("kill switch", f"hedges.{book}", "USD, 0 or more", cap)
        key = None if signing_key is None else read_private_key(signing_key)
        for address, kind in (destinations or {}).items():
            if type(address) is not str or kind not in DESTINATIONS:
                raise ConfigError("kill switch", f"destinations.{address}", "own or custody", kind)
        self.client = client
        self.started = datetime.now(UTC)
        self._pid = os.getpid()
        self._clock = clock or steady()
        self._began = wall()
        table = shipped_names() if names is None else names
        self.trust = TrustState(terms or Terms(), self._clock, wall, deployment, table)
        self._hedge_books = list(hedges or {})
        self._advisory = (
            AdvisoryTerms(advisory, self.trust.terms, hedges or {}) if advisory else None
        )
        skew_s = self.trust.terms.skew_s
        self._gate = OrderGate(client, limits, self._began, self._clock, skew_s)
        self.trust.accepted = self._accepted
        self._names: set[str] = set()
        self._parties: set[str] = set()
        self._assets: set[str | tuple[str, ...]] = set()
        self._naming: tuple[object, ...] = ()
        self._sources: list[SwitchSource] = []
        if redis is not None:
            named = prefix if prefix is not None else kafka.prefix if kafka else ""
            self._sources.append(RedisSource(self.trust, redis, named))
        if kafka is not None:
            self._sources.append(KafkaSource(self.trust, kafka, self._drilled))
        # Created after all checks that may raise, because it holds a lock.
        self._budgets = Budgets(None if used_file is None else UsageFile(used_file, client))
        self._order_check = OrderCheck(self._budgets, unwind_share, hedges or {}, destinations)
        to = acks or kafka
        self._ack_publisher = (
            None if to is None else AckPublisher(to, client, self.acknowledgement, key)
        )
        self.trust.changed = self._changed
        close_after_fork(self)

    def allows(  # noqa: C901, PLR0911 - one function, because a call costs a fifth of an answer
        self,
        *,
        counterparty: str | None = None,
        asset: Assets = None,
        book: str | None = None,
        side: str | None = None,
        reduces: bool | Mapping[str, bool] = False,
        cancel: bool = False,
        hedge: bool = False,
        usd: float | None = None,
        slip_bp: float | None = None,
        price: float | None = None,
        account: str | None = None,
        trader: str | None = None,
        **terms: Unpack[OrderTerms],
    ) -> Answer:
        """Return whether an order may go. Any thread may call it; it makes no network call.

        :class:`KillSwitch` explains the parameters, :class:`OrderTerms` the others in `terms`. A
        value of another type is refused, and the reason names the parameter.
        """
        if cancel is True:
            return CANCEL_ALLOWED
        view, names = self.trust.view, self._names
        try:
            named = account is trader is None or _are_known(names, account, trader)
            if terms or self._advisory is not None or not named:
                known = False
            elif self._gate.on:
                known = False
                if (
                    cancel is reduces is hedge is False
                    and (asset is None or asset in self._assets)
                    and (counterparty is None or counterparty in self._parties)
                ):
                    quick = self._gate.quick(
                        view, book, counterparty, asset, side, usd, price, account, trader
                    )
                    if quick is not None:
                        return quick
            else:
                known = (
                    (cancel is reduces is hedge is False or _are_flags(cancel, reduces, hedge))
                    and (book is None or (type(book) is str and book in names))
                    and (
                        counterparty is None
                        or (type(counterparty) is str and counterparty in self._parties)
                    )
                    and (asset is None or asset in self._assets)
                    and (side is None or (type(side) is str and side in TRADES))
                    and (usd is None or type(usd) is float)
                    and (slip_bp is None or type(slip_bp) is float)
                    and (price is None or type(price) is float)
                )
        except TypeError:  # an asset without a hash, such as a list
            known = False
        if known and self._clock() < view.until:
            # The simple cases of `OrderCheck.check_verified`, repeated here for speed.
            if view.quiet:
                return ALLOWED
            row = view.index.find(book, counterparty, asset, account, trader)
            if row is None:
                return ALLOWED
            if (rank := row.rank) == 1 or (rank == _REDUCE and reduces):
                return row.passed
            if side is None and usd is None and not (reduces or hedge):
                return row.refused
        order = (book, counterparty, asset, side, reduces, hedge, usd, slip_bp, price)
        return self._check(terms, cancel, *order, account, trader)

    def _check(self, terms: OrderTerms, cancel: object, *values: Any) -> Answer:
        """Check every value of an order, and the order in full."""
        if not terms.keys() <= _TERMS:
            raise TypeError(f"{', '.join(sorted(terms.keys() - _TERMS))}: no term of an order")
        names, us = self.trust.names, round(self.trust.calendar.wall() * SECOND)
        try:
            if check_flag("cancel", cancel):
                return CANCEL_ALLOWED
            book, counterparty, asset, *others = values
            asset = split_pair(asset) if names.digest else asset
            stated = checked_order(book, counterparty, asset, *others, terms=terms)
        except ValueError as error:
            return self._order_check.refuse_unreadable(str(error))
        order = canonical_order(stated, names, self.trust.policy.unlisted, us)
        if is_plain(stated, order, names):
            self._remember(order)
        view = self.trust.view
        if self._clock() < view.until:
            answer = self._order_check.check_verified(view, order, self.trust.calendar.wall())
        else:
            answer = self._check_unverified(order)
        if answer.allowed:
            left = self._order_check.left_scopes(view, order) if self._gate.on else ()
            answer = self._gate.check(order, self._clock(), answer, left)
        if self._advisory is None:
            return answer
        return self._advisory.note(answer, order, self.trust, self._clock())

    def _remember(self, order: Order) -> None:
        """Add the names of an order to those that need no second check."""
        if len(self._names) + len(self._parties) + len(self._assets) < _MAX_NAMES:
            of = order.intent
            names = (order.book, of.account, of.trader)
            self._names.update(name for name in names if name)
            if order.counterparty is not None:
                self._parties.add(order.counterparty)
            if order.asset is not None:
                self._assets.add(order.asset)

    def _check_unverified(self, order: Order) -> Answer:
        view, now = self.trust.view, self._clock()
        floor = self.trust.floor_since(view.until, now)
        why = f"{floor.value}: {view.bound}"
        note = self.trust.note
        return self._order_check.check_unverified(
            view, order, floor, f"{why} ({note})" if note else why, self.trust.calendar.wall(),
            unlisted=now < view.until + self.trust.unlisted_s,
        )  # fmt: skip

    def state(self) -> State:
        """Return the state of the whole firm: that of its own scope, or that of failing closed."""
        row = self.trust.view.index.firm
        floor = self.trust.floor()
        return floor if row is None else strictest((floor, row.row.state))

    @property
    def deployment(self) -> str:
        """Deployment that it obeys; empty while it was given none and has verified none."""
        return self.trust.deployment.id

    @property
    def ready(self) -> bool:
        """Whether the table is verified now."""
        return self.trust.floor() is State.NORMAL

    def wait_ready(self, timeout: float = 20.0) -> bool:
        """Wait until the table is verified for the first time; return whether it is.

        Parameters
        ----------
        timeout : float
            Most seconds to wait. With the mirror alone it may take until the next heartbeat.
        """
        until = self._clock() + timeout
        while not self.ready and self._clock() < until:
            time.sleep(_POLL_S)
        return self.ready

    def acknowledgement(self) -> Ack:
        """Return the acknowledgement of what this order path has applied."""
        sources = dict(self.trust.sources)
        if self._ack_publisher is not None and self._ack_publisher.trouble:
            sources["acks"] = self._ack_publisher.trouble
        said = build_acknowledgement(
            self.trust, self.client, self.started, self._budgets.used(), sources
        )
        advised = {} if self._advisory is None else self._advisory.refused()
        return msgspec.structs.replace(said, advised=advised) if advised else said

    def start(self) -> Self:
        """Start the subscriptions.

        Raises
        ------
        InheritedError
            If another process created this kill switch.
        """
        check_owner(self._pid, "kill switch")
        for source in self._sources:
            source.start()
        if self._ack_publisher is not None:
            self._ack_publisher.start()
        return self

    def close(self) -> None:
        """Stop the subscriptions; everything is at HALT from then on."""
        for source in self._sources:
            source.stop.set()
        for source in self._sources:
            source.close()
        if self._ack_publisher is not None:
            self._ack_publisher.close()
        self.trust.end()
        self._budgets.close()

    def after_fork(self) -> None:
        """Refuse every order in a child process, which has no threads that renew the table.

        The child must create a kill switch of its own, under another client name.
        """
        self.trust.inherit(INHERITED)
        self._budgets.inherit()
        self._gate.inherit()
        if self._advisory is not None:
            self._advisory.inherit()
        if self._ack_publisher is not None:
            self._ack_publisher.inherit()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _accepted(self, beat: Heartbeat) -> None:
        """Take the limits before the trade of a heartbeat that verifies the table."""
        wall, names = self.trust.calendar.wall(), self.trust.names
        self._gate.adopt(beat, self._clock(), wall)
        unlisted = self.trust.policy.unlisted
        naming = (names.digest, names.period(round(wall * SECOND)), unlisted)
        if naming != self._naming:  # what was plain may mean something else now
            self._naming = naming
            self._names, self._parties, self._assets = set(), set(), set()

    def _begin(self) -> None:
        """Close older unwinds once the first heartbeat newer than this process arrives."""
        beat = self.trust.verified
        latest = self._began + self.trust.terms.skew_s  # tolerates clocks that differ
        if beat is not None and beat.ts.timestamp() >= latest:
            decisions = [row.decision_id for row in self.trust.table.rows()]
            self._budgets.begin(decisions, self.trust.calendar.wall())

    def _changed(self) -> None:
        self._order_check.policy = self.trust.policy
        if not self._budgets.begun:
            self._begin()
        if self.trust.floor() is State.NORMAL:
            for book in self._hedge_books:
                self._budgets.forget(f"{HEDGE}{book}")
                if self._advisory is not None:
                    self._advisory.forget_hedges(book)
        if self._ack_publisher is not None:
            self._ack_publisher.changed()

    def _drilled(self, drill: DrillSignalled) -> None:
        if self._ack_publisher is not None:
            self._ack_publisher.add_drill(
                run_drill(self.trust, self._order_check, self.client, drill)
            )
