"""Checks of the table of names: each spelling means one thing at a venue and a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from riskwatch.config.names import suggestion
from riskwatch.core.enums import State
from riskwatch.core.names import (
    ASSET_NAME,
    PARTY_NAME,
    UNITY,
    canonical_name,
    canonical_scope,
    day_us,
    overlaps,
)
from riskwatch.core.risk.limits import ANY_SUBJECT
from riskwatch.core.scopes import ASSET, BOOK, COUNTERPARTY, FIRM, GROUP
from riskwatch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from riskwatch.core.names import Alias, NamesConfig, NameTable
    from riskwatch.core.reference import LimitsConfig, Reference
    from riskwatch.core.risk.config import RiskConfig

_NOW: Final = day_us("2100-01-01")
"""A time at which only the aliases without an end hold."""


def day_fault(day: str) -> str | None:
    """Return what a day must be instead; ``None`` if it is one, or empty.

    Examples
    --------
    >>> day_fault("2022-05-28"), day_fault(""), day_fault("28 May")
    (None, None, 'a day such as 2022-05-28')
    """
    try:
        day_us(day or "2022-05-28")
    except ValueError:
        return "a day such as 2022-05-28"
    return None


def check_aliases(file: str, made: NamesConfig) -> Iterator[ConfigError]:
    """Yield an error about each alias that contradicts another, or itself."""
    yield from _check_kind(file, "assets", made.assets)
    yield from _check_kind(file, "parties", made.parties)
    for i, alias in enumerate(made.parties):
        if alias.venue:
            expected = "no venue: a counterparty has its names everywhere"
            yield ConfigError(file, f"parties[{i}].venue", expected, alias.venue)
        if alias.unit != "1":
            expected = "no unit: a counterparty is no amount"
            yield ConfigError(file, f"parties[{i}].unit", expected, alias.unit)


def _check_kind(file: str, key: str, aliases: tuple[Alias, ...]) -> Iterator[ConfigError]:
    seen: dict[tuple[str, str], list[tuple[int, Alias]]] = {}
    for i, alias in enumerate(aliases):
        if alias.since and alias.until and alias.since >= alias.until:
            expected = f"a day after since = {alias.since}"
            yield ConfigError(file, f"{key}[{i}].until", expected, alias.until)
        if (alias.spelling, alias.unit) == (alias.name, "1") and not alias.venue:
            yield ConfigError(file, f"{key}[{i}].name", "another name", alias.name)
        others = seen.setdefault((alias.venue, alias.spelling), [])
        first = next((n for n, other in others if overlaps(alias, other)), None)
        if first is not None:
            where = f" at {alias.venue}" if alias.venue else ""
            expected = (
                f"a spelling with one meaning{where} at a time: {key}[{first}] has it already"
            )
            yield ConfigError(file, f"{key}[{i}].spelling", expected, alias.spelling)
        others.append((i, alias))


def check_names(file: str, made: NamesConfig, known: Reference) -> Iterator[ConfigError]:
    """Yield an error about each alias of a name that is not listed, or that has two meanings.

    A listed name may be an alias at one venue, or until a day: then it means another one there, or
    meant another one before. A general alias that hides a listed name for ever is refused.
    """
    for key, aliases, listed in (
        ("assets", made.assets, known.assets),
        ("parties", made.parties, known.parties),
    ):
        for i, alias in enumerate(aliases):
            where = f"{key}[{i}]"
            if alias.name not in listed:
                expected = f"a name in [{key}] of reference.toml"
                near = suggestion(alias.name, listed)
                yield ConfigError(file, f"{where}.name", expected, alias.name, near)
            if alias.venue and alias.venue not in known.parties:
                expected = "a counterparty in [parties] of reference.toml"
                near = suggestion(alias.venue, known.parties)
                yield ConfigError(file, f"{where}.venue", expected, alias.venue, near)
            if _hides(alias, listed):
                expected = (
                    "a spelling that reference.toml does not list, or with `venue`, or with a day "
                    "on which it ends or begins"
                )
                yield ConfigError(file, f"{where}.spelling", expected, alias.spelling)
            again = next((n for n, other in enumerate(aliases) if _leads_on(alias, other)), None)
            if again is not None:
                expected = f"a name that {key}[{again}] does not turn into another one"
                yield ConfigError(file, f"{where}.name", expected, alias.name)


def _hides(alias: Alias, listed: Mapping[str, object]) -> bool:
    """Whether a listed name would never be found under its own spelling."""
    return alias.spelling in listed and not (alias.venue or alias.since or alias.until)


def _leads_on(alias: Alias, other: Alias) -> bool:
    """Whether what an alias means is itself a general alias of something else at that time."""
    is_next = other.spelling == alias.name and not other.venue and overlaps(alias, other)
    return is_next and (other.name, other.unit) != (alias.name, "1")


def check_policy_scopes(file: str, risk: RiskConfig, table: NameTable) -> Iterator[ConfigError]:
    """Yield an error about each scope and counterparty of the policy under an alias."""
    named = {f"risk.drills[{i}].scope": drill.scope for i, drill in enumerate(risk.drills)}
    if risk.pretrade is not UNSET:
        named |= {f"risk.pretrade.scopes.{scope}": scope for scope in risk.pretrade.scopes}
        named |= {
            f"risk.pretrade.clients.{name}.counterparties": f"{COUNTERPARTY}:{party}"
            for name, terms in risk.pretrade.clients.items()
            for party in terms.counterparties
        }
    for key, scope in named.items():
        found = canonical_scope(table, scope, _NOW)
        if found != scope:
            yield ConfigError(file, key, f"the canonical name {found}", scope, found)


def unlisted_lines(limits: LimitsConfig, risk: RiskConfig, table: NameTable) -> list[str]:
    """Return one line for each name in use that nothing lists, and what orders for it get.

    Parameters
    ----------
    limits : LimitsConfig
        Limits; a limit on an asset or a counterparty uses its name.
    risk : RiskConfig
        The policy.
    table : NameTable
        The table of names.
    """
    if risk.unlisted is State.NORMAL:
        return []
    kinds = {ASSET: ASSET_NAME, COUNTERPARTY: PARTY_NAME}
    used = [(limit.scope_kind, limit.subject) for limit in limits.limits]
    if risk.pretrade is not UNSET:
        for terms in risk.pretrade.clients.values():
            used += [(COUNTERPARTY, party) for party in terms.counterparties]
    lines = []
    for kind, name in sorted(dict.fromkeys(used)):
        if kind in kinds and name != ANY_SUBJECT:
            found = canonical_name(table, kinds[kind], None, name, _NOW)
            if not found.listed:
                lines.append(
                    f"{kind}:{name} is not listed: orders for it are answered by unlisted = "
                    f"{risk.unlisted.value}; list it in reference.toml, or name it in names.toml"
                )
    return lines


def check_limit_subjects(
    file: str, limits: LimitsConfig, table: NameTable
) -> Iterator[ConfigError]:
    """Yield an error about each limit on an alias: nothing would ever be counted under it."""
    for i, limit in enumerate(limits.limits):
        if limit.scope_kind in (BOOK, FIRM, GROUP) or limit.subject == ANY_SUBJECT:
            continue
        kind = ASSET_NAME if limit.scope_kind == ASSET else PARTY_NAME
        found = canonical_name(table, kind, None, limit.subject, _NOW)
        if (found.name, found.unit) != (limit.subject, UNITY):
            expected = f"the canonical name {found.name}"
            yield ConfigError(file, f"limits[{i}].subject", expected, limit.subject, found.name)
