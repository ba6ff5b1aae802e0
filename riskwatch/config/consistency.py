"""Checks across the values of the files: unknown names, duplicates and orders.

:mod:`riskwatch.config.config` checks the ranges of single values when it reads them.
"""

from __future__ import annotations

import re
from itertools import pairwise
from math import fsum
from string import Formatter
from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from riskwatch.config.names import suggestion
from riskwatch.contracts.signing import public_key_problem
from riskwatch.core.enums import Mode, State
from riskwatch.core.money import quantise
from riskwatch.core.operators import Role
from riskwatch.core.outputs import CLIENT_NAME
from riskwatch.core.risk.config import ALL
from riskwatch.core.risk.default_probability import PD_TARGET
from riskwatch.core.risk.scorer import ENSEMBLE
from riskwatch.core.scopes import is_scope
from riskwatch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from riskwatch.core.operators import Operators
    from riskwatch.core.policy import Policy
    from riskwatch.core.reference import Asset, LimitsConfig, Party, Reference
    from riskwatch.core.risk.config import DrillPlan, RiskConfig, ScorePd
    from riskwatch.core.risk.pretrade import ClientTerms, PretradeConfig
    from riskwatch.core.rules import RulePack

PD_FLOOR: Final = 0.0003
"""Smallest one-year default probability of any party: three basis points."""
MIN_EVALUATIONS: Final = 4
"""Least number of model evaluations within a horizon. A longer gap gives no negative label."""
UNRATED: Final = "unrated"
WEEK_S: Final = 604_800.0
_SOURCE: Final = re.compile(r"[^\s/:\x00-\x1f\x7f]{1,64}")
_TIME: Final = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
MIN_GRANT_S: Final = 20.0
MAX_GRANT_S: Final = 60.0
"""Shortest and longest time of a grant of headroom: a heartbeat must come in between, and confirms
the table no longer."""
MIN_VALID_S: Final = 31.0
"""Shortest validity of a heartbeat: it outlives two intervals between heartbeats, seconds."""
PLACEHOLDERS: Final = (
    "scope", "feature", "value", "at", "unit", "limit", "subject", "used", "warning", "why",
)  # fmt: skip
"""Placeholders that the text of a rule may contain."""
PRICED: Final = ("asset", "venue-asset")
"""Kinds of scope whose features come from prices; a single price may be wrong."""


def check_reference(file: str, made: Reference) -> Iterator[ConfigError]:
    """Yield an error about each name or number that contradicts the others."""
    yield from _check_probabilities(file, made.pd_by_rating)
    for asset in made.assets.values():
        where = f"assets.{asset.id}"
        if asset.peg is not None and asset.peg not in made.assets:
            near = suggestion(asset.peg, made.assets)
            yield ConfigError(file, f"{where}.peg", "one of the assets", asset.peg, near)
        if asset.peg is not None and asset.id in _promised(made, asset):
            expected = "an asset that does not promise this one itself"
            yield ConfigError(file, f"{where}.peg", expected, asset.peg)
        if asset.peg is not None and not asset.accrues and made.asset(asset.peg).peg is not None:
            expected = (
                "what that coin is itself pegged to: only a coin that accrues is pegged to a coin "
                "that has a peg"
            )
            yield ConfigError(file, f"{where}.peg", expected, asset.peg)
        if asset.accrues and asset.peg is None:
            yield ConfigError(file, f"{where}.accrues", "a peg in which it accrues", asset.accrues)
        if asset.peg is not None and asset.fiat:
            yield ConfigError(file, f"{where}.peg", "no peg: fiat money is its own", asset.peg)
        if asset.issuer is not None and asset.issuer not in made.parties:
            near = suggestion(asset.issuer, made.parties)
            yield ConfigError(file, f"{where}.issuer", "one of the parties", asset.issuer, near)
    for party in made.parties.values():
        yield from _check_party(file, made, party)
    yield from _check_instruments(file, made)


