"""Scopes are parsed, and states are compared, in one place each."""

from __future__ import annotations

import re
from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from riskwatch.core.enums import State, strictest
from riskwatch.core.scopes import KINDS, is_scope, kind_of_scope, parse

if TYPE_CHECKING:
    from pathlib import Path

TAKEN_APART = re.compile(r"scope\w*(\.scope)?\.(partition|rpartition|split|rsplit|removeprefix)\(")
RANKED = re.compile(r"key=(lambda (s|state): (s|state)\.rank\b|_rank\b)")


def test_no_other_module_takes_a_scope_apart(root: Path) -> None:
    """Other modules use ``parse``, and compare states by strictness."""
    found = [
        f"{path.relative_to(root)}: {hit.group()}"
        for path in sorted((root / "riskwatch").rglob("*.py"))
        if path.name != "scopes.py"
        for pattern in (TAKEN_APART, RANKED)
        for hit in pattern.finditer(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    ("scope", "kind", "name", "asset"),
    [
        ("firm", "firm", "", ""),
        ("book:arb", "book", "arb", ""),
        ("counterparty:kraken", "counterparty", "kraken", ""),
        ("asset:USDC", "asset", "USDC", ""),
        ("venue-asset:kraken/USDC", "venue-asset", "kraken", "USDC"),
    ],
)
def test_the_parts_of_a_scope(scope: str, kind: str, name: str, asset: str) -> None:
    """Each kind of scope has its own parts."""
    at = parse(scope)
    assert (at.kind, at.name, at.asset) == (kind, name, asset)
    assert kind in KINDS
    assert kind_of_scope(scope) == kind
    assert is_scope(scope)


@pytest.mark.parametrize(
    "scope",
    ["", "firm:", "firm:x", "asset:", "asset", "book:a/b", "asset:a:b", "venue-asset:a",
     "venue-asset:a/", "venue-asset:/b", "venue-asset:a/b/c", "asset:U C", "asset:x\n", "desk:1",
     "asset:" + 65 * "x"],
)  # fmt: skip
def test_what_no_switch_can_stand_on(scope: str) -> None:
    """Names are valid names of events, without the separators of scopes."""
    assert not is_scope(scope)


def test_the_strictest_of_states() -> None:
    """The order does not matter; without states it is NORMAL."""
    for states in permutations(State):
        assert strictest(states) is State.HALT
        assert strictest(states[:2]).rank == max(states[0].rank, states[1].rank)
        assert states[0].at_most(states[1]).rank == min(states[0].rank, states[1].rank)
    assert strictest([]) is State.NORMAL
