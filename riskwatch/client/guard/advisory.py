"""Terms of a guard that are tried out: what they would have refused, which refuses nothing.

A tried term can only be stricter than the one that binds: it names what would have been refused
and lets nothing pass. So no HALT that people or rules decided is ever loosened by one.
"""

from __future__ import annotations

import logging
from math import inf
from threading import Lock
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.client.guard.budget import Budgets
from riskwatch.client.guard.order_check import HEDGE
from riskwatch.client.guard.view import EXPIRED
from riskwatch.contracts.acks import Used
from riskwatch.core.enums import State
from riskwatch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.client.guard.order_check import Order
    from riskwatch.client.guard.trust import Terms, TrustState
    from riskwatch.client.guard.view import Answer

HEDGES: Final = "hedges."
"""Begins the name of a tried cap of a book's hedges."""
TIMES: Final = ("reduce_s", "lost_s", "grace_s", "longest_s")
"""Times that can be tried: each is stricter when it is shorter."""

log = logging.getLogger("riskwatch.client")


class AdvisoryTerms:
    """Says what stricter terms would have refused of what a guard lets pass.

    Parameters
    ----------
    tried : mapping of str to float
        Values by name: ``reduce_s``, ``lost_s``, ``grace_s`` and ``longest_s`` in seconds,
        ``hedges.<book>`` in USD.
    terms : Terms
        The times that bind.
    hedges : mapping of str to float
        The caps of hedges that bind, USD by book.

    Raises
    ------
    ConfigError
        If a name is no such term, or a value is not stricter than the one that binds.
    """

    def __init__(
        self, tried: Mapping[str, float], terms: Terms, hedges: Mapping[str, float]
    ) -> None:
        binding = {name: getattr(terms, name) for name in TIMES}
        binding |= {f"{HEDGES}{book}": cap for book, cap in hedges.items()}
        for name, value in tried.items():
            if name not in binding:
                expected = f"one of {', '.join(binding)}: nothing else can be advisory"
                raise ConfigError("kill switch", f"advisory.{name}", expected, value)
            if not 0.0 <= value < binding[name]:
                expected = f"0 or more, and less than {binding[name]:g}, which binds"
                raise ConfigError("kill switch", f"advisory.{name}", expected, value)
        self.terms = msgspec.structs.replace(terms, **{n: tried[n] for n in TIMES if n in tried})
        self._caps = {
            name.removeprefix(HEDGES): cap for name, cap in tried.items() if name.startswith(HEDGES)
        }
        self._budgets = Budgets()
        self._lock = Lock()
        self._refused: dict[str, Used] = {}

    def note(self, answer: Answer, order: Order, belief: TrustState, now: float) -> Answer:
        """Give an answer as it is, with what the tried terms would have refused of it.

        Parameters
        ----------
        answer : Answer
            By the terms that bind.
        order : Order
            What was asked.
        belief : TrustState
            What the guard believes.
        now : float
            Steady seconds.
        """
        if not answer.allowed:
            return answer
        term, why = self._refusal(answer, order, belief, now)
        if not term:
            return answer
        self._count(term, order, why)
        return msgspec.structs.replace(answer, advised=f"{term}: {why}")

    def refused(self) -> dict[str, Used]:
        """What would have been refused so far, by term; without a size, an order counts 0 USD."""
        with self._lock:
            return dict(self._refused)

    def inherit(self) -> None:
        """Replace the locks in a forked child; a thread of the parent may have held them."""
        self._lock = Lock()
        self._budgets.inherit()

    def forget_hedges(self, book: str) -> None:
        """Begin the count of a book's hedges anew."""
        self._budgets.forget(f"{HEDGE}{book}")

    def _refusal(
        self, answer: Answer, order: Order, belief: TrustState, now: float
    ) -> tuple[str, str]:
        """Name the term that would have refused an order that passes, and why; else nothing."""
        cap = self._caps.get(order.book or "")
        hedged = answer.scope == EXPIRED and order.intent.hedge and not _leaves(order, answer.state)
        if hedged:
            if cap is None or order.usd is None:
                return "", ""
            if self._budgets.hedge({f"{HEDGE}{order.book}": cap}, order.usd):
                return "", ""
            return f"{HEDGES}{order.book}", f"hedges of {order.book} are beyond {cap:g} USD"
        until, bound, term = belief.tried_end(self.terms)
        if now < until:
            return "", ""
        floor = belief.floor_since(until, now, self.terms.reduce_s)
        if _leaves(order, floor):
            return "", ""
        known = belief.terms.reduce_s != self.terms.reduce_s
        named = "reduce_s" if floor is State.HALT and known and answer.scope == EXPIRED else term
        return named, f"{floor.value}: {bound}"

    def _count(self, term: str, order: Order, why: str) -> None:
        """Count, and log the 1st, 2nd, 4th, 8th, ... of each term."""
        size = order.usd if order.usd is not None and 0.0 <= order.usd < inf else 0.0
        with self._lock:
            had = self._refused.get(term, Used(usd=0.0, orders=0))
            used = self._refused[term] = Used(usd=had.usd + size, orders=had.orders + 1)
        if used.orders & (used.orders - 1) == 0:
            log.warning(
                "kill switch: advisory %s would have refused %d orders (%.2f USD), "
                "the last of %s %s %s: %s",
                term, used.orders, used.usd, order.book, order.counterparty, order.asset, why,
            )  # fmt: skip


def _leaves(order: Order, floor: State) -> bool:
    """Whether an order passes at a floor without a hedge's cap."""
    reducing = order.intent.reduces_firm(order.assets) or order.intent.withdraws
    return floor is State.NORMAL or (floor is State.REDUCE and reducing)