def _check_instruments(file: str, made: Reference) -> Iterator[ConfigError]:
    """Yield an error about an instrument of no listed venue, or without a coin that it pays in."""
    for name, instrument in (made.instruments or {}).items():
        where, (venue, _, contract) = f"instruments.{name}", name.partition("/")
        if venue not in made.parties or not contract:
            near, expected = suggestion(venue, made.parties), "venue/instrument of a listed venue"
            yield ConfigError(file, where, expected, name, near)
        if instrument.contract_type == "quanto" and not instrument.settle:
            yield ConfigError(file, f"{where}.settle", "the coin that a quanto pays in")


def _promised(made: Reference, asset: Asset) -> dict[str, None]:
    """Return what an asset promises, what that promises, and so on; each once."""
    found: dict[str, None] = {}
    peg = asset.peg
    while peg is not None and peg not in found:
        found[peg] = None
        peg = made.asset(peg).peg
    return found


def check_limits(file: str, made: LimitsConfig) -> Iterator[ConfigError]:
    """Yield an error about each duplicate id, or duplicate kind and subject.

    One subject may have one limit that binds and one that is advisory. A subject that the
    reference data does not contain is allowed.
    """
    yield from _check_unique(file, "limits", (limit.id for limit in made.limits))
    seen: dict[tuple[str, str, bool], str] = {}
    for i, limit in enumerate(made.limits):
        advises = limit.mode is Mode.ADVISORY
        first = seen.setdefault((limit.scope_kind, limit.subject, advises), limit.id)
        if first != limit.id:
            expected = f"one limit for a {limit.scope_kind}, this one has {first!r} already"
            yield ConfigError(file, f"limits[{i}].subject", expected, limit.subject)


def check_rules(file: str, made: RulePack) -> Iterator[ConfigError]:
    """Yield an error about each duplicate id, too early HALT or invalid text."""
    yield from _check_unique(file, "rules", (rule.id for rule in made.rules))
    for i, rule in enumerate(made.rules):
        hasty = rule.state is State.HALT and rule.scope_kind in PRICED
        if hasty and rule.observations < 2 and rule.dwell_s <= 0.0:
            expected = "2 or more, or a dwell_s: one bad price must not engage a HALT"
            yield ConfigError(file, f"rules[{i}].observations", expected, rule.observations)
        yield from _check_text(file, f"rules[{i}].text", rule.text)


def check_policy_file(
    file: str, models_file: str, made: Policy, targets: Mapping[str, str]
) -> Iterator[ConfigError]:
    """Yield an error about each invalid ask, drill or target.

    Parameters
    ----------
    file, models_file : str
        Names of the files of policy and models, for the error.
    made : Policy
        The policy, with its models.
    targets : mapping of str to str
        Kind of scope by the id of a target.
    """
    risk, models = made.risk, made.models
    yield from _check_times(file, risk)
    yield from _check_drills(file, risk.drills)
    yield from _check_keys(file, "risk.client_keys", risk.client_keys or {}, CLIENT_NAME)
    if risk.pretrade is not UNSET:
        yield from _check_pretrade(file, risk.pretrade)
    yield from _check_keys(file, "risk.source_keys", risk.source_keys or {}, _SOURCE)
    yield from _check_sources(file, risk)
    names = [generation.name or generation.model for generation in models.generations]
    names += [ENSEMBLE] if names else []
    yield from _check_score_pd(file, risk.score_pd, targets)
    for i, ask in enumerate(risk.asks):
        if ask.generation not in names:
            expected = f"one of the generations {', '.join(names) or '(there are none)'}"
            near = suggestion(ask.generation, names)
            yield ConfigError(file, f"risk.asks[{i}].generation", expected, ask.generation, near)
        if ask.target not in targets:
            expected = f"one of the targets {', '.join(targets) or '(there are none)'}"
            near = suggestion(ask.target, targets)
            yield ConfigError(file, f"risk.asks[{i}].target", expected, ask.target, near)
            continue
        if ask.scope_kind != targets[ask.target]:
            expected = f"{targets[ask.target]}, which {ask.target} is asked of"
            yield ConfigError(file, f"risk.asks[{i}].scope_kind", expected, ask.scope_kind)
    for i, target in enumerate(models.targets):
        where = f"targets[{i}]"
        name = "calm_bp" if target.scope_kind == "asset" else "calm_dislocation_bp"
        calm = getattr(risk, name)
        if target.unit == "bp" and target.threshold <= calm:
            expected = f"more than risk.{name} = {calm:g}, below which models seldom look"
            yield ConfigError(models_file, f"{where}.threshold", expected, target.threshold)
        if target.horizon_s < MIN_EVALUATIONS * risk.report_s:
            expected = f"at least {MIN_EVALUATIONS} times risk.report_s = {risk.report_s:g} s"
            yield ConfigError(models_file, f"{where}.horizon_s", expected, target.horizon_s)


