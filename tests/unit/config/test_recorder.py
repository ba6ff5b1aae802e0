"""Recorded configurations under later builds: the digest holds, and no change is invented."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec
import pytest

from riskwatch.config.recorder import (
    PARTS,
    ConfigurationRecorder,
    as_recorded,
    config_changes,
    config_content,
    restore_config,
    restored_parts,
)
from riskwatch.contracts.outputs import decode_output, encode_output
from riskwatch.core.outputs import ConfigurationChanged
from riskwatch.core.policy import Policy
from riskwatch.core.reference import Limit, LimitsConfig
from riskwatch.errors import StoreError
from riskwatch.store.batch import Counts, ResumePoint
from riskwatch.version import ENGINE
from tests.support.rederiving import CONFIG, tightened


class Inner(msgspec.Struct, frozen=True, kw_only=True):
    """A struct within a part."""

    id: str
    z: float = 1.0
    a: tuple[int, ...] = (1, 2)


class Before(msgspec.Struct, frozen=True, kw_only=True):
    """A part as an older build has it."""

    zeta: int = 5
    alpha: float = 0.5
    items: tuple[Inner, ...] = ()
    named: dict[str, Inner] = {}
    option: Inner | None = None


class InnerAfter(msgspec.Struct, frozen=True, kw_only=True):
    """The same struct with further fields, in between and at the end."""

    id: str
    more: str = "x"
    z: float = 1.0
    a: tuple[int, ...] = (1, 2)
    most: tuple[int, ...] = ()


class After(msgspec.Struct, frozen=True, kw_only=True):
    """The same part in a later build: fields were added, one was renamed."""

    fresh: dict[str, int] = {}
    zeta: int = 5
    beta: float = 0.5
    items: tuple[InnerAfter, ...] = ()
    named: dict[str, InnerAfter] = {}
    option: InnerAfter | None = None
    last: InnerAfter = InnerAfter(id="?")


RENAMES: dict[type, dict[str, str]] = {After: {"alpha": "beta"}}
OLD = Before(
    zeta=7, alpha=2.0, items=(Inner(id="q", z=3.0), Inner(id="b")),
    named={"y": Inner(id="y"), "x": Inner(id="x", a=())}, option=Inner(id="o"),
)  # fmt: skip
NEW = After(
    zeta=7, beta=2.0, items=(InnerAfter(id="q", z=3.0), InnerAfter(id="b")),
    named={"y": InnerAfter(id="y"), "x": InnerAfter(id="x", a=())}, option=InnerAfter(id="o"),
)  # fmt: skip


def record(part: msgspec.Struct, engine: str = "0.0.1") -> ConfigurationChanged:
    """A record as the older build wrote it, digest and all, through its bytes and back."""
    told = ConfigurationChanged(
        id="c", cause_id="c", ts=declared().ts, engine=engine, worker="risk", journal=1,
        previous="",
        digest=sha256(msgspec.json.encode((part,), order="deterministic")).hexdigest(), changes=[],
        content={"part": msgspec.to_builtins(part)},
    )  # fmt: skip
    found = decode_output(encode_output(told))
    assert isinstance(found, ConfigurationChanged)
    return found


def declared() -> ConfigurationChanged:
    """What a worker tells that begins with the shipped configuration."""
    (made,) = ConfigurationRecorder("risk", CONFIG, lambda: 5_000_000)(
        ResumePoint(1, {}, {}, Counts(), 0, 1, 1)
    )
    return made


def without(made: ConfigurationChanged, path: str, engine: str = ENGINE) -> ConfigurationChanged:
    """The record of a build that did not have a field of the policy yet."""
    plain = msgspec.json.decode(msgspec.json.encode(made.content))
    *parents, name = path.split(".")
    at: dict[str, Any] = plain
    for parent in parents:
        at = at[parent]
    del at[name]
    # Struct fields in their order: what a build without the field would have hashed.
    ordered = [msgspec.to_builtins(getattr(CONFIG, part)) for part in PARTS]
    at = dict(zip(PARTS, ordered, strict=True))
    for parent in parents:
        at = at[parent]
    del at[name]
    text = _sorted_below(ordered, CONFIG)
    digest = sha256(text).hexdigest()
    return msgspec.structs.replace(made, content=plain, digest=digest, engine=engine)


def _sorted_below(ordered: list[Any], config: Any) -> bytes:
    """JSON of parts with mappings sorted, and struct fields as declared."""

    def walk(value: Any, like: Any) -> Any:
        if isinstance(value, dict):
            struct = isinstance(like, msgspec.Struct)
            names = list(value) if struct else sorted(value)
            return {n: walk(value[n], getattr(like, n) if struct else like[n]) for n in names}
        if isinstance(value, list | tuple):
            return [walk(v, x) for v, x in zip(value, like, strict=True)]
        return value

    found = [walk(v, getattr(config, part)) for v, part in zip(ordered, PARTS, strict=True)]
    return msgspec.json.encode(found)


def test_a_record_keeps_its_digest_under_a_build_with_more_fields() -> None:
    """The fields that it does not have take their defaults, in every depth."""
    found = restored_parts(record(OLD), {"part": After}, RENAMES)
    assert found == {"part": NEW}


@pytest.mark.parametrize("path", ["policy.risk.calm_bp", "policy.models.evidence", "policy.ledger"])
def test_a_shipped_configuration_without_a_field_is_restored(path: str) -> None:
    """As a build recorded it that did not have the field, or the whole section."""
    older = without(declared(), path)
    assert older.digest != CONFIG.digest
    made = restore_config(decode_output(encode_output(older)))  # type: ignore[arg-type]
    assert made.digest == older.digest
    assert msgspec.structs.replace(made, digest=CONFIG.digest) == CONFIG


def test_a_field_that_this_build_does_not_have_is_named() -> None:
    """Nothing that was recorded is dropped in silence, wherever it stands; so is a part."""
    unknown = record(NEW, "7.0.0")
    with pytest.raises(StoreError, match=r"engine 7\.0\.0 recorded part\.beta, ") as told:
        restored_parts(unknown, {"part": Before})
    for name in ("part.items.0.more", "part.fresh", "part.last", "and 3 more fields"):
        assert name in str(told.value)
    assert f"build (engine {ENGINE}) does not have" in str(told.value)
    part = msgspec.structs.replace(unknown, content={**unknown.content, "other": {}})
    with pytest.raises(StoreError, match="recorded other, which"):
        restored_parts(part, {"part": After})
    with pytest.raises(StoreError, match=r"recorded limits\.extra"):
        restore_config(
            msgspec.structs.replace(
                declared(),
                content={**config_content(CONFIG), "limits": {"extra": 1, "equity_usd": 1.0}},
            )
        )


@pytest.mark.parametrize("changed", [{"zeta": 8}, {"items": []}, {"zeta": None}])
def test_a_record_that_was_changed_is_refused(changed: dict[str, Any]) -> None:
    """Every value is in the digest, whatever it is; a field that was taken out as well."""
    good = record(OLD)
    part = {k: v for k, v in {**good.content["part"], **changed}.items() if v is not None}
    bad = msgspec.structs.replace(good, content={"part": part})
    with pytest.raises(StoreError, match="has digest"):
        restored_parts(bad, {"part": After}, RENAMES)


def test_no_change_is_told_that_nobody_made() -> None:
    """Fields that were added since, at their defaults, are no change; others are."""
    before = record(OLD).content
    now = {"part": msgspec.to_builtins(NEW)}
    assert as_recorded(before, now, {"part": After}, RENAMES) == before
    moved = msgspec.structs.replace(
        NEW, beta=3.0, fresh={"k": 1}, items=(*NEW.items, InnerAfter(id="n", more="y"))
    )
    then = as_recorded(before, {"part": msgspec.to_builtins(moved)}, {"part": After}, RENAMES)
    assert config_changes(before, then) == [
        "part.alpha: 2.0 -> 3.0",
        'part.fresh: absent -> {"k":1}',
        'part.items.n: absent -> {"id":"n","more":"y","z":1.0,"a":[1,2],"most":[]}',
    ]


@pytest.mark.parametrize("path", ["policy.risk.calm_bp", "policy.models.slippage"])
def test_a_worker_under_a_build_with_more_fields_records_nothing(path: str) -> None:
    """Unless somebody gave the new field another value, or the engine is another."""
    older = without(declared(), path)
    known = ResumePoint(2, {}, {}, Counts(), 9, 5, 4, configured=encode_output(older))
    assert ConfigurationRecorder("risk", CONFIG)(known) == []
    known.configured = encode_output(without(declared(), path, "0.0.1"))
    (engine,) = ConfigurationRecorder("risk", CONFIG)(known)
    assert (engine.changes, engine.previous, engine.journal) == ([], older.digest, 4)
    assert (engine.digest, engine.engine) == (CONFIG.digest, ENGINE)
    assert restore_config(engine) == CONFIG


def test_a_new_field_with_another_value_is_a_change() -> None:
    """It is told, and counts."""
    older = without(declared(), "policy.risk.calm_bp")
    known = ResumePoint(2, {}, {}, Counts(), 9, 5, 4, configured=encode_output(older))
    risk = msgspec.structs.replace(CONFIG.policy.risk, calm_bp=3.5)
    policy = msgspec.structs.replace(CONFIG.policy, risk=risk)
    (made,) = ConfigurationRecorder(
        "risk", msgspec.structs.replace(CONFIG, policy=policy, digest="d")
    )(known)
    assert made.changes == ["policy.risk.calm_bp: absent -> 3.5"]
    known.configured = encode_output(declared())
    (made,) = ConfigurationRecorder("risk", tightened())(known)
    assert made.changes


def test_the_order_of_rules_is_part_of_a_configuration() -> None:
    """The same rules in another order are another configuration, though no value differs."""
    known = ResumePoint(2, {}, {}, Counts(), 9, 5, 4, configured=encode_output(declared()))
    rules = msgspec.structs.replace(CONFIG.rules, rules=tuple(reversed(CONFIG.rules.rules)))
    (made,) = ConfigurationRecorder(
        "risk", msgspec.structs.replace(CONFIG, rules=rules, digest="d")
    )(known)
    assert made.digest == "d"


def test_defaults_of_the_shipped_structs_are_found() -> None:
    """A default that is a struct of its own counts as one, as deep as it goes."""
    bare = {"policy": msgspec.to_builtins(Policy()), "limits": {"equity_usd": 1.0, "limits": []}}
    parts: dict[str, type[msgspec.Struct]] = {"policy": Policy, "limits": LimitsConfig}
    assert as_recorded({"policy": {}, "limits": {}}, bare, parts) == {
        "policy": {},
        "limits": {"equity_usd": 1.0, "limits": []},
    }
    limit = Limit(id="l", scope_kind="firm", subject="*", hard_usd=1.0)
    one = {"limits": msgspec.to_builtins(LimitsConfig(equity_usd=1.0, limits=(limit,)))}
    same = {"limits": {"equity_usd": 1.0, "limits": [{"id": "l", "hard_usd": 1.0}]}}
    then = as_recorded(same, one, parts)["limits"]["limits"]
    assert then == [{"id": "l", "scope_kind": "firm", "subject": "*", "hard_usd": 1.0}]
