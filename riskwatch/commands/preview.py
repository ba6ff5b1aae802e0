"""The preview of a release: the effect of releasing a scope, before it is requested."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.config.recorder import decode_record
from riskwatch.config.unconfirmed import with_unconfirmed
from riskwatch.core.clock import micros, rfc3339
from riskwatch.core.enums import State
from riskwatch.core.risk.rule_engine import RuleEngine
from riskwatch.core.scopes import (
    ACCOUNT,
    ASSET,
    BOOK,
    COUNTERPARTY,
    LINKED,
    NETWORK,
    TRADER,
    VENUE_ASSET,
    overlap,
    parse,
)
from riskwatch.store import queries
from riskwatch.store.audit import last_configuration

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from riskwatch.config.config import Config
    from riskwatch.core.risk.state import ScopeRow
    from riskwatch.core.rules import Rule

_SHOWN: Final = 10


class ReleasePreview(msgspec.Struct):
    """The effect of a release.

    Attributes
    ----------
    scope : str
        The scope.
    state : str
        Its state.
    after : str
        Its state after the release.
    allowed : str
        Orders that are allowed again, in words.
    gross_usd, net_usd : str
        The firm's exposure to it, USD to the cent.
    unpriced : int
        Holdings without a price.
    holding : list of str
        Why the condition of the HALT still holds; empty if it does not.
    reasons : list of str
        Reasons of its state.
    others : dict of str to list
        Other scopes that still restrict orders: their state, then the reasons.
    control : dict
        Pending requests and active overrides of operators.
    """

    scope: str
    state: str
    after: str
    allowed: str
    gross_usd: str
    net_usd: str
    unpriced: int
    holding: list[str]
    reasons: list[str]
    others: dict[str, list[str]]
    control: dict[str, Any]

    def lines(self) -> list[str]:
        """Return the preview as lines of text."""
        out = [
            f"{self.scope} is {self.state}; released, it would be {self.after}",
            f"  allowed again: {self.allowed}"
            + (", if they reduce what we have" if self.after == State.REDUCE.value else ""),
            f"  we have on it: gross {self.gross_usd} USD, net {self.net_usd} USD"
            + (f", {self.unpriced} holdings without a price" if self.unpriced else ""),
        ]
        out += [f"  why it is {self.state}: {reason}" for reason in self.reasons[:_SHOWN]]
        out += [f"  THE CONDITION STILL HOLDS: {why}" for why in self.holding]
        if not self.holding:
            out.append("  no rule asks for HALT of it now")
        for scope, (state, *why) in list(self.others.items())[:_SHOWN]:
            out.append(f"  still in the way: {scope} is {state}: {'; '.join(why)}")
        hidden = len(self.others) - _SHOWN
        if hidden > 0:
            out.append(f"  and {hidden} more scopes that are not NORMAL")
        control = self.control
        if control.get("request_id"):
            out.append(
                f"  {control['request_by']} asked for {control['request_action']} "
                f"({control['request_id']}), until {_when(control['request_until'])}"
            )
        if control.get("override_by"):
            out.append(
                f"  overridden to {control['override_state']} by {control['override_by']} and "
                f"{control['override_approved_by']}, until {_when(control['override_until'])}"
            )
        if control.get("retired_by"):
            out.append(f"  retired by {control['retired_by']}: releasing it ends that")
        return out


def release_preview(conn: Connection, config: Config, scope: str) -> ReleasePreview:
    """Compute the effect of a release from the stored state.

    The worker evaluates the scope again when the release is requested and when it is approved.
    """
    config = with_unconfirmed(config, decode_record(last_configuration(conn)))
    rules = RuleEngine(config.rules, config.policy.risk).of(scope)
    row = queries.scope_state(conn, scope)
    switches = {found["scope"]: found for found in queries.killswitches(conn)}
    others = {
        name: [found["effective"], *found["reasons"][:2]]
        for name, found in switches.items()
        if name != scope and found["effective"] != State.NORMAL.value and overlap(scope, name)
    }
    gross, net, unpriced = queries.exposure_of(conn, scope)
    return ReleasePreview(
        scope=scope,
        state=row.state.value,
        after=rules.state_after_release(row).value,
        allowed=allowed_orders(scope),
        gross_usd=f"{gross:,.2f}",
        net_usd=f"{net:,.2f}",
        unpriced=unpriced,
        holding=[_holds_still(rule, row) for rule in rules.holding(row)],
        reasons=list(row.reasons),
        others=others,
        control=queries.scope_controls(conn).get(scope, {}),
    )


def allowed_orders(scope: str) -> str:
    """Return the orders that the HALT of a scope refuses and its release allows, in words.

    Examples
    --------
    >>> allowed_orders("venue-asset:kraken/USDC")
    'orders that buy or sell USDC at kraken'
    """
    at = parse(scope)
    if at.kind in LINKED:
        return f"orders at the parties and in the coins of {scope}"
    orders = {
        ASSET: f"orders that buy or sell {at.name}, wherever, and transfers of it",
        COUNTERPARTY: (f"orders at {at.name}, and deposits to it (withdrawals were never refused)"),
        VENUE_ASSET: f"orders that buy or sell {at.asset} at {at.name}",
        BOOK: f"orders of the book {at.name}",
        ACCOUNT: f"orders of the account {at.account} at {at.name}, and deposits to it",
        TRADER: f"orders of the trader {at.name}",
        NETWORK: f"transfers over {at.name}",
    }
    return orders.get(at.kind, "every order that no other scope refuses")


def _holds_still(rule: Rule, row: ScopeRow) -> str:
    tracker = row.trackers[rule.id]
    if tracker.active:
        return (
            f"{rule.id}: not below {rule.exit:g} of its threshold for {rule.exit_dwell_s:g} s yet"
        )
    return f"{rule.id}: its threshold is met again"


def _when(value: Any) -> str:
    return rfc3339(micros(value))