def _check_client(file: str, where: str, name: str, terms: ClientTerms) -> Iterator[ConfigError]:
    """Yield an error about a wrong name of a client, or of its counterparties."""
    if CLIENT_NAME.fullmatch(name) is None:
        yield ConfigError(file, where, "letters, digits, '.', '_' or '-'", name)
    key = f"{where}.{name}.counterparties"
    if not terms.counterparties:
        yield ConfigError(file, key, "at least one counterparty", [])
    for other in terms.counterparties:
        if not is_scope(f"counterparty:{other}"):
            yield ConfigError(file, key, "names of counterparties", other)


def _check_pretrade(file: str, made: PretradeConfig) -> Iterator[ConfigError]:
    """Yield an error about each wrong name, share, collar or time of a grant."""
    where = "risk.pretrade"
    if made.stale_collar_bp > made.collar_bp:
        expected = f"at most collar_bp = {made.collar_bp:g}"
        yield ConfigError(file, f"{where}.stale_collar_bp", expected, made.stale_collar_bp)
    if not MIN_GRANT_S <= made.grant_s <= MAX_GRANT_S:
        expected = f"from {MIN_GRANT_S:g} to {MAX_GRANT_S:g} s, as heartbeats come every 15 s"
        yield ConfigError(file, f"{where}.grant_s", expected, made.grant_s)
    for name, terms in made.clients.items():
        yield from _check_client(file, f"{where}.clients", name, terms)
    total = fsum(terms.share for terms in made.clients.values())
    if total > 1.0:
        yield ConfigError(file, f"{where}.clients", "shares that add up to at most 1", total)
    for scope in made.scopes:
        if not is_scope(scope):
            yield ConfigError(file, f"{where}.scopes", "scopes, such as book:arb", scope)


def _check_score_pd(
    file: str, laws: Mapping[str, ScorePd], targets: Mapping[str, str]
) -> Iterator[ConfigError]:
    known = [target for target in targets if target != PD_TARGET]
    for target, law in laws.items():
        where = f"risk.score_pd.{target}"
        if target not in known:
            expected = f"one of the targets {', '.join(known) or '(there are none)'}"
            yield ConfigError(file, where, expected, target, suggestion(target, known))
        if (law.half_odds > 0.0) == (law.loss > 0.0):
            found = f"half_odds = {law.half_odds:g}, loss = {law.loss:g}"
            yield ConfigError(file, where, "one of half_odds and loss above zero", found)


def _check_times(file: str, risk: RiskConfig) -> Iterator[ConfigError]:
    """Yield an error about a memory that is too short, or a validity without heartbeats."""
    people = risk.people
    if people.key_memory_s < people.replay_s:
        expected = f"at least risk.people.replay_s = {people.replay_s:g} s"
        yield ConfigError(file, "risk.people.key_memory_s", expected, people.key_memory_s)
    if risk.valid_s < MIN_VALID_S:
        expected = f"at least {MIN_VALID_S:g} s: a heartbeat comes every 15 s, and one may be lost"
        yield ConfigError(file, "risk.valid_s", expected, risk.valid_s)


