"""Limits: how much of each is used by each subject, and which scopes it binds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.money import quantise
from riskwatch.core.reference import Limit, LimitsConfig, Reference
from riskwatch.core.risk.config import RiskConfig
from riskwatch.core.scopes import BANK, FIRM, kind_of_scope, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from riskwatch.core.risk.exposure import Exposures, ExposureSums
    from riskwatch.core.risk.state import LimitOverrideRow, LimitRow


UNKNOWN_FEATURE: Final = "limit_unknown"
LIMIT_FEATURES: Final = ("limit_ratio", "warning_ratio", UNKNOWN_FEATURE)
"""Features that limits bring about: usage ÷ hard value, usage ÷ warning value, and 1 if nothing
values a part of the use."""


def effective_limit(limit: Limit, overrides: Mapping[str, LimitOverrideRow]) -> Limit:
    """Return a limit with the operators' override applied, if there is one."""
    row = overrides.get(limit.id)
    if row is None:
        return limit
    return msgspec.structs.replace(limit, hard_usd=row.hard_usd, warning_share=row.warning_share)


ANY_SUBJECT = "*"
MAX_UTILISATION: Final = 1e12
"""Largest use of a limit that is told: more says no more."""
_AS_CONFIGURED: Final[dict[str, LimitOverrideRow]] = {}
_ALL_KNOWN: Final[dict[str, str]] = {}


class LimitUsage(msgspec.Struct, frozen=True, gc=False):
    """One limit on one subject.

    Attributes
    ----------
    limit : Limit
        The limit.
    scope : str
        The subject: ``counterparty:<id>``, ``issuer:<id>``, ``bank:<id>``, ``asset:<id>``,
        ``book:<id>``, ``group:<id>`` or ``firm``.
    used : float
        Sum of absolute exposures, USD.
    utilisation : float
        ``used / hard``.
    why : str
        Why a part of the use is unknown, so that the use is at least `used`; else empty.
    """

    limit: Limit
    scope: str
    used: float
    utilisation: float
    why: str = ""

    @property
    def key(self) -> str:
        """``limit|scope``."""
        return f"{self.limit.id}|{self.scope}"

    @property
    def status(self) -> str:
        """``ok``, ``warning``, ``unknown`` or ``breach``."""
        if self.utilisation >= 1.0:
            return "breach"
        if self.why:
            return "unknown"
        return "warning" if self.utilisation >= self.limit.warning_share else "ok"


def limit_usage(limit: Limit, scope: str, used: float, why: str = "") -> LimitUsage:
    """Return the usage of one limit; `why` says why a part of it is unknown.

    Examples
    --------
    >>> limit = Limit(id="usdc", scope_kind="asset", subject="USDC", hard_usd=100.0)
    >>> limit_usage(limit, "asset:USDC", 85.0).status
    'warning'
    """
    share = quantise(min(used / limit.hard_usd, MAX_UTILISATION))
    return LimitUsage(limit, scope, used, share, why)


BindingUsages = dict[str, dict[str, LimitUsage]]
"""The limit behind each limit feature, by scope and name of the feature."""


