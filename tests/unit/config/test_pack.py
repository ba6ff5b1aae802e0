"""Packs that extend the shipped one: what merges, what is refused, and where an error stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from riskwatch.alerting.routes import load_notify
from riskwatch.checks import check_rule_pack
from riskwatch.checks.rule_pack import ScopeRuleEngine, inherited_fixtures
from riskwatch.config.config import load, load_limits, load_operators
from riskwatch.config.pack import inherited_lines, read_file
from riskwatch.config.paths import rules_folder
from riskwatch.config.provenance import effective_values
from riskwatch.core.enums import State
from riskwatch.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from riskwatch.config.config import Config
    from riskwatch.config.provenance import ConfigValue

EXTENDS = 'extends = "shipped"\n'


@pytest.fixture(scope="module")
def shipped() -> Config:
    """Return the shipped configuration."""
    return load(rules_folder())


def pack(folder: Path, **files: str) -> Path:
    """Write files of a pack; each begins with ``extends``."""
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(EXTENDS + text)
    return folder


def faults(folder: Path) -> list[tuple[str, str]]:
    """Return file and key of every error of a folder."""
    with pytest.raises(ConfigError) as caught:
        load(folder)
    return [(error.file, error.key) for error in caught.value.errors]


def test_a_pack_that_changes_nothing_has_the_digest_of_the_shipped_one(
    tmp_path: Path, shipped: Config
) -> None:
    """One file that only extends makes every other file the shipped one, artefacts included."""
    assert load(pack(tmp_path, limits="")).digest == shipped.digest
    assert load(pack(tmp_path, models="", policy="", static="")).digest == shipped.digest


def test_the_digest_does_not_tell_where_a_value_stands(tmp_path: Path, shipped: Config) -> None:
    """An own pack, and a whole folder with the same values, have one digest."""
    whole, own = tmp_path / "whole", tmp_path / "own"
    whole.mkdir()
    own.mkdir()
    for path in rules_folder().glob("*.toml"):
        (whole / path.name).write_text(path.read_text())
    (whole / "models").symlink_to(rules_folder() / "models")
    text = (whole / "limits.toml").read_text()
    assert "equity_usd = 25_000_000.0" in text
    (whole / "limits.toml").write_text(text.replace("25_000_000.0", "7_000_000.0"))
    found = load(pack(own, limits="equity_usd = 7_000_000.0\n"))
    assert found.digest == load(whole).digest
    assert found.digest != shipped.digest


def test_lists_merge_by_id_and_keep_their_order(tmp_path: Path, shipped: Config) -> None:
    """An entry of a known id changes that entry alone; a new one comes last."""
    text = """
[[limits]]
id = "binance"
scope_kind = "counterparty"
subject = "binance"
hard_usd = 5.0
[[limits]]
id = "kraken"
hard_usd = 3.0
"""
    limits = load(pack(tmp_path, limits=text)).limits.limits
    before = [limit.id for limit in shipped.limits.limits]
    assert [limit.id for limit in limits] == [*before, "binance"]
    kraken = limits[before.index("kraken")]
    assert (kraken.hard_usd, kraken.warning_share, kraken.subject) == (3.0, 0.85, "kraken")


def test_targets_and_asks_merge_by_what_they_are_about(tmp_path: Path, shipped: Config) -> None:
    """A target is known by kind, side, threshold and horizon, however the horizon is written."""
    models = """
[[targets]]
kind = "depeg"
side = "discount"
threshold = 20
horizon_s = 3600
label_every_s = "10m"
"""
    policy = """
[[risk.asks]]
target = "depeg(discount 20bp, 1h)"
generation = "anchored"
state = "WATCH"
at = 0.9
"""
    made = load(pack(tmp_path, models=models, policy=policy)).policy
    assert len(made.models.targets) == len(shipped.policy.models.targets)
    assert made.models.targets[0].label_every_s == 600.0
    assert made.models.targets[0].prior == shipped.policy.models.targets[0].prior
    first, *others = made.risk.asks
    assert (first.at, first.exit) == (0.9, 0.3)
    assert others == list(shipped.policy.risk.asks[1:])


def test_other_lists_are_replaced(tmp_path: Path) -> None:
    """The conditions of a rule have no ids, so an own list is the whole list."""
    text = """
