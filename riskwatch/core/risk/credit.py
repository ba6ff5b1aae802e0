"""Credit news: its sources, their weights, and retractions.

Each source has a weight. A source counts once per kind of news. From a total weight of 1 on the
news counts as confirmed. A single rumour therefore halts nothing: confirmation takes the subject
itself, a regulator, a court, or several other sources that agree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import SECOND, micros
from riskwatch.core.enums import RejectReason
from riskwatch.core.risk.state import CreditItem, CreditRow

if TYPE_CHECKING:
    from riskwatch.core.events import Credit, CreditKind, LegalEntity, NettingSet
    from riskwatch.core.reference import Reference
    from riskwatch.core.risk.config import RiskConfig
    from riskwatch.core.risk.state import RiskState

ENDING_KINDS: Final[dict[str, CreditKind]] = {
    "withdrawals_resumed": "withdrawals_suspended",
    "deposits_resumed": "deposits_suspended",
}
"""Kinds of news that end another kind, if both come from the same source."""
TIGHTENING_KINDS: Final[tuple[CreditKind, ...]] = (
    "withdrawals_suspended",
    "deposits_suspended",
    "insolvency",
    "default",
    "hack",
    "regulatory_action",
)
"""Kinds of news that can only tighten: they end and replace no other news."""
LASTING_KINDS: Final = ("insolvency", "default", "rating", "outlook", "attestation")
"""Kinds of news that do not expire."""


class CreditRefusedError(Exception):
    """A credit event is rejected, with a `reason` and a `detail`."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def apply_credit(state: RiskState, event: Credit, config: RiskConfig, reference: Reference) -> None:
    """Store a credit event.

    Raises
    ------
    CreditRefusedError
        If the subject has too many current items, the rating is not on a known scale, or a
        retraction names no item of its source.
    """
    row = state.credit.get(event.subject) or CreditRow()
    us = micros(event.ts)
    horizon = us - int(config.credit_memory_s * SECOND)
    items = [i for i in row.items if i.us >= horizon or i.kind in LASTING_KINDS]
    if event.kind == "retraction":
        left = [i for i in items if not (i.source == event.source and i.event_id == event.retracts)]
        if len(left) == len(items):
            raise CreditRefusedError(
                RejectReason.FACT_CONFLICT,
                f"retracts={event.retracts} which {event.source} has not said of {event.subject}",
            )
        items = left
    elif event.kind in ENDING_KINDS:
        items = _without_ended(items, event, ENDING_KINDS[event.kind])
    else:
        if event.kind == "rating":
            if event.rating not in reference.pd_by_rating:
                raise CreditRefusedError(
                    RejectReason.FIELD_RANGE, f"rating={event.rating} is of no scale"
                )
            items = [i for i in items if not (i.kind == "rating" and i.us <= us)]
        if event.kind == "attestation":
            items = [i for i in items if not _is_replaced(i, event, us)]
        if _is_over(event, us, state.meta.looked, config):
            return
        if len(items) >= config.max_credit:
            raise CreditRefusedError(RejectReason.LIMIT_REACHED, f"max_credit={config.max_credit}")
        items.append(
            CreditItem(
                us,
                event.source,
                event.event_id,
                event.kind,
                event.rating,
                sorted(event.assets or []),
                sorted(event.networks or []),
                None if event.ratio is None else float(event.ratio),
                None if event.as_of is None else micros(event.as_of),
            )
        )
        items.sort(key=lambda i: (i.us, i.source, i.event_id))
    row.items = items
    state.credit[event.subject] = row
    state.mark(f"credit/{event.subject}")


def _is_over(event: Credit, us: int, looked: int, config: RiskConfig) -> bool:
    """Whether news had expired already at the last evaluation. It is heard, and changes nothing."""
    return event.kind not in LASTING_KINDS and us < looked - config.credit_memory_s * SECOND


def _is_replaced(item: CreditItem, event: Credit, us: int) -> bool:
    """Whether a new attestation replaces this one: only a source's newest is left."""
    return item.kind == "attestation" and item.source == event.source and item.us <= us


def _without_ended(items: list[CreditItem], event: Credit, kind: CreditKind) -> list[CreditItem]:
    """Drop the items that the event ends, wholly or for the assets and networks that it names."""
    us, left = micros(event.ts), []
    for item in items:
        if item.kind != kind or item.source != event.source or item.us > us:
            left.append(item)
            continue
        if not event.assets and not event.networks:
            continue
        item.assets = [a for a in item.assets if a not in (event.assets or [])]
        item.networks = [n for n in item.networks if n not in (event.networks or [])]
        if item.assets or item.networks:
            left.append(item)
    return left


def apply_entity(state: RiskState, event: LegalEntity) -> None:
    """Store the legal entity of a counterparty."""
    row = state.credit.get(event.counterparty) or CreditRow()
    row.entity, row.jurisdiction = event.entity, event.jurisdiction
    state.credit[event.counterparty] = row
    state.mark(f"credit/{event.counterparty}")


def apply_netting(state: RiskState, event: NettingSet, config: RiskConfig) -> None:
    """Store a netting agreement over accounts of a counterparty.

    Raises
    ------
    CreditRefusedError
        If the counterparty has too many netting sets.
    """
    row = state.credit.get(event.counterparty) or CreditRow()
    if event.netting_set not in row.netting and len(row.netting) >= config.max_credit:
        raise CreditRefusedError(RejectReason.LIMIT_REACHED, f"max_credit={config.max_credit}")
    row.netting[event.netting_set] = (event.enforceable, sorted(event.accounts))
    state.credit[event.counterparty] = row
    state.mark(f"credit/{event.counterparty}")


def news_weight(row: CreditRow | None, kinds: tuple[str, ...], config: RiskConfig) -> float:
    """Return the total weight of the sources of news of `kinds`; each source counts once.

    News that names assets or networks concerns only these and does not count here.
    """
    if row is None:
        return 0.0
    sources = {
        i.source: None for i in row.items if i.kind in kinds and not i.assets and not i.networks
    }
    return sum(config.news_weight(s) for s in sorted(sources))


def named_parts(row: CreditRow | None, kind: str) -> list[str]:
    """Return the assets and networks that news of `kind` names, sorted."""
    if row is None:
        return []
    named = {n for i in row.items if i.kind == kind for n in (*i.assets, *i.networks)}
    return sorted(named)


def credit_rating(subject: str, row: CreditRow | None, reference: Reference) -> str:
    """Return the latest rating in the news, else that of the reference data."""
    ratings = [i.rating for i in row.items if i.kind == "rating" and i.rating] if row else []
    return ratings[-1] if ratings else reference.party(subject).rating


def latest_attestation(row: CreditRow | None) -> CreditItem | None:
    """Return the latest attestation that states a ratio, of any source."""
    items = [] if row is None else row.items
    stated = [i for i in items if i.kind == "attestation" and i.ratio is not None]
    return max(stated, key=lambda i: i.us if i.as_of is None else i.as_of, default=None)
