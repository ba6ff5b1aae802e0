"""Limits before the trade in the worker: it measures headroom and grants it with each heartbeat.

The leader knows what it granted. It does not know what the leader before granted. So a new leader
grants nothing until all older grants have ended, and facts of every venue show what was used.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.contracts.pretrade import ClientLimits, Mid, PretradeTable, ScopeLimits
from riskwatch.core.clock import SECOND, moment
from riskwatch.core.enums import State
from riskwatch.core.money import usd
from riskwatch.core.risk.grants import GrantLedger, Grants
from riskwatch.core.risk.headroom import measure_headroom, subjects_with_binds
from riskwatch.core.risk.limits import LimitBook
from riskwatch.core.scopes import ASSET, BANK, COUNTERPARTY, FIRM, GROUP, ISSUER, kind_of_scope

if TYPE_CHECKING:
    from collections.abc import Callable

    from riskwatch.config.config import Config
    from riskwatch.core.risk.headroom import LimitHeadroom
    from riskwatch.core.risk.pretrade import PretradeConfig
    from riskwatch.core.risk.state import RiskState

MARGIN_S: Final = 5.0
"""How long after its end a grant may still be in use, as clocks differ, seconds."""
MAX_BYTES: Final = 500_000
"""Most bytes of an encoded table; a broker takes messages of a million bytes."""

_BREACH: Final = "limit_ratio"
"""Feature of the rules about a breach of a limit."""


class PretradeMaker:
    """Makes the table of limits before the trade of each heartbeat.

    Parameters
    ----------
    config : Config
        The configuration.
    clock : callable
        Steady seconds.
    """

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        found = config.policy.risk.pretrade
        self._config = config
        self._terms: PretradeConfig | None = None if found is msgspec.UNSET else found
        self._limits = LimitBook(config.limits, config.reference, config.policy.risk)
        self._binds = dict(subjects_with_binds(config.reference))
        self._restrictions = _breach_restrictions(config)
        self._clock = clock
        self._ledger = GrantLedger()
        self._epoch = 0
        self._grants_from = self._facts_from = 0.0
        self._has_granted = False
        self.measured: list[LimitHeadroom] = []
        """The headroom of the last table, by scope."""

    @property
    def on(self) -> bool:
        """Whether the policy names a client."""
        return self._terms is not None and bool(self._terms.clients)

    def table(self, state: RiskState, epoch: int, now_us: int) -> PretradeTable:
        """Return the table of a heartbeat.

        Parameters
        ----------
        state : RiskState
            The committed state of the risk stage.
        epoch : int
            Epoch of the lease. A new one means that another process may have granted.
        now_us : int
            Time of the heartbeat, microseconds.
        """
        terms, now = self._terms, self._clock()
        assert terms is not None
        life_s = terms.grant_s + MARGIN_S
        facts_until = now_us / SECOND + life_s + terms.settle_s
        if epoch != self._epoch:
            self._epoch, self._ledger = epoch, GrantLedger()
            self._grants_from, self._facts_from = now + life_s, facts_until
            self._has_granted = False
        found = measure_headroom(state, self._config.reference, self._limits)
        self.measured = [found[scope] for scope in sorted(found)]
        table = self._measured_table(state, terms, now_us)
        fault = table.fault
        known = _venues(table)
        late = [name for name, until in known.items() if until < self._facts_from]
        if now < self._grants_from:
            rest = self._grants_from - now
            fault = f"a new leader grants nothing until older grants end, {rest:.0f} s from now"
        elif late and not self._has_granted:
            fault = f"a new leader grants nothing until facts of {', '.join(late)} are newer"
        elif len(msgspec.json.encode(table)) > MAX_BYTES:
            fault = f"the table has more than {MAX_BYTES:,} bytes"
        if fault:
            return self._closed(table, fault)
        shares = {name: found.share for name, found in table.clients.items()}
        self._has_granted = True
        made = self._ledger.grant(
            table.left, shares, known, now=now, until=now + life_s, facts_until=facts_until
        )
        return msgspec.structs.replace(table, clients=_with_grants(table.clients, made))

    def rows(self, table: PretradeTable) -> list[tuple[Any, ...]]:
        """Return the rows of SQL's `headroom` for a table: what is left, and the grants."""
        clients = table.clients if not table.fault else {}
        return [
            (
                found.scope,
                found.limit,
                usd(found.hard_usd),
                usd(found.used_usd),
                usd(found.orders_usd),
                None if found.why else usd(found.left_usd),
                found.why or table.fault,
                {
                    name: round(own.lower.get(found.scope, own.share * found.left_usd), 2)
                    for name, own in clients.items()
                },
                table.measured,
                table.until,
                self._restrictions.get(_acts_on(found.scope), ""),
            )
            for found in self.measured
        ]

    def _measured_table(
        self, state: RiskState, terms: PretradeConfig, now_us: int
    ) -> PretradeTable:
        """Return the table without grants."""
        looked = state.meta.looked
        return PretradeTable(
            measured=moment(looked),
            until=moment(now_us + round(terms.grant_s * SECOND)),
            fault="" if looked else "nothing was evaluated yet",
            left={found.scope: found.left_usd for found in self.measured},
            unknown={found.scope: found.why for found in self.measured if found.why},
            binds=self._binds,
            known={name: state.parties[name].us / SECOND for name in sorted(state.parties)},
            settle_s=terms.settle_s,
            mids=_mids(state, self._config.policy.risk.sd_stale_bp),
            mid_age_s=terms.mid_age_s,
            stale_collar_bp=terms.stale_collar_bp,
            clients=_clients(terms),
            scopes=_scopes(terms),
        )

    def _closed(self, table: PretradeTable, fault: str) -> PretradeTable:
        """Return a table that grants nothing, and is small."""
        return PretradeTable(
            measured=table.measured,
            until=table.until,
            fault=fault,
            clients=table.clients,
            scopes=table.scopes,
            settle_s=table.settle_s,
            mid_age_s=table.mid_age_s,
        )


