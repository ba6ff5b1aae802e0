"""Sources of credit news: a declared weight needs a proof in a new deployment."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from riskwatch.config.config import Config, load
from riskwatch.config.recorder import ConfigurationRecorder, config_content, restore_config
from riskwatch.config.sources import source_lines, with_unproven, without_proof
from riskwatch.core.outputs import ConfigurationChanged
from riskwatch.core.risk.credit import news_weight
from riskwatch.core.risk.state import CreditItem, CreditRow
from riskwatch.errors import ConfigError
from riskwatch.store.batch import Counts, ResumePoint
from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

KEY = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
BEGINNING = ResumePoint(
    epoch=1, rows={}, offsets={}, counts=Counts(), us=0, next_seq=1, next_journal=1
)
OTHER = "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"


def config(**risk: Any) -> Config:
    """Return the shipped configuration with another policy."""
    made = load(ROOT / "rules")
    changed = msgspec.structs.replace(made.policy.risk, **risk)
    return msgspec.structs.replace(made, policy=msgspec.structs.replace(made.policy, risk=changed))


def recorded(made: Config) -> ConfigurationChanged:
    """Return the record of a configuration."""
    return ConfigurationChanged(
        id="1", cause_id="c", ts=datetime(2023, 3, 11, tzinfo=UTC), worker="risk", journal=1,
        digest=made.digest, previous="", changes=[], content=config_content(made),
    )  # fmt: skip


def said_by(*sources: str) -> CreditRow:
    """Return an insolvency as sources reported it."""
    items = [CreditItem(0, s, "1", "insolvency", None, [], [], None, None) for s in sources]
    return CreditRow(items=items)


def weight(made: Config, *sources: str) -> float:
    """Return the weight of an insolvency that sources reported."""
    return news_weight(said_by(*sources), ("insolvency",), made.policy.risk)


def test_in_a_new_deployment_a_name_alone_has_the_ordinary_weight() -> None:
    """As shipped nothing protects the names, so whoever writes `court` halts nobody alone."""
    made = with_unproven(config(), None)
    assert made.policy.risk.unproven == ("court", "regulator", "desk")
    assert weight(config(), "court") == 1.0
    assert weight(made, "court") == 0.34
    assert weight(made, "court", "regulator", "desk") > 1.0, "as three unknown sources"
    assert made.digest != config().digest
    assert [line.split(":")[0] for line in source_lines(made)] == [
        f"source {name} counts as ordinary (0.34 instead of 1)"
        for name in ("court", "regulator", "desk")
    ]


def test_a_key_or_a_protected_topic_is_a_proof() -> None:
    """Such a source counts with its own weight at once."""
    made = with_unproven(config(source_keys={"court": KEY}, topic_sources=("desk",)), None)
    assert made.policy.risk.unproven == ("regulator",)
    assert [weight(made, name) for name in ("court", "desk", "regulator")] == [1.0, 1.0, 0.34]
    assert list(without_proof(made.policy.risk)) == ["regulator"]


def test_an_older_deployment_goes_on() -> None:
    """What its record gave full weight keeps it; what is new or raised needs a proof."""
    before = recorded(config())
    assert with_unproven(config(), before) == config()
    assert "counts with weight 1 for whoever writes" in source_lines(config())[0]
    more = config(source_weights={"court": 1.0, "exchange": 1.0})
    assert with_unproven(more, before).policy.risk.unproven == ("exchange",)
    half = recorded(config(source_weights={"court": 0.5}))
    assert with_unproven(config(source_weights={"court": 1.0}), half).policy.risk.unproven == (
        "court",
    )


def test_a_source_stays_unproven_until_it_has_a_proof() -> None:
    """A restart does not turn a declared weight into a recorded one; a proof does at once."""
    first = with_unproven(config(), None)
    record = recorded(first)
    assert with_unproven(config(), record) == first
    assert restore_config(record).policy.risk.unproven == first.policy.risk.unproven
    proven = with_unproven(config(source_keys={"court": KEY}), record)
    assert proven.policy.risk.unproven == ("regulator", "desk")


def test_a_low_weight_needs_no_proof() -> None:
    """What counts no more than an unknown source gains nothing by its name."""
    assert with_unproven(config(source_weights={"rumour": 0.1}), None).policy.risk.unproven in (
        msgspec.UNSET,
        (),
    )


def test_what_the_worker_works_out_is_recorded() -> None:
    """The recorder takes the configuration of a live worker, and a second start records nothing."""
    made = with_unproven(config(), None)
    (first,) = ConfigurationRecorder("risk", made)(BEGINNING)
    assert first.content["policy"]["risk"]["unproven"] == ("court", "regulator", "desk")
    assert "source_keys" not in first.content["policy"]["risk"], "what is not set is not recorded"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[risk.source_keys]\ncourt = "ab"', "64 hexadecimal digits"),
        (f'[risk.source_keys]\ncourt = "{KEY}"\ndesk = "{KEY}"', "a key of its own"),
        (f'[risk.source_keys]\n"a/b" = "{KEY}"', "a name as records have it"),
        (f'[risk.client_keys]\n"a b" = "{KEY}"', "a name as records have it"),
        (f'[risk.client_keys]\na = "{KEY}"\nb = "{KEY}"', "a key of its own"),
        ('[risk.client_keys]\na = "zz"', "64 hexadecimal digits"),
        ('[risk]\ntopic_sources = ["nobody"]', "a source of"),
        ('[risk]\nunproven = ["court"]', "a live worker works it out"),
        (
            (
                f'[risk]\ntopic_sources = ["c"]\n[risk.source_weights]\nc = 1.0\n'
                f'[risk.source_keys]\nc = "{KEY}"'
            ),
            "its key is its proof",
        ),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, why: str) -> None:
    """Keys, names and lists are checked when the file is read."""
    folder = tmp_path / "rules"
    folder.mkdir()
    for file in (ROOT / "rules").glob("*.toml"):
        (folder / file.name).write_text(file.read_text())
    (folder / "policy.toml").write_text(text + "\n")
    (folder / "models.toml").write_text("")
    with pytest.raises(ConfigError, match=why):
        load(folder)


def test_a_right_file_is_read(tmp_path: Path) -> None:
    """Keys of clients and sources, and sources of a protected topic."""
    folder = tmp_path / "rules"
    folder.mkdir()
    for file in (ROOT / "rules").glob("*.toml"):
        (folder / file.name).write_text(file.read_text())
    (folder / "policy.toml").write_text(
        f'[risk]\ntopic_sources = ["desk"]\n[risk.source_weights]\ndesk = 1.0\ncourt = 1.0\n'
        f'[risk.source_keys]\ncourt = "{KEY}"\n[risk.client_keys]\ndesk-1 = "{OTHER}"\n'
    )
    (folder / "models.toml").write_text("")
    risk = load(folder).policy.risk
    assert (risk.source_keys, risk.client_keys) == ({"court": KEY}, {"desk-1": OTHER})
    assert risk.topic_sources == ("desk",)
