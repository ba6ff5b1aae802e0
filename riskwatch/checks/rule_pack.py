"""Conformance kit for rule packs: the files are valid, and the rules meet their fixtures.

A pack contains its expectations in ``fixtures/*.toml`` beside its rules. A fixture is a list of
steps of one scope. After each step, the scope must be in the state that the step names::

    [[fixtures]]
    about = "a discount that lasts is watched, and let go when it is over"
    scope = "asset:USDC"
    steps = [
      { t_s = "0s", features = { discount_bp = 25.0 }, expect = "NORMAL" },
      { t_s = "5m", features = { discount_bp = 25.0 }, expect = "WATCH" },
    ]

``t_s`` is event time since the beginning. ``observations`` is the number of new observations since
the step before (default 1). ``cause`` is the cause from the price graph (default ``none``). A
feature that is left out has no value, which differs from zero.

A pack that extends the shipped one inherits its fixtures, too. They say what the shipped rules do,
so they count for the coverage, and a step that comes out otherwise shows what the pack changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from riskwatch.config.config import load
from riskwatch.config.names import suggestion
from riskwatch.config.pack import SHIPPED, inherits
from riskwatch.config.paths import rules_folder
from riskwatch.config.toml import Checks, StructReader, at_least, not_empty, read_toml
from riskwatch.core.clock import SECOND
from riskwatch.core.enums import Cause, State
from riskwatch.core.risk.config import ALL, RiskConfig
from riskwatch.core.risk.rule_engine import RuleEngine
from riskwatch.core.risk.state import ScopeRow
from riskwatch.core.rules import COVERAGE_FEATURE, DRAWDOWN_FEATURE, LOSS_FEATURES, Rule, RulePack
from riskwatch.core.scopes import is_scope, kind_of_scope
from riskwatch.errors import ConfigError, raise_config_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from riskwatch.core.rules import Rule


class ScopeRuleEngine:
    """The rule engine of the risk stage for one scope, in its initial state.

    Parameters
    ----------
    pack : RulePack
        The rules.
    scope : str
        The scope; its kind selects the rules.

    Examples
    --------
    >>> from riskwatch.checks.rule_pack import Step
    >>> from riskwatch.core.rules import Condition, Rule, RulePack
    >>> rule = Rule(id="r", scope_kind="asset", state=State.WATCH,
    ...             any=(Condition(feature="discount_bp", at=20.0),))
    >>> engine = ScopeRuleEngine(RulePack(rules=(rule,)), "asset:USDC")
    >>> engine(Step(t_s=0.0, features={"discount_bp": 25.0}, expect=State.WATCH)).value
    'WATCH'
    """

    def __init__(self, pack: RulePack, scope: str) -> None:
        # A fixture says what a rule does where it binds, whatever it does now.
        self._rules = RuleEngine(pack, RiskConfig(binding=(ALL,))).of(scope)
        self._row = ScopeRow()
        self._us = 0

    def __call__(self, step: Step) -> State:
        """Apply one step and return the state."""
        us = int(step.t_s * SECOND)
        evaluation = self._rules.evaluate(
            self._row,
            step.features,
            step.cause,
            elapsed=us - self._us,
            fresh=step.observations,
        )
        self._us = us
        if self._row.state is not State.HALT:  # it latches
            self._row.state = evaluation.state
        return self._row.state


FOLDER: Final = "fixtures"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """The features of a scope at `t_s` seconds, and the state that it must have then."""

    t_s: float
    features: dict[str, float] = {}
    observations: int = 1
    cause: Cause = Cause.NONE
    expect: State


class Fixture(msgspec.Struct, frozen=True, kw_only=True):
    """A sequence of steps of one scope, with a description."""

    about: str
    scope: str
    steps: tuple[Step, ...]

    @property
    def scope_kind(self) -> str:
        """Kind of the scope."""
        return kind_of_scope(self.scope)


class Fixtures(msgspec.Struct, frozen=True, kw_only=True):
    """One file of fixtures."""

    fixtures: tuple[Fixture, ...]


class FixtureEngine(Protocol):
    """The rule engine of one scope."""

    def __call__(self, step: Step) -> State:
        """Apply one step and return the state."""
        ...


class FixtureEngineFactory(Protocol):
    """Makes rule engines."""

    def __call__(self, pack: RulePack, scope: str) -> FixtureEngine:
        """Return the rule engine of `scope` under `pack`, in its initial state."""
        ...


CHECKS: Final[Checks] = {
    (Fixtures, "fixtures"): not_empty,
    (Fixture, "about"): not_empty,
    (Fixture, "scope"): not_empty,
    (Fixture, "steps"): not_empty,
    (Step, "observations"): at_least(0),
}


def check_rule_pack(directory: Path, machine_of: FixtureEngineFactory) -> int:
    """Check that a folder of rules loads, and that its fixtures reach their expected states.

    Parameters
    ----------
    directory : Path
        Folder with ``reference.toml``, ``limits.toml``, ``static.toml``, ``policy.toml``,
        ``models.toml`` and ``fixtures/``.
    machine_of : FixtureEngineFactory
        ``machine_of(pack, scope)(step)`` is the state after a step.

    Returns
    -------
    int
        Number of steps that were checked.

    Raises
    ------
    ConfigError
        If a file cannot be used.
    AssertionError
        Naming every step with another state, and every rule without a fixture.
    """
    pack = load(directory).rules
    fixtures = load_fixtures(directory, pack)
    broken = [line for f in fixtures.values() for line in mismatches(pack, f, machine_of)]
    broken += [
        f"rule {rule} has no fixture in which it fires"
        for rule in rules_without_fixture(pack, {**fixtures, **inherited_fixtures(directory, pack)})
    ]
    if broken:
        raise AssertionError("\n".join(broken))
    return sum(len(fixture.steps) for fixture in fixtures.values())


def inherited_fixtures(directory: Path, pack: RulePack) -> dict[str, Fixture]:
    """Return the fixtures that a folder inherits, by ``shipped file[index]``; none if it does not.

    A fixture of a rule that the pack removed is left out if no rule uses its scope or features.
    """
    if not inherits(directory):
        return {}
    return {
        f"{SHIPPED} {where}": fixture
        for where, fixture in _read_fixtures(rules_folder(), []).items()
        if not any(_check_fixture("", "", fixture, pack))
    }


def load_fixtures(directory: Path, pack: RulePack) -> dict[str, Fixture]:
    """Read ``fixtures/*.toml`` of `directory`, in order of name, by ``file[index]``.

    Raises
    ------
    ConfigError
        If a fixture cannot be used with `pack`: none of its rules uses the scope or a feature, or
        time does not increase.
    """
    errors: list[ConfigError] = []
    found = _read_fixtures(directory, errors)
    for where, fixture in found.items():
        name, _, index = where.partition("[")
        errors += _check_fixture(name, f"fixtures[{index}", fixture, pack)
    raise_config_errors(errors)
    return found


def _read_fixtures(directory: Path, errors: list[ConfigError]) -> dict[str, Fixture]:
    """Return the fixtures of a folder by ``file[index]``; add the errors of unreadable files."""
    found: dict[str, Fixture] = {}
    for path in sorted((directory / FOLDER).glob("*.toml")):
        name = f"{FOLDER}/{path.name}"
        try:
            made = StructReader(name, CHECKS).struct(Fixtures, read_toml(path))
        except ConfigError as error:
            errors += error.errors
            continue
        found |= {f"{name}[{i}]": fixture for i, fixture in enumerate(made.fixtures)}
    return found


def mismatches(pack: RulePack, fixture: Fixture, machine_of: FixtureEngineFactory) -> list[str]:
    """Describe the steps of `fixture` after which the state differs from the expected one."""
    engine = machine_of(pack, fixture.scope)
    wrong = []
    for step in fixture.steps:
        state = engine(step)
        if state is not step.expect:
            wrong.append(
                f"{fixture.scope} at {step.t_s:g} s: expected {step.expect}, was {state} "
                f"({fixture.about})"
            )
    return wrong


def firing_fixtures(rule: Rule, fixtures: dict[str, Fixture]) -> list[str]:
    """Return the places of the fixtures in which a rule fires, alone and by its own state."""
    return [
        where
        for where, fixture in fixtures.items()
        if fixture.scope_kind == rule.scope_kind and _fires(rule, fixture)
    ]


def coverage_lines(pack: RulePack, fixtures: dict[str, Fixture]) -> list[str]:
    """Say of each rule which fixture fires it, and which of its conditions none does."""
    lines = []
    for rule in pack.rules:
        found = firing_fixtures(rule, fixtures)
        if not found:
            lines.append(f"note: rule {rule.id} has no fixture in which it fires")
            continue
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        lines.append(f"rule {rule.id} fires in {found[0]}{more}")
        alone = [(c.feature, msgspec.structs.replace(rule, any=(c,))) for c in rule.any]
        lines += [
            f"note: rule {rule.id} has no fixture in which {feature} fires it"
            for feature, part in alone
            if not firing_fixtures(part, fixtures)
        ]
    return lines


def rules_without_fixture(pack: RulePack, fixtures: dict[str, Fixture]) -> list[str]:
    """Return the ids of the rules that fire in no fixture."""
    return [rule.id for rule in pack.rules if not firing_fixtures(rule, fixtures)]


def _fires(rule: Rule, fixture: Fixture) -> bool:
    engine = ScopeRuleEngine(RulePack(rules=(rule,)), fixture.scope)
    return any(engine(step) is rule.state for step in fixture.steps)


def _check_fixture(file: str, key: str, fixture: Fixture, pack: RulePack) -> Iterator[ConfigError]:
    rules = pack.of(fixture.scope_kind)
    if not rules or not is_scope(fixture.scope):
        expected = "a scope of a kind that the rules are about"
        yield ConfigError(file, f"{key}.scope", expected, fixture.scope)
        return
    known = {condition.feature for rule in rules for condition in rule.any}
    if known & {DRAWDOWN_FEATURE, *LOSS_FEATURES}:
        known.add(COVERAGE_FEATURE)
    before = -1.0
    for i, step in enumerate(fixture.steps):
        where = f"{key}.steps[{i}]"
        if step.t_s <= before:
            yield ConfigError(file, f"{where}.t_s", f"more than {before:g} seconds", step.t_s)
        before = step.t_s
        for feature in step.features:
            if feature not in known:
                expected = f"one of {', '.join(sorted(known))} here"
                yield ConfigError(
                    file, f"{where}.features", expected, feature, suggestion(feature, known)
                )