def _breach_restrictions(config: Config) -> dict[str, str]:
    """Return what a breach of a limit restricts, by the kind of scope that its rule is about."""
    given = config.policy.risk.restriction
    return {
        rule.scope_kind: given.of(rule.id, rule.scope_kind, rule.restriction).value
        for rule in config.rules.rules
        if rule.state.rank >= State.REDUCE.rank
        and any(condition.feature == _BREACH for condition in rule.any)
    }


def _acts_on(scope: str) -> str:
    """Return the kind of scope that a breach restricts: coins of an issuer, members of a group."""
    kind = kind_of_scope(scope)
    return {ISSUER: ASSET, BANK: ASSET, GROUP: COUNTERPARTY}.get(kind, kind)


def _venues(table: PretradeTable) -> dict[str, float]:
    """Return the venues where clients may add risk, with the time up to which facts are known."""
    names = dict.fromkeys(name for own in table.clients.values() for name in own.counterparties)
    return {name: table.known[name] for name in names if name in table.known}


def _mids(state: RiskState, sd_stale_bp: float) -> dict[str, Mid]:
    """Return the price of each asset that has one, and whether live feeds support it."""
    mids = {"USD": Mid(1.0, fresh=True)}
    for name in sorted(state.assets):
        row = state.assets[name]
        if row.price is not None:
            fresh = row.reading.live > 0 and row.reading.sd_bp < sd_stale_bp
            mids[name] = Mid(row.price, fresh)
    return mids


def _clients(terms: PretradeConfig) -> dict[str, ClientLimits]:
    return {
        name: ClientLimits(
            share=own.share,
            max_order_usd=own.max_order_usd or terms.max_order_usd,
            rate=own.rate or terms.rate,
            burst=own.burst or terms.burst,
            counterparties=list(own.counterparties),
        )
        for name, own in sorted(terms.clients.items())
    }


def _scopes(terms: PretradeConfig) -> dict[str, ScopeLimits]:
    """Return the terms by scope; those of the firm are the policy's own, or stricter ones."""
    made = {
        scope: ScopeLimits(max_order_usd=own.max_order_usd, collar_bp=own.collar_bp)
        for scope, own in sorted(terms.scopes.items())
    }
    firm = made.get(FIRM, ScopeLimits())
    made[FIRM] = ScopeLimits(
        max_order_usd=min(firm.max_order_usd or terms.max_order_usd, terms.max_order_usd),
        collar_bp=min(firm.collar_bp or terms.collar_bp, terms.collar_bp),
    )
    return made


def _with_grants(clients: dict[str, ClientLimits], made: Grants) -> dict[str, ClientLimits]:
    return {
        name: msgspec.structs.replace(found, lower=made.lower.get(name, {}))
        for name, found in clients.items()
    }