def _check_drills(file: str, plans: tuple[DrillPlan, ...]) -> Iterator[ConfigError]:
    """Yield an error about each invalid drill plan or duplicate id."""
    yield from _check_unique(file, "risk.drills", (plan.id for plan in plans))
    for i, plan in enumerate(plans):
        where = f"risk.drills[{i}]"
        if not is_scope(plan.scope):
            yield ConfigError(file, f"{where}.scope", "a scope, such as firm", plan.scope)
        if _TIME.fullmatch(plan.at) is None:
            yield ConfigError(file, f"{where}.at", "a time of day as HH:MM, UTC", plan.at)
        if plan.weekday and plan.every_s % WEEK_S:
            expected = "whole weeks, where there is a weekday"
            yield ConfigError(file, f"{where}.every_s", expected, plan.every_s)
        for client in plan.expect:
            if CLIENT_NAME.fullmatch(client) is None:
                yield ConfigError(file, f"{where}.expect", "names of clients", client)


def check_modes(
    file: str, risk: RiskConfig, pack: RulePack, limits: LimitsConfig
) -> Iterator[ConfigError]:
    """Yield an error about each id in ``[risk]`` that names none, or two things.

    Parameters
    ----------
    file : str
        Name of the file of the policy, for the error.
    risk : RiskConfig
        What it says of rules, limits and asks.
    pack, limits : RulePack and LimitsConfig
        The rules and limits that there are.
    """
    if risk.unconfirmed:
        expected = "nothing: a worker works it out when it begins"
        yield ConfigError(file, "risk.unconfirmed", expected, list(risk.unconfirmed))
    asks = dict.fromkeys(ask.rule_id for ask in risk.asks)
    known = [rule.id for rule in pack.rules]
    known += [limit.id for limit in limits.limits]
    known += asks
    advisory = risk.advisory or ()
    for name, ids in (("advisory", advisory), ("binding", risk.binding or ())):
        yield from _check_unique(file, f"risk.{name}", ids)
        for i, each in enumerate(ids):
            where = f"risk.{name}[{i}]"
            if name == "binding" and each in advisory:
                yield ConfigError(file, where, "what risk.advisory does not name, too", each)
            if each == ALL:
                continue
            if each not in known:
                expected = "the id of a rule, a limit or an ask (riskwatch rules check names them)"
                yield ConfigError(file, where, expected, each, suggestion(each, known))
            if known.count(each) > 1:
                expected = "an id that is not a rule's and a limit's at once"
                yield ConfigError(file, where, expected, each)


def _check_sources(file: str, risk: RiskConfig) -> Iterator[ConfigError]:
    """Yield an error about each source that has no weight, or two proofs."""
    if risk.unproven:
        expected = "nothing: a live worker works it out when it begins"
        yield ConfigError(file, "risk.unproven", expected, list(risk.unproven))
    yield from _check_unique(file, "risk.topic_sources", risk.topic_sources or ())
    for i, source in enumerate(risk.topic_sources or ()):
        where = f"risk.topic_sources[{i}]"
        if source not in risk.source_weights:
            yield ConfigError(file, where, "a source of [risk.source_weights]", source)
        if source in (risk.source_keys or {}):
            yield ConfigError(file, where, "a source without a key: its key is its proof", source)


def _check_keys(
    file: str, where: str, keys: Mapping[str, str], names: re.Pattern[str]
) -> Iterator[ConfigError]:
    """Yield an error about each name or key that is invalid, or shared key."""
    seen: dict[str, str] = {}
    for name, key in keys.items():
        if names.fullmatch(name) is None:
            yield ConfigError(file, where, "a name as records have it", name)
        problem = public_key_problem(key)
        if problem is not None:
            yield ConfigError(file, f"{where}.{name}", problem, key)
        first = seen.setdefault(key, name)
        if first != name:
            expected = f"a key of its own, this one is {first}'s"
            yield ConfigError(file, f"{where}.{name}", expected, key)


