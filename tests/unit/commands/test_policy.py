"""``riskwatch policy diff``: what a change of the rules would have done."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from typer.testing import CliRunner

from riskwatch.bench.case import Case, Fact
from riskwatch.bench.policy_diff import GAINED, compare_runs, policy_run
from riskwatch.cli import app
from riskwatch.config.change import attached_diff
from riskwatch.config.config import load
from riskwatch.config.paths import rules_folder
from riskwatch.config.recorder import ConfigurationRecorder
from riskwatch.contracts.codec import encode
from riskwatch.core.clock import HOUR, MINUTE, micros
from riskwatch.core.enums import Cause, State
from riskwatch.core.outputs import Output
from riskwatch.engine.replay import risk_inputs, risk_outputs
from riskwatch.errors import ConfigError
from riskwatch.store.batch import Counts, ResumePoint
from tests.support.stored import Desk, at, history, named, opened

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

LATER: Final = """extends = "shipped"

[[rules]]
id = "asset.discount.reduce"
any = [{ feature = "discount_bp", at = 40.0, unit = "bp" }]
dwell_s = "5m"
"""
EARLIER: Final = LATER.replace("5m", "2m")
FRESH: Final = ResumePoint(1, {}, {}, Counts(), 0, 1, 1)
"""A database that has recorded nothing."""


def folder(path: Path, text: str, name: str = "static.toml") -> str:
    """Write a pack of one file."""
    path.mkdir(exist_ok=True)
    (path / name).write_text(text)
    return str(path)


def events(path: Path, *, repeats: int = 1) -> str:
    """Write the invented history; each line `repeats` times."""
    file = path / "events.ndjson"
    file.write_bytes(b"".join((encode(event) + b"\n") * repeats for event in history()))
    return str(file)


def run(*args: str, code: int = 0) -> Result:
    """Run a comparison that ends with a code."""
    done = CliRunner().invoke(app, ["policy", "diff", *args], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done


def test_an_equal_policy_prints_nothing(tmp_path: Path) -> None:
    """A pack that changes nothing gives no line, no JSON and code 0."""
    own, file = folder(tmp_path / "own", 'extends = "shipped"\n'), events(tmp_path)
    assert run("shipped", own, file, "--exit-code").output == ""
    assert run("shipped", own, file, "--json").output == ""


def test_a_shorter_dwell_moves_the_decision_by_minutes(tmp_path: Path) -> None:
    """REDUCE of the coin has both times, the dollars and the rule; twice the same bytes."""
    old, own = folder(tmp_path / "old", LATER), folder(tmp_path / "own", EARLIER)
    file, page = events(tmp_path), tmp_path / "diff.html"
    shown = run(old, own, file, "--html", str(page), "--exit-code", code=3).stdout
    assert "moved  REDUCE asset:USDC 2024-05-06T09:12:00Z -> 2024-05-06T09:09:00Z" in shown
    assert "(3 min earlier)" in shown
    assert "0 gained, 0 lost" in shown
    assert run(old, own, file).stdout == shown
    text = page.read_text()
    assert "2024-05-06T09:09:00" in text
    assert "<script" not in text
    row = json.loads(run(old, own, file, "--json").stdout)
    assert shown.splitlines()[-1] == f"digest: {row['digest']}"


def test_a_repeated_event_counts_once(tmp_path: Path) -> None:
    """A file with each line three times gives what the file gives."""
    own = folder(tmp_path / "own", EARLIER)
    once = run("shipped", own, events(tmp_path)).stdout
    assert run("shipped", own, events(tmp_path, repeats=3)).stdout == once


def test_a_journal_answers_about_rules(tmp_path: Path) -> None:
    """What was recorded equals itself; an own rule moves REDUCE, and not the HALT of a person."""
    desk = opened(named(), tmp_path)
    assert desk.run("policy", "diff", "recorded", "recorded").output == ""
    own = folder(tmp_path / "own", EARLIER)
    folder(tmp_path / "own", (desk.rules / "operators.toml").read_text(), "operators.toml")
    found = desk.run("policy", "diff", "recorded", own, "--json").stdout
    shifts: list[dict[str, Any]] = json.loads(found)["shifts"]
    assert ("asset:USDC", "REDUCE") in [(row["scope"], row["state"]) for row in shifts]
    assert "HALT" not in [row["state"] for row in shifts]
    said = desk.run("rules", "check", own, "--database", desk.url).stdout
    assert f"riskwatch policy diff recorded {own} --database" in said


def test_a_journal_says_what_needs_the_files(tmp_path: Path) -> None:
    """Changed reference data under a journal of readings is noted, on stderr."""
    desk = opened(named(), tmp_path)
    text = 'extends = "shipped"\n[parties.kraken]\nlgd = 0.9\n'
    own = folder(tmp_path / "own", text, "reference.toml")
    done = desk.run("policy", "diff", "recorded", own)
    assert "needs the files" in done.stderr


@pytest.mark.parametrize(
    ("args", "match"),
    [
        (("shipped", "shipped"), "files, --episode or --database"),
        (("recorded", "shipped", "x.ndjson"), "only a database has recorded one"),
        (("shipped", "shipped", "x.ndjson", "--episode", "ftx_2022"), "either files or an episode"),
        (("shipped", "shipped", "x.ndjson", "--html", "/nowhere/x.html"), "--html"),
    ],
)
def test_what_cannot_be_compared_is_said_before_the_run(
    args: tuple[str, ...], match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each wrong call is an error of the command line, and nothing is replayed."""
    monkeypatch.delenv("RISKWATCH_DATABASE", raising=False)
    with pytest.raises(ConfigError, match=match):
        run(*args)


