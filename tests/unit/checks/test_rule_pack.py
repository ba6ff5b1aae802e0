"""The kit for rule packs: fixtures are read strictly, and a wrong rule engine is found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
import typer
from typer.testing import CliRunner

from riskwatch.checks import check_rule_pack
from riskwatch.checks.rule_pack import load_fixtures
from riskwatch.commands import rules as command
from riskwatch.config.config import load
from riskwatch.core.enums import State
from riskwatch.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from riskwatch.checks.rule_pack import FixtureEngine, Step
    from riskwatch.core.rules import Rule, RulePack

STATIC: Final = """
[[rules]]
id = "asset.discount"
scope_kind = "asset"
state = "REDUCE"
any = [{ feature = "discount_bp", at = 50.0, unit = "bp" }]
dwell_s = "5m"
observations = 3
exit_dwell_s = "10m"
"""
FIXTURES: Final = """
[[fixtures]]
about = "a discount that lasts is acted on, and let go when it is over"
scope = "asset:USDC"
steps = [
  { t_s = "0s", features = { discount_bp = 60.0 }, cause = "issuer", expect = "NORMAL" },
  { t_s = "4m", features = { discount_bp = 60.0 }, expect = "NORMAL" },
  { t_s = "5m", features = { discount_bp = 60.0 }, expect = "REDUCE" },
  { t_s = "6m", features = { discount_bp = 40.0 }, expect = "REDUCE" },
  { t_s = "6m30s", observations = 0, expect = "REDUCE" },
  { t_s = "7m", features = { discount_bp = 10.0 }, expect = "REDUCE" },
  { t_s = "17m", features = { discount_bp = 10.0 }, expect = "NORMAL" },
]
"""


class OneRule:
    """The first rule of a pack as its docstring describes it: dwell, observations, exit."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.state = State.NORMAL
        self.since: float | None = None
        self.seen = 0

    def __call__(self, step: Step) -> State:
        """Apply one step; a step without a value neither confirms nor clears."""
        severity, condition = self.rule.severity(step.features)
        if condition is None:
            return self.state
        on = self.state is State.NORMAL
        if (severity >= 1.0) if on else (severity < self.rule.exit):
            self.since = step.t_s if self.since is None else self.since
            self.seen += step.observations
        else:
            self.since, self.seen = None, 0
        dwell = self.rule.dwell_s if on else self.rule.exit_dwell_s
        held = self.since is not None and step.t_s - self.since >= dwell
        if held and (not on or self.seen >= self.rule.observations):
            self.state = self.rule.state if on else State.NORMAL
            self.since, self.seen = None, 0
        return self.state


def right(pack: RulePack, scope: str) -> FixtureEngine:
    """Return an engine that follows the rule."""
    del scope
    return OneRule(pack.rules[0])


def hasty(pack: RulePack, scope: str) -> FixtureEngine:
    """Return an engine that ignores the dwell."""
    del scope
    rule = pack.rules[0]
    return lambda step: rule.state if rule.severity(step.features)[0] >= 1.0 else State.NORMAL


@pytest.fixture
def folder(tmp_path: Path, root: Path) -> Path:
    """Return a rules folder with one rule and its fixture."""
    for name in ("reference.toml", "limits.toml"):
        (tmp_path / name).write_text((root / "rules" / name).read_text())
    (tmp_path / "policy.toml").touch()
    (tmp_path / "models.toml").touch()
    (tmp_path / "static.toml").write_text(STATIC)
    (tmp_path / "fixtures").mkdir()
    (tmp_path / "fixtures" / "discount.toml").write_text(FIXTURES)
    return tmp_path


def test_a_machine_that_keeps_the_rules_passes(folder: Path) -> None:
    """Every step has the expected state, and the number of steps is returned."""
    assert check_rule_pack(folder, right) == 7


def test_a_machine_that_errs_is_named_step_by_step(folder: Path) -> None:
    """The message lists each wrong step with time, expected and found state."""
    with pytest.raises(AssertionError) as caught:
        check_rule_pack(folder, hasty)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("asset:USDC at 0 s: expected NORMAL, was REDUCE (a discount")
    assert len(lines) == 5


def test_a_rule_without_a_fixture_is_named(folder: Path) -> None:
    """A rule that fires in no fixture is an error."""
    other = STATIC.replace("asset.discount", "asset.other").replace("at = 50.0", "at = 500.0")
    with (folder / "static.toml").open("a") as file:
        file.write(other)
    with pytest.raises(AssertionError, match=r"^rule asset\.other has no fixture"):
        check_rule_pack(folder, right)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('"4m"', '"0s"', "fixtures[0].steps[1].t_s"),
        ("discount_bp", "discont_bp", "fixtures[0].steps[0].features"),
        ('"asset:USDC"', '"book:x"', "fixtures[0].scope"),
        ('"issuer"', '"bank"', "fixtures[0].steps[0].cause"),
        ("expect", "expects", "fixtures[0].steps[0].expects"),
        ("observations = 0", "observations = -1", "fixtures[0].steps[4].observations"),
        ("60.0", '"60"', "fixtures[0].steps[0].features.discount_bp"),
    ],
)
def test_a_fixture_that_tests_nothing_is_refused(
    folder: Path, old: str, new: str, key: str
) -> None:
    """A typo in a fixture is an error with its key, never a step that passes by accident."""
    (folder / "fixtures" / "discount.toml").write_text(FIXTURES.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_fixtures(folder, load(folder).rules)
    assert (caught.value.file, caught.value.key) == ("fixtures/discount.toml", key)


def test_the_command_says_what_it_read(folder: Path) -> None:
    """The command prints counts, the digest, and notes on allowed but unusual content."""
    with (folder / "limits.toml").open("a") as file:
        file.write(
            '[[limits]]\nid = "x"\nscope_kind = "bank"\nsubject = "nobank"\nhard_usd = 1.0\n'
        )
    app = typer.Typer()
    app.add_typer(command.app, name="rules")
    done = CliRunner().invoke(app, ["rules", "check", str(folder)])
    assert done.exit_code == 0, done.output
    assert "static.toml: 1 rules\n" in done.output
    assert "fixtures: 1 with 7 steps\n" in done.output
    assert f"digest: {load(folder).digest}\n" in done.output
    assert "note: limit x: bank 'nobank' is not in the reference data\n" in done.output
    assert done.output.count("note:") == 1


def test_the_command_fails_on_what_cannot_be_used(folder: Path) -> None:
    """The error of the loader reaches the entry point of the command line."""
    (folder / "policy.toml").unlink()
    app = typer.Typer()
    app.add_typer(command.app, name="rules")
    done = CliRunner().invoke(app, ["rules", "check", str(folder)])
    assert isinstance(done.exception, ConfigError)