def check_operators(file: str, made: Operators) -> Iterator[ConfigError]:
    """Yield an error about each shared key, or books of a role without books.

    The approval by two people compares keys, so one key under two names would count as two people.
    """
    seen: dict[str, str] = {}
    for operator in made.operators.values():
        where = f"operators.{operator.id}"
        first = seen.setdefault(operator.public_key, operator.id)
        if first != operator.id:
            expected = f"a key of its own, this one is {first}'s"
            yield ConfigError(file, f"{where}.public_key", expected, operator.public_key)
        if (operator.role is Role.TRADER) != bool(operator.books):
            expected = "books for a trader, and for nobody else"
            yield ConfigError(file, f"{where}.books", expected, list(operator.books))


def unknown_subjects(made: LimitsConfig, known: Reference) -> list[str]:
    """Return a warning for each limit whose subject is not in the reference data."""
    groups = {party.group for party in known.parties.values()}
    return [
        f"limit {limit.id}: {limit.scope_kind} {limit.subject!r} is not in the reference data"
        for limit in made.limits
        if limit.subject != "*"
        and not (
            limit.scope_kind in ("book", "firm")
            or (limit.scope_kind == "asset" and limit.subject in known.assets)
            or (limit.scope_kind == "group" and limit.subject in groups)
            or (limit.scope_kind not in ("asset", "group") and limit.subject in known.parties)
        )
    ]


def _check_probabilities(file: str, table: dict[str, float]) -> Iterator[ConfigError]:
    """Check the default probabilities: floor, order from best to worst, and `unrated`."""
    if UNRATED not in table:
        yield ConfigError(file, f"pd_by_rating.{UNRATED}", "a value, found none")
    for rating, pd in table.items():
        if not PD_FLOOR <= pd <= 1.0:
            expected = f"a number from {PD_FLOOR} to 1.0"
            yield ConfigError(file, f"pd_by_rating.{rating}", expected, pd)
    for (better, low), (rating, pd) in pairwise(table.items()):
        if pd < low:
            expected = f"at least {low} like {better} before it: ratings go from best to worst"
            yield ConfigError(file, f"pd_by_rating.{rating}", expected, pd)


def _check_party(file: str, made: Reference, party: Party) -> Iterator[ConfigError]:
    where = f"parties.{party.id}"
    if party.native_token is not None and party.native_token not in made.assets:
        token = party.native_token
        near = suggestion(token, made.assets)
        yield ConfigError(file, f"{where}.native_token", "one of the assets", token, near)
    if party.rating not in made.pd_by_rating:
        expected = f"one of {', '.join(made.pd_by_rating)}"
        near = suggestion(party.rating, made.pd_by_rating)
        yield ConfigError(file, f"{where}.rating", expected, party.rating, near)
    for i, backing in enumerate(party.backing):
        if backing.holder not in made.parties or backing.holder == party.id:
            expected = "another of the parties"
            near = suggestion(backing.holder, made.parties)
            yield ConfigError(file, f"{where}.backing[{i}].holder", expected, backing.holder, near)
    yield from _check_unique(file, f"{where}.backing", (b.holder for b in party.backing), "holder")
    total = quantise(sum(b.share for b in party.backing), 9)
    if total > 1.0:
        yield ConfigError(file, f"{where}.backing", "shares that sum to at most 1", total)


def _check_text(file: str, key: str, text: str) -> Iterator[ConfigError]:
    allowed = f"plain words with {', '.join(f'{{{name}}}' for name in PLACEHOLDERS)}"
    try:
        pieces = list(Formatter().parse(text))
    except ValueError:
        yield ConfigError(file, key, allowed, text)
        return
    for _, name, _, _ in pieces:
        if name is not None and name not in PLACEHOLDERS:
            near = suggestion(name, PLACEHOLDERS)
            yield ConfigError(file, key, allowed, f"{{{name}}}", near)


def _check_unique(
    file: str, key: str, ids: Iterable[str], name: str = "id"
) -> Iterator[ConfigError]:
    seen: set[str] = set()
    for i, item in enumerate(ids):
        if item in seen:
            yield ConfigError(file, f"{key}[{i}].{name}", "each only once", item)
        seen.add(item)