def test_labels_tell_a_false_decision() -> None:
    """WATCH of a coin that a label lets reach WATCH is right, and false if it lets nothing."""
    config = load(rules_folder())
    inputs, _ = risk_inputs(config, history())
    outputs = [made for made in risk_outputs(config, inputs) if isinstance(made, Output)]
    onset = micros(at(6))

    def watched(answer: State) -> bool | None:
        fact = Fact("a dip", "asset:USDC", (Cause.ISSUER,), onset, onset + HOUR, answer, False)
        case = Case("dip", "A dip", onset - HOUR, onset + HOUR, (fact,))
        stays = policy_run(outputs, 0, case).stays
        return next(s.false for s in stays if (s.scope, s.state) == ("asset:USDC", State.WATCH))

    assert watched(State.WATCH) is False
    assert watched(State.NORMAL) is True
    nothing, all_of_them = policy_run([], 0), policy_run(outputs, 0)
    shifts = compare_runs(nothing, all_of_them, ("", "")).shifts
    assert {shift.kind for shift in shifts} == {GAINED}
    assert all(shift.stay.end - shift.stay.begin >= MINUTE for shift in shifts)


def test_a_desk_is_a_folder_of_its_own(tmp_path: Path) -> None:
    """The comparison writes nothing into the database that it reads."""
    desk: Desk = opened(named(), tmp_path)
    file = tmp_path / "stored.db"
    before = file.read_bytes()
    desk.run("policy", "diff", "recorded", "shipped")
    assert file.read_bytes() == before


def test_an_attached_comparison_is_recorded_with_its_change(tmp_path: Path) -> None:
    """The record of exactly this configuration names the comparison, and no other record does."""
    own = folder(tmp_path / "own", EARLIER)
    old = folder(tmp_path / "old", LATER)
    shown = run(old, own, events(tmp_path), "--attach").stdout
    made = load(tmp_path / "own")
    found = attached_diff(tmp_path / "own", made)
    assert shown.splitlines()[-1] == f"digest: {found}"
    (record,) = ConfigurationRecorder("risk", made, policy_diff=found)(FRESH)
    assert record.policy_diff == found
    folder(tmp_path / "own", LATER)
    assert attached_diff(tmp_path / "own", load(tmp_path / "own")) == ""
    with pytest.raises(ConfigError, match="--attach"):
        run(old, "shipped", events(tmp_path), "--attach")


def test_aliases_of_each_policy_name_the_events_of_files(tmp_path: Path) -> None:
    """A file with another spelling of a venue gives what the canonical file gives."""
    old, own = folder(tmp_path / "old", LATER), folder(tmp_path / "own", EARLIER)
    file = tmp_path / "events.ndjson"
    plain = run(old, own, events(tmp_path), "--json").stdout
    file.write_bytes(file.read_bytes().replace(b'"USDC"', b'"usdc"'))
    spelt = run(old, own, str(file), "--json").stdout
    assert json.loads(spelt)["shifts"] == json.loads(plain)["shifts"]
