"""Generations by name, from this package and from others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from riskwatch.errors import ModelError
from riskwatch.models.adaptive import AnchoredGeneration
from riskwatch.models.base import RulesGeneration
from riskwatch.models.registry import GROUP, build

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONSTANT = """
from riskwatch.models.base import Score

class Constant:
    def __init__(self, logit=0.0):
        self.logit = logit
    def score(self, x):
        return Score(0.5, self.logit, x["severity"], {"bias": self.logit})
    def learn(self, x, y):
        pass
    def state(self):
        return {}
    def restore(self, state):
        pass
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], None]:
    """Install a package with a model: distribution, source and entry point."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def put(package: str, source: str, points: str) -> None:
        (tmp_path / f"{package}.py").write_text(source)
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{points}\n")

    return put


def test_what_is_built_in_is_found_by_name() -> None:
    """Built-in models are found by name, and options go to the factory."""
    assert isinstance(build("rules", {"anchor": 0.2}), RulesGeneration)
    model = build("anchored", {"scales": {"velocity": 3.0}})
    assert isinstance(model, AnchoredGeneration)
    assert model.model.scales == {"velocity": 3.0}


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        (
            "",
            {},
            "model '' is unknown: built in are adaptive, anchored, batch, frozen, river, rules",
        ),
        ("Rules", {}, "model 'Rules' is unknown"),
        ("rules", {"scales": {}}, "model 'rules' refuses its options: .*scales"),
        ("anchored", {"slope": -1.0}, "model 'anchored' refuses its options: slope must be in"),
        ("anchored", {"scales": {"a": "b"}}, "model 'anchored' refuses its options"),
        ("anchored", {"authority": "full"}, "model 'anchored' refuses its options: .*authority"),
    ],
)
def test_what_cannot_be_built_is_named(name: str, options: dict[str, Any], why: str) -> None:
    """The error names the model and the reason."""
    with pytest.raises(ModelError, match=why):
        build(name, options)


def test_another_package_brings_a_model(install: Callable[[str, str, str], None]) -> None:
    """An entry point suffices, and options go to its factory."""
    install("rw_constant", CONSTANT, "constant = rw_constant:Constant")
    score = build("constant", {"logit": 1.5}).score({"severity": 0.1})
    assert score.contributions == {"bias": 1.5}


def test_a_model_of_this_package_cannot_be_replaced(
    install: Callable[[str, str, str], None],
) -> None:
    """Another package's entry point `rules` is ignored."""
    install("rw_impostor", CONSTANT, "rules = rw_impostor:Constant")
    assert isinstance(build("rules"), RulesGeneration)


def test_two_packages_may_not_bring_one_name(install: Callable[[str, str, str], None]) -> None:
    """Otherwise the order of installation would decide between them."""
    install("rw_one", CONSTANT, "twice = rw_one:Constant")
    install("rw_two", CONSTANT, "twice = rw_two:Constant")
    with pytest.raises(ModelError, match=r"more than once: rw_one:Constant, rw_two:Constant"):
        build("twice")


@pytest.mark.parametrize(
    ("point", "why"),
    [
        ("rw_broken:Missing", "cannot be loaded"),
        ("rw_nowhere:Constant", "cannot be loaded"),
        ("rw_broken:number", "refuses its options"),
        ("rw_broken:dict", "is no generation: dict must have score"),
    ],
)
def test_a_broken_package_is_an_error_about_the_model(
    install: Callable[[str, str, str], None], point: str, why: str
) -> None:
    """The error differs from the one for an unknown model."""
    install("rw_broken", "number = 3\ndict = dict", f"broken = {point}")
    with pytest.raises(ModelError, match=f"model 'broken' {why}"):
        build("broken")
