"""``riskwatch init``, ``config show`` and ``rules check``: a pack of two files of one's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from riskwatch.cli import app
from riskwatch.commands.init import pack_files
from riskwatch.config.config import load
from riskwatch.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["--venue", "kraken", "--venue", "newex", "--coin", "USDC", "--coin", "ZZZ"]


def run(*args: str) -> str:
    """Run a command that succeeds; an error is raised."""
    done = CliRunner().invoke(app, list(args), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_two_files_are_enough_and_hold_together(tmp_path: Path) -> None:
    """What init writes is checked without an error, and no limit is above the firm's."""
    folder = tmp_path / "own"
    said = run("init", str(folder), *NAMES, "--equity", "5000000", "--book", "arb")
    assert sorted(path.name for path in folder.iterdir()) == ["limits.toml", "reference.toml"]
    assert "venue newex is new" in said
    assert "coin ZZZ is new" in said
    checked = run("rules", "check", "--config", str(folder))
    assert "static.toml is the shipped one" in checked
    made = load(folder)
    limits = {(limit.scope_kind, limit.subject): limit.hard_usd for limit in made.limits.limits}
    assert made.limits.equity_usd == 5_000_000.0
    assert max(limits.values()) == limits["firm", "*"] == 5_000_000.0
    assert limits["counterparty", "kraken"] == 2_000_000.0
    assert limits["issuer", "circle"] == limits["asset", "USDC"] == 1_250_000.0
    assert ("counterparty", "coinbase") not in limits
    assert made.reference.parties["newex"].rating == "unrated"


def test_nothing_is_written_that_cannot_be_used(tmp_path: Path) -> None:
    """A misspelt venue is refused, and no file is left; an own file is never replaced."""
    folder = tmp_path / "own"
    with pytest.raises(ConfigError, match="kraken"):
        run("init", str(folder), "--venue", "krakn", "--coin", "BTC", "--equity", "10")
    assert not folder.exists()
    run("init", str(folder), *NAMES, "--equity", "10")
    before = (folder / "limits.toml").read_text()
    with pytest.raises(ConfigError, match=r"limits\.toml"):
        run("init", str(folder), *NAMES, "--equity", "20")
    assert (folder / "limits.toml").read_text() == before


def test_a_missing_option_is_named_where_nobody_can_be_asked(tmp_path: Path) -> None:
    """Off a terminal the error names the option."""
    with pytest.raises(ConfigError, match="--equity"):
        run("init", str(tmp_path / "own"), *NAMES)
    with pytest.raises(ConfigError, match="--venue"):
        pack_files([], ["BTC"], [], 1.0)


def test_config_show_tells_where_a_value_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Own, shipped and environment are told apart, and a secret is not shown."""
    folder = tmp_path / "own"
    run("init", str(folder), *NAMES, "--equity", "5000000")
    monkeypatch.setenv("RISKWATCH_KAFKA_PASSWORD", "hunter2hunter2")
    shown = run("config", "show", "--config", str(folder), "--json")
    assert "hunter2" not in shown
    found = {row["path"]: row for row in map(json.loads, shown.splitlines())}
    assert found["equity_usd"]["layer"] == "own"
    assert found["rules.asset.discount.halt.dwell_s"] == {
        "file": "static.toml",
        "path": "rules.asset.discount.halt.dwell_s",
        "value": 300.0,
        "layer": "shipped",
        "at": "rules[2].dwell_s",
    }
    assert found["RISKWATCH_KAFKA_PASSWORD"]["value"] == "(set)"
    assert found["RISKWATCH_KAFKA_PASSWORD"]["layer"] == "environment"
    changed = run("config", "show", "--config", str(folder), "--changed").splitlines()
    assert changed
    assert not [line for line in changed if "[shipped" in line or "[default" in line]
    only = run("config", "show", "limits.firm", "--config", str(folder)).splitlines()
    assert only[0].startswith("limits.toml limits.firm.scope_kind")


def test_rules_check_reads_the_mounted_folder_and_names_every_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RISKWATCH_CONFIG is checked, and errors of limits and routes come together."""
    run("init", str(tmp_path / "own"), *NAMES, "--equity", "5000000")
    folder = tmp_path / "own"
    (folder / "notify.toml").write_text(
        '[routes.pager]\nkind = "webhook"\nurl_env = "PAGER_URL"\nsecret_env = "PAGER_SECRET"\n'
    )
    text = (folder / "limits.toml").read_text()
    (folder / "limits.toml").write_text(text.replace("equity_usd = 5", "equity_usd = -5"))
    monkeypatch.setenv("RISKWATCH_CONFIG", str(folder))
    with pytest.raises(ConfigError) as caught:
        run("rules", "check")
    found = [(error.file, error.key) for error in caught.value.errors]
    assert found == [("limits.toml", "equity_usd"), ("notify.toml", "routes.pager.url_env")]
    (folder / "limits.toml").write_text(text)
    monkeypatch.setenv("PAGER_URL", "http://pager.example/hook")
    monkeypatch.setenv("PAGER_SECRET", "s" * 32)
    with pytest.raises(ConfigError, match="https"):
        run("rules", "check")
    assert "notify.toml: 1 routes" in run("rules", "check", "--no-secrets")
    monkeypatch.setenv("PAGER_URL", "https://pager.example/hook")
    run("rules", "check")


def test_rules_check_says_which_shipped_step_an_own_rule_moves(tmp_path: Path) -> None:
    """A changed threshold is a note about the inherited fixture, and no failure."""
    (tmp_path / "static.toml").write_text(
        'extends = "shipped"\n[[rules]]\nid = "asset.discount.halt"\n'
        'any = [{ feature = "discount_bp", at = 9000.0, unit = "bp" }]\n'
    )
    said = run("rules", "check", str(tmp_path))
    moved = [line for line in said.splitlines() if "your rules differ from the shipped" in line]
    assert moved
    assert all(line.startswith("note: shipped fixtures/asset.toml") for line in moved)