class LimitBook:
    """The firm's limits, and the scopes that they bind.

    A limit on ``*`` applies to each subject that has no limit of the same kind on its own name. An
    issuer's limit binds the assets it issues, a group's limit the counterparties in it. A bank has
    no switch, so its limit only gives the firm a warning.

    Parameters
    ----------
    limits : LimitsConfig
        Limits in file order.
    reference : Reference
        Issuers of assets, and groups of parties.
    config : RiskConfig, optional
        Which of them only advise; those that say so themselves by default.
    """

    def __init__(
        self, limits: LimitsConfig, reference: Reference, config: RiskConfig | None = None
    ) -> None:
        config = config or RiskConfig()
        self.limits = limits.limits
        self._by_id = {limit.id: limit for limit in limits.limits}
        self._advisory = {
            limit.id: None for limit in limits.limits if config.is_advisory(limit.id, limit.mode)
        }
        # A limit that only advises takes no subject out of one that binds.
        self._own = {
            (limit.scope_kind, limit.subject): None
            for limit in limits.limits
            if limit.id not in self._advisory
        }
        self._any_own = {(limit.scope_kind, limit.subject): None for limit in limits.limits}
        self._binds: dict[str, list[str]] = {}
        for name in sorted(reference.assets):
            issuer = reference.assets[name].issuer
            if issuer is not None:
                self._binds.setdefault(f"issuer:{issuer}", []).append(f"asset:{name}")
        for name in sorted(reference.parties):
            group = reference.parties[name].group
            if group is not None:
                self._binds.setdefault(f"group:{group}", []).append(f"counterparty:{name}")

    def measure(
        self,
        exposures: Exposures,
        overrides: Mapping[str, LimitOverrideRow] = _AS_CONFIGURED,
        unknown: Mapping[str, str] = _ALL_KNOWN,
    ) -> Iterator[LimitUsage]:
        """Measure every limit, with its override, on every subject that it applies to.

        `unknown` says of which scopes a part of the use is unknown, and why.
        """
        subjects = _subjects(unknown)
        for configured in self.limits:
            limit = effective_limit(configured, overrides)
            kind = limit.scope_kind
            if kind == FIRM:
                yield limit_usage(limit, FIRM, exposures.firm.gross, unknown.get(FIRM, ""))
                continue
            table = exposure_table(kind, exposures)
            names: Iterable[str] = table.keys() | subjects.get(kind, {}).keys()
            if limit.subject != ANY_SUBJECT:
                names = [limit.subject] if limit.subject in names else []
            else:
                own = self._any_own if limit.id in self._advisory else self._own
                names = [name for name in sorted(names) if (kind, name) not in own]
            for name in names:
                scope, sums = f"{kind}:{name}", table.get(name)
                used = 0.0 if sums is None else sums.gross
                yield limit_usage(limit, scope, used, unknown.get(scope, ""))

    def unused(
        self, exposures: Exposures, overrides: Mapping[str, LimitOverrideRow] = _AS_CONFIGURED
    ) -> Iterator[LimitUsage]:
        """Return a usage of zero for each subject of which nothing is held.

        A limit on ``*`` is returned under the name ``*``, which stands for all other subjects.
        """
        for configured in self.limits:
            limit = effective_limit(configured, overrides)
            kind = limit.scope_kind
            if kind != "firm" and limit.subject not in exposure_table(kind, exposures):
                yield limit_usage(limit, f"{kind}:{limit.subject}", 0.0)

    def is_advisory(self, limit: str) -> bool:
        """Whether a limit only advises."""
        return limit in self._advisory

    def released_usages(
        self,
        rows: dict[str, LimitRow],
        measured: dict[str, None],
        overrides: Mapping[str, LimitOverrideRow] = _AS_CONFIGURED,
    ) -> Iterator[LimitUsage]:
        """Return a usage of zero for each limit that has a row and is not in `measured`."""
        for key in sorted(rows):
            name, _, scope = key.partition("|")
            limit = self._by_id.get(name)
            if limit is not None and key not in measured:
                yield limit_usage(effective_limit(limit, overrides), scope, 0.0)

    @property
    def advises(self) -> bool:
        """Whether any limit is advisory."""
        return bool(self._advisory)

    def binding_usages(self, found: list[LimitUsage], *, advisory: bool = False) -> BindingUsages:
        """Return the limit behind each limit feature of the scopes that have a switch.

        The largest value counts, over the limits that bind the scope, and with `advisory` over all
        limits. :func:`limit_feature` gives the values.
        """
        out: BindingUsages = {}
        for usage in found:
            if usage.limit.id in self._advisory and not advisory:
                continue
            for scope in self._bound_scopes(usage.scope):
                known = out.setdefault(scope, {})
                for feature in LIMIT_FEATURES:
                    before = known.get(feature)
                    if before is None or (
                        limit_feature(feature, usage) > limit_feature(feature, before)
                    ):
                        known[feature] = usage
        return out

    def _bound_scopes(self, subject: str) -> Sequence[str]:
        """Return the scopes that a limit on `subject` binds."""
        kind = kind_of_scope(subject)
        if kind == BANK:
            return (FIRM,)
        if kind in ("issuer", "group"):
            return self._binds.get(subject, ())
        return (subject,)


def limit_feature(feature: str, usage: LimitUsage) -> float:
    """Return the value of one limit feature. A bank's limit only warns."""
    if feature == UNKNOWN_FEATURE:
        return 1.0 if usage.why else 0.0
    if feature == "limit_ratio":
        return 0.0 if kind_of_scope(usage.scope) == BANK else usage.utilisation
    return quantise(usage.utilisation / max(usage.limit.warning_share, 1e-6))


def usage_features(binding: BindingUsages) -> dict[str, dict[str, float]]:
    """Return the limit features by scope."""
    return {
        scope: {feature: limit_feature(feature, usage) for feature, usage in usages.items()}
        for scope, usages in binding.items()
    }


def _subjects(unknown: Mapping[str, str]) -> dict[str, dict[str, None]]:
    """Return the names of scopes, by kind."""
    found: dict[str, dict[str, None]] = {}
    for scope in unknown:
        at = parse(scope)
        found.setdefault(at.kind, {})[at.name] = None
    return found


def exposure_table(kind: str, exposures: Exposures) -> dict[str, ExposureSums]:
    """Return the exposure sums of one kind of subject, by subject; not of the firm."""
    tables: dict[str, dict[str, ExposureSums]] = {
        "counterparty": exposures.party,
        "issuer": exposures.issuer,
        "bank": exposures.bank,
        "asset": exposures.asset,
        "book": exposures.book,
        "group": exposures.group,
    }
    return tables[kind]