[[rules]]
id = "counterparty.withdrawal.halt"
any = [{ feature = "withdrawal_age_ratio", at = 8.0, unit = "x" }]
"""
    rules = {rule.id: rule for rule in load(pack(tmp_path, static=text)).rules.rules}
    changed = rules["counterparty.withdrawal.halt"]
    assert [condition.at for condition in changed.any] == [8.0]
    assert changed.state is State.HALT


def test_what_is_removed_is_named_and_gone(tmp_path: Path, shipped: Config) -> None:
    """``remove`` takes ids of lists and names of tables, and the check says what it left out."""
    folder = pack(
        tmp_path,
        limits='remove = ["limits.svb"]\n[[limits]]\nid = "kraken"\nhard_usd = 1.0\n',
        static='remove = ["rules.asset.bleed.watch"]\n',
        policy='remove = ["risk.source_weights.desk", "risk.asks"]\n',
    )
    made = load(folder)
    assert len(made.limits.limits) == len(shipped.limits.limits) - 1
    assert "asset.bleed.watch" not in [rule.id for rule in made.rules.rules]
    assert "desk" not in made.policy.risk.source_weights
    assert made.policy.risk.asks == ()
    lines = "\n".join(inherited_lines(folder))
    assert "static.toml leaves out of the shipped one: rules.asset.bleed.watch" in lines
    assert "limits.toml leaves out of the shipped one: limits.svb" in lines


def test_a_misspelt_removal_is_refused_and_an_idle_one_named(tmp_path: Path) -> None:
    """A name nearly that of an inherited thing is an error; one that is gone is only named."""
    pack(tmp_path, limits='remove = ["limits.krakn"]\n')
    assert faults(tmp_path) == [("limits.toml", "remove[0]")]
    pack(tmp_path, limits='remove = ["limits.of-a-former-release"]\n')
    load(tmp_path)
    assert "removes limits.of-a-former-release" in "\n".join(inherited_lines(tmp_path))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('extends = "mine"', "extends"),
        ("extends = 1", "extends"),
        ('remove = ["limits.svb"]', "extends"),
        ('extends = "shipped"\nremove = "limits.svb"', "remove"),
        (
            'extends = "shipped"\nremove = ["limits.svb"]\n[[limits]]\nid = "svb"\nhard_usd = 1.0',
            "remove[0]",
        ),
    ],
)
def test_wrong_heads_are_refused(tmp_path: Path, text: str, key: str) -> None:
    """What extends nothing known, or removes what it sets itself, is an error at its key."""
    (tmp_path / "limits.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_limits(tmp_path)
    assert (caught.value.file, caught.value.key) == ("limits.toml", key)


def test_an_error_names_the_file_and_key_where_the_value_stands(tmp_path: Path) -> None:
    """All errors come at once; of an inherited value it is the place in the shipped file."""
    pack(
        tmp_path,
        limits="""
[[limits]]
id = "new"
hard_usd = 1.0
[[limits]]
id = "kraken"
hard_usd = -1
[[limits]]
id = "new"
hard_usd = 2.0
""",
        reference='remove = ["parties.circle"]\n',
        policy='[risk]\nvalid_s = "5s"\n',
    )
    found = faults(tmp_path)
    assert ("shipped reference.toml", "assets.USDC.issuer") in found
    assert ("limits.toml", "limits[1].hard_usd") in found
    assert ("limits.toml", "limits[0].scope_kind") in found
    assert ("limits.toml", "limits[2].subject") in found
    assert ("policy.toml", "risk.valid_s") in found


def test_two_own_entries_of_one_id_are_two(tmp_path: Path) -> None:
    """The second of two equal ids does not quietly replace the first."""
    twice = '[[limits]]\nid = "kraken"\nhard_usd = 1.0\n' * 2
    pack(tmp_path, limits=twice)
    assert ("limits.toml", "limits[1].scope_kind") in faults(tmp_path)


def test_a_misspelt_own_name_is_refused_beside_the_inherited_one(tmp_path: Path) -> None:
    """A venue that is one edit from a shipped one is no new venue."""
    pack(tmp_path, reference='[parties.krakn]\nkind = "exchange"\n')
    assert faults(tmp_path) == [("reference.toml", "parties.krakn")]
    pack(tmp_path, reference='distinct = ["krakn"]\n[parties.krakn]\nkind = "exchange"\n')
    assert "krakn" in load(tmp_path).reference.parties


def test_routes_and_operators_inherit_nothing_that_was_not_shipped(tmp_path: Path) -> None:
    """A pack without these files has no routes and no operators, as the shipped one."""
    pack(tmp_path, limits="")
    assert load_notify(tmp_path).routes == {}
    assert load_operators(tmp_path).operators == {}


def test_an_inherited_fixture_that_differs_does_not_fail_the_pack(tmp_path: Path) -> None:
    """A changed threshold moves a step of a shipped fixture, and the pack still meets its own."""
    text = """
[[rules]]
id = "asset.discount.halt"
any = [{ feature = "discount_bp", at = 9000.0, unit = "bp" }]
"""
    folder = pack(tmp_path, static=text)
    fixtures = inherited_fixtures(folder, load(folder).rules)
    assert "shipped fixtures/asset.toml[0]" in fixtures
    with pytest.raises(AssertionError, match=r"rule asset\.discount\.halt has no fixture"):
        check_rule_pack(folder, ScopeRuleEngine)
    pack(tmp_path, static="")
    assert check_rule_pack(folder, ScopeRuleEngine) == 0


def test_the_layer_of_each_value_is_known(tmp_path: Path) -> None:
    """An own, a shipped and a default value say so, with the key in their file."""
    folder = pack(tmp_path, limits='[[limits]]\nid = "kraken"\nhard_usd = 3.0\n')
    values: dict[tuple[str, str], ConfigValue] = {
        (each.file, each.path): each for each in effective_values(folder, load(folder))
    }
    own = values["limits.toml", "limits.kraken.hard_usd"]
    assert (own.layer, own.at, own.value) == ("own", "limits[0].hard_usd", 3.0)
    shipped = values["limits.toml", "limits.kraken.warning_share"]
    assert (shipped.layer, shipped.at) == ("shipped", "limits[2].warning_share")
    assert values["limits.toml", "limits.firm.warning_share"].layer == "default"
    assert values["policy.toml", "risk.valid_s"].layer == "shipped"
    assert values["reference.toml", "parties.kraken.rating"].value == "BB"


def test_a_value_of_the_shipped_folder_is_shipped() -> None:
    """Without an own pack nothing is called own."""
    layers = {each.layer for each in effective_values(rules_folder(), load(rules_folder()))}
    assert layers == {"shipped", "default"}


def test_a_removal_keeps_the_places_of_what_follows(tmp_path: Path) -> None:
    """The place of an inherited value counts what was removed before it."""
    file = read_file(pack(tmp_path, limits='remove = ["limits.firm"]\n'), "limits.toml")
    assert file.table["limits"][0]["id"] == "counterparty-any"
    assert file.origin("limits[0].hard_usd").key == "limits[1].hard_usd"
