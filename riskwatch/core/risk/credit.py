"""Credit news: its sources, their weights, and retractions.

Each source has a weight. A source counts once per kind of news. From a total weight of 1 on the
news counts as confirmed. A single rumour therefore halts nothing: confirmation takes the subject
itself, a regulator, a court, or several other sources that agree.

News has bounds, by subject and by source, so that who invents subjects, sources or events fills no
table. Nothing that was stored gives way to anything else: what has no room is rejected. A subject
that is listed or ours always has room. Sources that the policy names, and all others, have no
bound in common.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import SECOND, micros
from riskwatch.core.enums import RejectReason, State
from riskwatch.core.risk.state import CreditItem, CreditRow
from riskwatch.core.scopes import COUNTERPARTY

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
FAILURE_KINDS: Final = ("insolvency", "default")
"""Kinds of news that say that a party failed."""
LASTING_KINDS: Final = (*FAILURE_KINDS, "rating", "outlook", "attestation")
"""Kinds of news that do not expire."""
_NEVER: Final = 2**62
FOREIGN_SUBJECTS: Final = 1_024
"""Maximum number of subjects, neither listed nor ours, of all sources that the policy does not
name; and of each source that it names."""
SOURCE_SHARE: Final = 4
"""A source that the policy does not name has at most one in this many of each maximum."""


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
        If there is no room for the subject or the item, the rating is not on a known scale, or a
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
        new = _item(event, us)
        items = [*_with_room(items, new, config), new]
        items.sort(key=lambda i: (i.us, i.source, i.event_id))
    if not items and event.subject not in state.credit:
        return  # it ends what nobody said: there is nothing to store
    _store(state, event.subject, row, event, config, reference)
    row.items = items
    state.oldest_news = None


def _item(event: Credit, us: int) -> CreditItem:
    return CreditItem(
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


def _with_room(items: list[CreditItem], new: CreditItem, config: RiskConfig) -> list[CreditItem]:
    """Return the items beside which `new` has room.

    The first time that a source says a kind of news that tightens, it competes only with other
    sources that say the same. All else shares the room of the subject. Where a source has used its
    share, its newer words take the place of its own older ones that say the same.
    """
    most, declared = config.max_credit, config.declares(new.source)
    said: dict[tuple[str, str], None] = {}  # (source, kind) of first words
    rest: dict[str, int] = {}
    for item in items:
        place = item.source, item.kind
        if item.kind in TIGHTENING_KINDS and not _parts(item) and place not in said:
            said[place] = None
        else:
            rest[item.source] = rest.get(item.source, 0) + 1
    full = CreditRefusedError(RejectReason.LIMIT_REACHED, f"max_credit={most}")
    if new.kind in TIGHTENING_KINDS and not _parts(new) and (new.source, new.kind) not in said:
        others = sum(1 for s, kind in said if kind == new.kind and not config.declares(s))
        if declared or others < most:
            return items
        raise full
    taken = sum(n for s, n in rest.items() if not config.declares(s))
    share = most if declared else max(1, most // SOURCE_SHARE)
    if rest.get(new.source, 0) < share and (declared or taken < most):
        return items
    for at, item in enumerate(items):
        same = (item.source, item.kind, _parts(item)) == (new.source, new.kind, _parts(new))
        if same and item.us <= new.us:
            return items[:at] + items[at + 1 :]
    raise full


def _parts(item: CreditItem) -> list[list[str]]:
    """Return the assets and networks that an item names; empty if it concerns all."""
    return [item.assets, item.networks] if item.assets or item.networks else []


def is_foreign_subject(state: RiskState, name: str, reference: Reference) -> bool:
    """Whether a subject of news is neither listed nor ours, and nothing was decided about it."""
    scope = state.scopes.get(f"{COUNTERPARTY}:{name}")
    is_calm = scope is None or (
        scope.state is State.NORMAL
        and scope.effective is State.NORMAL
        and not scope.trackers
        and not scope.alert_id
    )
    return (
        is_calm
        and name not in reference.parties
        and name not in state.parties
        and f"{COUNTERPARTY}:{name}" not in state.controls
        and not any(name in failed for failed in state.faults.values())
    )


def _store(
    state: RiskState,
    name: str,
    row: CreditRow,
    event: Credit | LegalEntity | NettingSet,
    config: RiskConfig,
    reference: Reference,
) -> None:
    """Store the row of a subject, if it is known or there is room for it.

    Raises
    ------
    CreditRefusedError
        If it is neither listed nor ours, and its source has named too many such subjects.
    """
    if name not in state.credit and is_foreign_subject(state, name, reference):
        source, counts = event.source, _counts(state)
        share = FOREIGN_SUBJECTS if config.declares(source) else FOREIGN_SUBJECTS // SOURCE_SHARE
        taken = sum(n for s, n in counts.items() if not config.declares(s))
        is_full = not config.declares(source) and taken >= FOREIGN_SUBJECTS
        if is_full or counts.get(source, 0) >= share:
            raise CreditRefusedError(
                RejectReason.LIMIT_REACHED,
                f"unlisted_subjects={FOREIGN_SUBJECTS} of_one_source={share}",
            )
        row.by = source
        counts[source] = counts.get(source, 0) + 1
    row.us = max(row.us, micros(event.ts))
    state.credit[name] = row
    state.mark(f"credit/{name}")


def _counts(state: RiskState) -> dict[str, int]:
    """Return the number of subjects that were neither listed nor ours, by the source of each."""
    if state.credit_counts is None:
        state.credit_counts = {}
        for row in state.credit.values():
            if row.by:
                state.credit_counts[row.by] = state.credit_counts.get(row.by, 0) + 1
    return state.credit_counts


def forget_subjects(state: RiskState, us: int, config: RiskConfig, reference: Reference) -> None:
    """Drop subjects that are neither listed nor ours and of which nothing was said for long.

    What says that a party failed stays, and so does a subject whose scope is not at NORMAL.
    """
    horizon = us - int(config.credit_memory_s * SECOND)
    old = [
        name
        for name, row in state.credit.items()
        if max(row.us, *(i.us for i in row.items), 0) < horizon
        and not any(i.kind in FAILURE_KINDS for i in row.items)
    ]
    for name in old:
        if not is_foreign_subject(state, name, reference):
            continue
        del state.credit[name]
        state.credit_counts = None
        state.mark(f"credit/{name}")


def expire_news(state: RiskState, us: int, config: RiskConfig) -> bool:
    """Drop news that does not last and is older than `credit_memory_s`; return whether any was."""
    horizon = us - int(config.credit_memory_s * SECOND)
    if state.oldest_news is None:
        state.oldest_news = min(map(_oldest, state.credit.values()), default=us)
    if state.oldest_news >= horizon:
        return False
    old = [name for name, row in state.credit.items() if _oldest(row) < horizon]
    for name in old:
        row = state.credit[name]
        row.items = [i for i in row.items if i.us >= horizon or i.kind in LASTING_KINDS]
        state.mark(f"credit/{name}")
    state.oldest_news = None
    return bool(old)


def _oldest(row: CreditRow) -> int:
    """Return the time of the oldest news of a subject that does not last, microseconds."""
    return min((i.us for i in row.items if i.kind not in LASTING_KINDS), default=_NEVER)


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


def apply_entity(
    state: RiskState, event: LegalEntity, config: RiskConfig, reference: Reference
) -> None:
    """Store the legal entity of a counterparty.

    Raises
    ------
    CreditRefusedError
        If there is no room for the counterparty.
    """
    row = state.credit.get(event.counterparty) or CreditRow()
    _store(state, event.counterparty, row, event, config, reference)
    row.entity, row.jurisdiction = event.entity, event.jurisdiction


def apply_netting(
    state: RiskState, event: NettingSet, config: RiskConfig, reference: Reference
) -> None:
    """Store a netting agreement over accounts of a counterparty.

    Raises
    ------
    CreditRefusedError
        If there is no room for the counterparty, or it has too many netting sets.
    """
    row = state.credit.get(event.counterparty) or CreditRow()
    if event.netting_set not in row.netting and len(row.netting) >= config.max_credit:
        raise CreditRefusedError(RejectReason.LIMIT_REACHED, f"max_credit={config.max_credit}")
    _store(state, event.counterparty, row, event, config, reference)
    row.netting[event.netting_set] = (event.enforceable, sorted(event.accounts))


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


def latest_attestation(
    row: CreditRow | None, config: RiskConfig | None = None
) -> CreditItem | None:
    """Return the latest attestation that states a ratio.

    It may be of any source; with `config`, it is of a source whose word alone confirms news.
    """
    items = [] if row is None else row.items
    stated = [
        i
        for i in items
        if i.kind == "attestation"
        and i.ratio is not None
        and (config is None or config.news_weight(i.source) >= 1.0)
    ]
    return max(stated, key=lambda i: i.us if i.as_of is None else i.as_of, default=None)
