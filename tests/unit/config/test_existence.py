"""Names in the configuration exist: all errors at once, with the name that was meant."""

from __future__ import annotations

import ast
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pytest
from structlog.testing import capture_logs

from riskwatch.config.config import digest, load
from riskwatch.config.recorder import config_content, restore_config, unknown_names
from riskwatch.contracts.outputs import encode_output
from riskwatch.core.outputs import ConfigurationChanged
from riskwatch.core.risk.features import FEATURES
from riskwatch.core.risk.limits import LIMIT_FEATURES
from riskwatch.core.rules import COVERAGE_FEATURE, DRAWDOWN_FEATURE, LOSS_FEATURES, RulePack
from riskwatch.engine import bootstrap
from riskwatch.errors import ConfigError
from tests.support.rederiving import CONFIG

if TYPE_CHECKING:
    from pathlib import Path

    from riskwatch.config.config import Config


@pytest.fixture
def folder(tmp_path: Path, root: Path) -> Path:
    """A copy of the shipped rules."""
    return shutil.copytree(root / "rules", tmp_path / "rules")


def recorded(made: Config) -> ConfigurationChanged:
    """Return a configuration as a worker records it."""
    parts = (made.reference, made.limits, made.rules, made.policy, made.operators)
    return ConfigurationChanged(
        id="1", cause_id="c", ts=datetime(2023, 3, 11, tzinfo=UTC), worker="risk", journal=1,
        digest=digest(*parts, names=made.names),
        previous="", changes=[], content=config_content(made),
    )  # fmt: skip


def replaced(folder: Path, file: str, old: str, new: str) -> None:
    """Replace the first occurrence in one file."""
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))


def test_a_halt_rule_on_a_feature_that_does_not_exist_is_refused_without_a_fixture(
    folder: Path,
) -> None:
    """It would load, never fire, and nothing would say so."""
    shutil.rmtree(folder / "fixtures")
    replaced(folder, "static.toml", '"discount_bp", at = 250.0', '"discont_bp", at = 250.0')
    with pytest.raises(ConfigError, match=r"did you mean discount_bp\?") as caught:
        load(folder)
    assert (caught.value.file, caught.value.key) == ("static.toml", "rules[2].any[0].feature")


def test_a_feature_of_another_kind_of_scope_is_refused(folder: Path) -> None:
    """A book has no discount."""
    replaced(folder, "static.toml", 'scope_kind = "asset"', 'scope_kind = "book"')
    known = "drawdown_bp, loss_day_bp, loss_24h_bp, equity_coverage, limit_ratio, warning_ratio"
    with pytest.raises(ConfigError, match=f"a feature of book: {known}"):
        load(folder)


def test_a_rule_may_use_the_probability_of_a_model_that_there_is(folder: Path) -> None:
    """Probabilities are features of the kind of scope of their target, and only of that."""
    score = "p.anchored.depeg(discount 20bp, 1h)"
    replaced(folder, "static.toml", '"discount_bp", at = 20.0', f'"{score}", at = 0.9')
    assert load(folder).rules.rules[0].any[0].feature == score
    replaced(folder, "static.toml", score, "p.anchord.depeg(discount 20bp, 1h)")
    with pytest.raises(ConfigError, match="anchord"):
        load(folder)


def test_all_errors_of_all_files_are_reported_at_once(folder: Path) -> None:
    """Each has its file, its key and the name that was meant."""
    replaced(folder, "reference.toml", 'issuer = "tether"', 'issuer = "tehter"')
    replaced(folder, "limits.toml", 'subject = "kraken"', 'subject = "krakn"')
    replaced(folder, "static.toml", '"discount_bp", at = 20.0', '"discont_bp", at = 20.0')
    replaced(folder, "static.toml", 'state = "HALT"', 'state = "HLAT"')
    replaced(folder, "policy.toml", "[market]", "[markt]")
    replaced(folder, "models.toml", 'measure = "dislocation_bp"', 'measure = "dislocaton_bp"')
    replaced(folder, "models.toml", "velocity_bp = 10.0", "velocty_bp = 10.0")
    with pytest.raises(ConfigError) as caught:
        load(folder)
    assert [(each.file, each.key, each.meant) for each in caught.value.errors] == [
        ("reference.toml", "assets.USDT.issuer", "tether"),
        ("static.toml", "rules[2].state", "HALT"),
        ("policy.toml", "markt", "market"),
        ("models.toml", "targets[5].measure", "dislocation_bp"),
        ("models.toml", "generations[1].options.scales.velocty_bp", "velocity_bp"),
    ]
    # What compares files needs both of them.
    assert len(str(caught.value).splitlines()) == 5


def test_a_recorded_name_that_never_existed_is_said_at_the_start_and_replays() -> None:
    """An earlier release accepted it: the start says so in a line, and does not fall."""
    first, *others = CONFIG.rules.rules
    wrong = msgspec.structs.replace(first.any[0], feature="discont_bp")
    pack = RulePack(rules=(msgspec.structs.replace(first, any=(wrong,)), *others))
    old = msgspec.structs.replace(CONFIG, rules=pack)
    record = recorded(old)
    (line,) = unknown_names(record)
    assert "discont_bp" in line
    assert "never existed" in line
    with capture_logs() as logged:
        assert bootstrap.confirmed(CONFIG, encode_output(record)).rules == CONFIG.rules
    assert [each["what"] for each in logged if each["event"] == "recorded configuration"] == [line]
    assert restore_config(record).rules == pack
    assert unknown_names(recorded(CONFIG)) == []
    assert unknown_names(None) == []


def test_the_list_of_features_is_what_the_code_computes(root: Path) -> None:
    """A feature that nothing computes would never fire, and a missing one would be refused."""
    tree = ast.parse((root / "riskwatch/core/risk/features.py").read_text())
    computed = {DRAWDOWN_FEATURE, *LOSS_FEATURES, COVERAGE_FEATURE, *LIMIT_FEATURES}
    whole = (root / "riskwatch/core/risk/evaluator.py").read_text()
    book = {"unpriced", "unrecognised", "unsure_share"}  # of the book, not of one reading
    assert all(f'"{name}"' in whole for name in book)
    computed |= book
    for node in (each for part in tree.body for each in ast.walk(part)):
        keys: list[ast.expr | None] = []
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            keys = [node.slice]
        elif isinstance(node, ast.Dict):
            keys = node.keys
        computed |= {str(k.value) for k in keys if isinstance(k, ast.Constant)}
    assigned = (node for node in tree.body if isinstance(node, ast.AnnAssign))
    news = next(node for node in assigned if "_NEWS" in ast.dump(node.target))
    texts = [str(n.value) for n in ast.walk(news) if isinstance(n, ast.Constant)]
    computed |= {text for text in texts if text.endswith("_weight")}
    assert computed == {name for names in FEATURES.values() for name in names}


def test_a_folder_without_rules_is_one_error(tmp_path: Path) -> None:
    """Not one for each file that it lacks."""
    with pytest.raises(ConfigError, match=r"^reference\.toml: expected a file") as caught:
        load(tmp_path)
    assert len(caught.value.errors) == 1
