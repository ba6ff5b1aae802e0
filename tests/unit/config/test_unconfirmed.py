"""New shipped rules only advise where the deployment is older, until somebody lists them."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from riskwatch.config.config import load
from riskwatch.config.recorder import ConfigurationRecorder, config_content, decode_record
from riskwatch.config.unconfirmed import advisory_lines, with_unconfirmed
from riskwatch.core.enums import Mode
from riskwatch.core.outputs import ConfigurationChanged
from riskwatch.core.rules import RulePack
from riskwatch.engine import bootstrap
from riskwatch.errors import ConfigError, StoreError
from riskwatch.store.audit import last_configuration
from riskwatch.store.batch import Counts, ResumePoint
from riskwatch.store.queries import open_reader
from tests.support.stored import Desk, at, named, opened, quote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from riskwatch.config.config import Config
    from riskwatch.core.events import WireEvent

NEW = """
[[rules]]
id = "asset.discount.new"
scope_kind = "asset"
state = "WATCH"
any = [{ feature = "discount_bp", at = 6.0, unit = "bp" }]
since = "0.2.0"
"""
"""A rule that a later release ships."""
RULE = "asset.discount.new"


def sunk(first: int, last: int, price: str = "0.9990") -> Iterator[WireEvent]:
    """USDT ten basis points below its peg, which the shipped rules let pass."""
    for minute in range(first, last):
        for venue in ("kraken", "coinbase"):
            common: dict[str, Any] = {
                "v": 1, "event_id": f"n{venue}{minute}", "ts": at(minute), "source": "desk",
            }  # fmt: skip
            yield quote(venue, "USDT", Decimal(price), common)


def ship(desk: Desk, *lines: str) -> None:
    """Add the new rule to a folder of rules, and lines to ``[risk]``."""
    pack = desk.rules / "static.toml"
    if RULE not in pack.read_text():
        pack.write_text(pack.read_text() + NEW)
    policy = desk.rules / "policy.toml"
    head, _, rest = policy.read_text().partition("[risk]\n")
    rest = "\n".join(x for x in rest.splitlines() if not x.startswith(("binding", "advisory")))
    policy.write_text(f"{head}[risk]\n" + "".join(f"{x}\n" for x in lines) + rest + "\n")


def recorded(desk: Desk) -> ConfigurationChanged:
    """The configuration that the database recorded last."""
    with open_reader(desk.url) as conn:
        found = decode_record(last_configuration(conn))
    assert found is not None
    return found


def counted(desk: Desk, table: str) -> int:
    """Rows of a table that the new rule led to."""
    done = desk.run("sql", f"SELECT COUNT(*) AS n FROM {table} WHERE rule = '{RULE}'", "--json")
    found: int = msgspec.json.decode(done.stdout)["n"]
    return found


def test_a_new_rule_advises_an_older_deployment_until_it_is_listed(tmp_path: Path) -> None:
    """A stored database: the record says so, restarts keep to it, and `verify` derives all."""
    desk = opened(named(1, "0.1.0"), tmp_path)
    desk.run("db", "upgrade")
    before = {
        row["id"]
        for line in desk.run("sql", "SELECT id FROM decision_log", "--json").stdout.splitlines()
        for row in [msgspec.json.decode(line)]
    }
    assert before
    ship(desk)
    config = load(desk.rules)
    since = {rule.id: rule.since or "" for rule in config.rules.rules}
    since |= {ask.rule_id: ask.since or "" for ask in config.policy.risk.asks}
    later = sorted(rule for rule, came in since.items() if came > "0.1.0")
    assert RULE in later
    # It has no fixture, and those of the others do not expect it.
    said = desk.run("rules", "check", str(desk.rules), "--database", desk.url, fails=True).stdout
    assert (
        f"note: rule {RULE} is advisory: it came with 0.2.0, and this deployment is older" in said
    )
    assert "is advisory" not in desk.run("rules", "check", str(desk.rules), fails=True).stdout
    for begin in (40, 50):  # a restart in between
        desk.replay(sunk(begin, begin + 10))
        assert sorted(recorded(desk).content["policy"]["risk"]["unconfirmed"]) == later
    assert (counted(desk, "decision_log"), counted(desk, "advisory_decisions")) == (0, 1)
    shown = desk.run("rules", "advisory", str(desk.rules)).stdout
    assert f"{RULE} would have decided 1 times" in shown
    assert "asset:USDT would be WATCH, not NORMAL" in shown
    assert "asset:USDT would be WATCH" in desk.run("killswitch", "status", "--details").stdout
    found = desk.run("sql", "SELECT id FROM advisory_decisions", "--json").stdout
    why = desk.run("explain", msgspec.json.decode(found)["id"]).stdout
    assert "Advised: asset:USDT would be WATCH, not NORMAL" in why
    assert "it is advisory: it binds nobody" in why
    why = desk.run("explain", "--details", msgspec.json.decode(found)["id"]).stdout
    assert "threshold 6 bp" in why
    ship(desk, f"binding = {later}")
    desk.replay(sunk(60, 70))
    assert "unconfirmed" not in recorded(desk).content["policy"]["risk"]
    assert (counted(desk, "decision_log"), counted(desk, "advisory_decisions")) == (1, 1)
    ship(desk)  # once it bound, the list is not needed any more
    desk.replay(sunk(70, 72))
    assert "unconfirmed" not in recorded(desk).content["policy"]["risk"]
    done = desk.run("verify", "--all", "--json", fails=True)
    assert done.exit_code == 3  # not all of it can be derived by this engine
    verdicts = [msgspec.json.decode(line) for line in done.stdout.splitlines()]
    ours = [found for found in verdicts if found["id"] not in before]
    assert len(ours) >= 2
    assert {found["status"] for found in ours} == {"same"}
    # What the older engine decided is checked by the policy, and never called wrong.
    assert {found["status"] for found in verdicts if found["id"] in before} == {"inputs only"}


def test_a_fresh_database_takes_every_rule_as_binding(tmp_path: Path) -> None:
    """And goes on to, after a restart."""
    desk = Desk(tmp_path)
    ship(desk)
    desk.replay(sunk(40, 50))
    desk.replay(sunk(50, 55))
    assert "unconfirmed" not in recorded(desk).content["policy"]["risk"]
    assert (counted(desk, "decision_log"), counted(desk, "advisory_log")) == (1, 0)


def with_rule(config: Config, **fields: Any) -> Config:
    """A configuration whose first rule is changed."""
    first, *others = config.rules.rules
    rules = RulePack(rules=(msgspec.structs.replace(first, **fields), *others))
    return msgspec.structs.replace(config, rules=rules)


def test_what_was_not_held_against_the_record_does_not_begin() -> None:
    """A worker that forgot to would bind new rules at once."""
    config = bootstrap.configuration()
    resumed = ResumePoint(1, {}, {}, Counts(), 0, 1, 1)
    (first,) = ConfigurationRecorder("w", config)(resumed)
    new = with_rule(config, id="asset.new", since="9.0")
    resumed = msgspec_replace(resumed, encode(first))
    with pytest.raises(StoreError, match="not held against the recorded one"):
        ConfigurationRecorder("w", new)(resumed)
    (told,) = ConfigurationRecorder("w", with_unconfirmed(new, first))(resumed)
    assert told.content["policy"]["risk"]["unconfirmed"] == ("asset.new",)
    assert any("policy.risk.unconfirmed" in line for line in told.changes)


def encode(output: ConfigurationChanged) -> bytes:
    """As the store gives it."""
    from riskwatch.contracts.outputs import encode_output

    return encode_output(output)


def msgspec_replace(resumed: ResumePoint, payload: bytes) -> ResumePoint:
    """A place to go on from, with a record."""
    from dataclasses import replace

    return replace(resumed, configured=payload)


def test_a_rule_without_since_binds_at_once() -> None:
    """Who wrote it into their own pack wants it."""
    config = bootstrap.configuration()
    last = ConfigurationChanged(
        id="1", cause_id="1", ts=at(0), worker="w", journal=1, digest="", previous="", changes=[],
        content=config_content(config),
    )  # fmt: skip
    own = with_rule(config, id="asset.own")
    assert with_unconfirmed(own, last) is own
    everything = msgspec.structs.replace(config.policy.risk, binding=("*",))
    policy = msgspec.structs.replace(config.policy, risk=everything)
    new = with_rule(msgspec.structs.replace(config, policy=policy), id="asset.own", since="9.0")
    assert with_unconfirmed(new, last) is new


def test_why_something_is_advisory_is_said() -> None:
    """Its own word, or the policy's."""
    config = with_rule(bootstrap.configuration(), mode=Mode.ADVISORY)
    (line,) = advisory_lines(config)
    assert line == 'rule asset.discount.watch is advisory: it says mode = "advisory"'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('advisory = ["asset.discount.wtach"]', "the id of a rule, a limit or an ask"),
        ('binding = ["nothing"]', "the id of a rule, a limit or an ask"),
        ('advisory = ["kraken", "kraken"]', "each only once"),
        ('advisory = ["kraken"]\nbinding = ["kraken"]', "what risk.advisory does not name, too"),
        ('advisory = ["*"]\nbinding = ["*"]', "what risk.advisory does not name, too"),
        ('unconfirmed = ["kraken"]', "nothing: a worker works it out when it begins"),
    ],
)
def test_lists_that_lead_nowhere_are_refused(tmp_path: Path, line: str, message: str) -> None:
    """With the place."""
    desk = Desk(tmp_path)
    ship(desk, line)
    with pytest.raises(ConfigError, match=message.replace("*", r"\*")):
        load(desk.rules)


def test_ids_of_rules_limits_and_asks_can_be_listed(tmp_path: Path) -> None:
    """And modes stand in the files."""
    desk = Desk(tmp_path)
    ask = bootstrap.configuration().policy.risk.asks[0].rule_id
    ship(desk, f'advisory = ["kraken", "{ask}", "{RULE}"]')
    assert len(advisory_lines(load(desk.rules))) == 3
    pack = desk.rules / "static.toml"
    pack.write_text(pack.read_text() + 'mode = "loud"\n')
    with pytest.raises(ConfigError, match="one of binding, advisory"):
        load(desk.rules)
