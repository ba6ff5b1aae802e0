"""Policy and models: valid models, asks with a target, and horizons that can be evaluated."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import msgspec
import pytest

from riskwatch.config.config import load, load_policy
from riskwatch.core.risk.pretrade import PretradeConfig
from riskwatch.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, root: Path) -> Path:
    """A copy of the shipped rules."""
    return shutil.copytree(root / "rules", tmp_path / "rules")


@pytest.mark.parametrize(
    ("file", "old", "new", "key"),
    [
        ("policy", 'generation = "anchored"', 'generation = "anchord"', "risk.asks[0].generation"),
        ("policy", 'target = "depeg(discount 20bp, 1h)"', 'target = "x"', "risk.asks[0].target"),
        ("policy", "[risk]", "[models]\n[risk]", "models"),
        ("policy", "at = 0.84", 'at = 0.84\nscope_kind = "firm"', "risk.asks[0].scope_kind"),
        ("policy", "[risk]", "[risk]\nbaseline = { par_bp = 0.0 }", "risk.baseline.par_bp"),
        ("policy", "[risk]", '[risk]\nbaseline = { freeze_max_s = "x" }',
         "risk.baseline.freeze_max_s"),
        ("models", "label_every_s", "slippage = { quantile = 1.0 }\nlabel_every_s", ""),
        ("models", "threshold = 75.0", "threshold = 25.0", "targets[5].threshold"),
        ("models", 'label_every_s = "30m"', 'label_every_s = "0s"', "targets[2].label_every_s"),
        ("models", 'model = "anchored"', 'model = "oracle"', ""),
        ("models", "velocity_bp = 10.0", "velocity_bp = -1.0", ""),
        ("models", 'authority = "advisory"', 'authority = "god"', "generations[1].authority"),
        ("models", 'threshold = 50.0\nhorizon_s = "1h"', 'threshold = 50.0\nhorizon_s = "19m"',
         "targets[1].horizon_s"),
        ("models", "threshold = 50.0", "threshold = 10.0", "targets[1].threshold"),
        ("policy", 'valid_s = "60s"', 'valid_s = "0s"', "risk.valid_s"),
        ("policy", 'valid_s = "60s"', 'valid_s = "30s"', "risk.valid_s"),
        ("policy", "court = 1.0", "court = true", "risk.source_weights.court"),
        ("policy", 'unknown_reduce_s = "30m"', 'unknown_reduce = "30m"', "risk.unknown_reduce"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(
    folder: Path, file: str, old: str, new: str, key: str
) -> None:
    """File and key of the first thing to mend, before anything starts."""
    path = folder / f"{file}.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load(folder)
    assert (caught.value.file, caught.value.key) == (path.name, key)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"scope": '"coin:x"'}, "risk.drills[0].scope"),
        ({"every_s": '"1s"'}, "risk.drills[0].every_s"),
        ({"at": '"24:00"'}, "risk.drills[0].at"),
        ({"weekday": '"Monday"'}, "risk.drills[0].weekday"),
        ({"weekday": '"mon"', "every_s": '"8d"'}, "risk.drills[0].every_s"),
        ({"expect": '["desk 1"]'}, "risk.drills[0].expect"),
        ({"id": '"a b"'}, "risk.drills[0].id"),
    ],
)
def test_a_drill_that_could_not_be_followed_is_named(
    folder: Path, changes: dict[str, str], key: str
) -> None:
    """Before anything starts."""
    plan = {"id": '"d"', "scope": '"firm"', "every_s": '"7d"'}
    said = [f"{name} = {value}" for name, value in (plan | changes).items()]
    path = folder / "policy.toml"
    text = path.read_text()
    path.write_text("\n".join([text, "[[risk.drills]]", *said]))
    with pytest.raises(ConfigError) as caught:
        load_policy(folder)
    assert caught.value.key == key
    good = "\n".join([text, "[[risk.drills]]", *(f"{n} = {v}" for n, v in plan.items())])
    path.write_text(good)
    assert [drill.every_s for drill in load_policy(folder).risk.drills] == [604_800.0]
    path.write_text(good + good.removeprefix(text))
    with pytest.raises(ConfigError):
        load_policy(folder)


def test_an_empty_policy_is_the_defaults_without_models(folder: Path) -> None:
    """Every key may be left out."""
    (folder / "policy.toml").write_text("")
    (folder / "models.toml").write_text("")
    made = load_policy(folder)
    assert made.models.targets == ()
    assert made.risk.unknown_reduce_s == 1_800.0


PRETRADE = """
[risk.pretrade]
settle_s = "10s"

[risk.pretrade.clients.desk-1]
share = 0.6
counterparties = ["kraken"]

[risk.pretrade.clients.desk-2]
share = 0.4
counterparties = ["coinbase", "kraken"]
max_order_usd = 10000

[risk.pretrade.scopes."book:arb"]
collar_bp = 50
"""


def test_limits_before_the_trade_are_read(folder: Path) -> None:
    """By client and by scope; without the table there are none."""
    path = folder / "policy.toml"
    text = path.read_text()
    assert load_policy(folder).risk.pretrade is msgspec.UNSET
    path.write_text(text + PRETRADE)
    made = load_policy(folder).risk.pretrade
    assert made is not msgspec.UNSET
    assert made.settle_s == 10.0
    assert made.clients["desk-1"].counterparties == ("kraken",)
    assert made.clients["desk-2"].max_order_usd == 10_000.0
    assert made.scopes["book:arb"].collar_bp == 50.0
    assert made.max_order_usd == PretradeConfig().max_order_usd


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("share = 0.6", "share = 0.7", "risk.pretrade.clients"),
        ("share = 0.6", "share = 1.1", "risk.pretrade.clients.desk-1.share"),
        ("share = 0.6", "", "risk.pretrade.clients.desk-1.share"),
        ("clients.desk-1", 'clients."desk 1"', "risk.pretrade.clients"),
        ('["kraken"]', '["kra ken"]', "risk.pretrade.clients.desk-1.counterparties"),
        ('["kraken"]', "[]", "risk.pretrade.clients.desk-1.counterparties"),
        ('"book:arb"', '"desk:arb"', "risk.pretrade.scopes"),
        ('settle_s = "10s"', 'grant_s = "15s"', "risk.pretrade.grant_s"),
        ('settle_s = "10s"', 'grant_s = "61s"', "risk.pretrade.grant_s"),
        ('settle_s = "10s"', "settle_s = 0", "risk.pretrade.settle_s"),
        ('settle_s = "10s"', "stale_collar_bp = 301", "risk.pretrade.stale_collar_bp"),
        ('settle_s = "10s"', "burst = 0", "risk.pretrade.burst"),
        ('settle_s = "10s"', "colar_bp = 1", "risk.pretrade.colar_bp"),
    ],
)
def test_limits_before_the_trade_that_limit_nothing_are_named(
    folder: Path, old: str, new: str, key: str
) -> None:
    """Shares beyond the whole, names that nobody has, times that leave no grant."""
    path = folder / "policy.toml"
    assert old in PRETRADE
    path.write_text(path.read_text() + PRETRADE.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_policy(folder)
    assert caught.value.key == key
