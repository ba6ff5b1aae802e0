"""Credit news: who said what of whom, how much it weighs, and what is taken back.

A source has a weight. What one source says is counted once per kind of news; 1 is enough to
believe it. So a single rumour halts nothing: it takes the subject itself, a regulator or a
court, or several others that agree.
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
"""News that ends what another kind began, if it comes from the same source."""
LASTING_KINDS: Final = ("insolvency", "default", "rating", "outlook", "attestation")
"""Kinds that are not forgotten with time."""


class CreditRefusedError(Exception):
    """A credit event that cannot be taken: `reason` and `detail`."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def apply_credit(state: RiskState, event: Credit, config: RiskConfig, reference: Reference) -> None:
    """Take in a piece of credit news.

    Raises
    ------
    CreditError
        If the subject has too many that still count, the rating is of no known scale, or a
        retraction names nothing that its source has said.
    """
    row = state.credit.get(event.subject) or CreditRow()
    us = micros(event.ts)
    horizon = us - int(config.credit_memory_s * SECOND)
    items = [i for i in row.items if i.us >= horizon or i.kind in LASTING_KINDS]
    if event.kind == "retraction":
        kept = [i for i in items if not (i.source == event.source and i.event_id == event.retracts)]
        if len(kept) == len(items):
            raise CreditRefusedError(
                RejectReason.FACT_CONFLICT,
                f"retracts={event.retracts} which {event.source} has not said of {event.subject}",
            )
        items = kept
    elif event.kind in ENDING_KINDS:
        items = _ended(items, event, ENDING_KINDS[event.kind])
    else:
        if event.kind == "rating":
            if event.rating not in reference.pd_by_rating:
                raise CreditRefusedError(
                    RejectReason.FIELD_RANGE, f"rating={event.rating} is of no scale"
                )
            items = [i for i in items if not (i.kind == "rating" and i.us <= us)]
        if event.kind == "attestation":
            items = [i for i in items if not _older(i, event, us)]
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


def _older(item: CreditItem, event: Credit, us: int) -> bool:
    """Whether an attestation replaces this one: a source's newest is enough."""
    return item.kind == "attestation" and item.source == event.source and item.us <= us


def _ended(items: list[CreditItem], event: Credit, kind: CreditKind) -> list[CreditItem]:
    """Drop what the event ends: all of it, or the assets and networks that it names."""
    us, kept = micros(event.ts), []
    for item in items:
        if item.kind != kind or item.source != event.source or item.us > us:
            kept.append(item)
            continue
        if not event.assets and not event.networks:
            continue
        item.assets = [a for a in item.assets if a not in (event.assets or [])]
        item.networks = [n for n in item.networks if n not in (event.networks or [])]
        if item.assets or item.networks:
            kept.append(item)
    return kept


def apply_entity(state: RiskState, event: LegalEntity) -> None:
    """Note which legal entity stands behind a counterparty."""
    row = state.credit.get(event.counterparty) or CreditRow()
    row.entity, row.jurisdiction = event.entity, event.jurisdiction
    state.credit[event.counterparty] = row
    state.mark(f"credit/{event.counterparty}")


def apply_netting(state: RiskState, event: NettingSet, config: RiskConfig) -> None:
    """Note a netting agreement over accounts of a counterparty.

    Raises
    ------
    CreditError
        If it has too many.
    """
    row = state.credit.get(event.counterparty) or CreditRow()
    if event.netting_set not in row.netting and len(row.netting) >= config.max_credit:
        raise CreditRefusedError(RejectReason.LIMIT_REACHED, f"max_credit={config.max_credit}")
    row.netting[event.netting_set] = (event.enforceable, sorted(event.accounts))
    state.credit[event.counterparty] = row
    state.mark(f"credit/{event.counterparty}")


def news_weight(row: CreditRow | None, kinds: tuple[str, ...], config: RiskConfig) -> float:
    """How much the sources weigh that say one of `kinds`, each source counted once.

    A suspension that names assets or networks is about these alone and does not count here.
    """
    if row is None:
        return 0.0
    sources = {
        i.source: None for i in row.items if i.kind in kinds and not i.assets and not i.networks
    }
    return sum(config.source_weights.get(s, config.source_weight) for s in sorted(sources))


def named_parts(row: CreditRow | None, kind: str) -> list[str]:
    """Assets and networks that news of `kind` names."""
    if row is None:
        return []
    named = {n for i in row.items if i.kind == kind for n in (*i.assets, *i.networks)}
    return sorted(named)


def credit_rating(subject: str, row: CreditRow | None, reference: Reference) -> str:
    """Latest rating by the news, else the reference data's."""
    ratings = [i.rating for i in row.items if i.kind == "rating" and i.rating] if row else []
    return ratings[-1] if ratings else reference.party(subject).rating


def latest_attestation(row: CreditRow | None) -> CreditItem | None:
    """Return the attestation of the latest date that states a ratio, whoever made it."""
    items = [] if row is None else row.items
    stated = [i for i in items if i.kind == "attestation" and i.ratio is not None]
    return max(stated, key=lambda i: i.us if i.as_of is None else i.as_of, default=None)
