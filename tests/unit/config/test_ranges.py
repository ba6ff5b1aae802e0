"""Ranges of the configuration come from the fields, and errors state them as text."""

from __future__ import annotations

from typing import Annotated, Any, get_type_hints

import pytest
from msgspec import Meta, Struct

from riskwatch.config.toml import StructReader, split_range
from riskwatch.core import bounds
from riskwatch.core.market.config import MarketConfig
from riskwatch.errors import ConfigError


@pytest.mark.parametrize(
    ("kind", "plain", "refused", "taken", "words"),
    [
        (bounds.Positive, float, 0.0, 1e-9, "a number above 0.0"),
        (bounds.PositiveInt, int, 0, 1, "a number above 0"),
        (bounds.NotNegative, float, -1e-9, 0.0, "a number of at least 0.0"),
        (bounds.Count, int, -1, 0, "a number of at least 0"),
        (bounds.AtLeastOne, int, 0, 1, "a number of at least 1"),
        (bounds.Share, float, 1.1, 1.0, "a number from 0.0 to 1.0"),
        (bounds.Fraction, float, 1.0, 0.99, "a number between 0.0 and 1.0"),
        (bounds.Share | None, float | None, -0.1, None, "a number from 0.0 to 1.0"),
    ],
)
def test_each_range_has_its_words(
    kind: Any, plain: Any, refused: float, taken: float | None, words: str
) -> None:
    """The type is left without its range, which msgspec would put in words of its own."""
    found, check = split_range(kind)
    assert found == plain
    assert check is not None
    assert (check(refused), check(taken)) == (words, None)


def test_a_range_without_words_is_a_bug() -> None:
    """Half of it would pass unseen."""
    with pytest.raises(TypeError, match="a range that there are no words for"):
        split_range(Annotated[float, Meta(gt=0.0, le=1.0)])


def test_what_is_no_range_is_left_to_the_type() -> None:
    """Patterns and lengths, and types without anything."""
    name = Annotated[str, Meta(pattern="^a$")]
    for kind in (name, str, int | str, list[int]):
        assert split_range(kind) == (kind, None)


def test_a_number_out_of_its_range_is_refused_where_it_stands() -> None:
    """With file, key, what was expected and what was found."""

    class Sizes(Struct):
        share: bounds.Share | None = None

    with pytest.raises(ConfigError) as refused:
        StructReader("a.toml").struct(Sizes, {"share": 2.0}, "sizes")
    assert str(refused.value) == str(
        ConfigError("a.toml", "sizes.share", "a number from 0.0 to 1.0", 2.0)
    )
    assert StructReader("a.toml").struct(Sizes, {"share": 1}).share == 1


def test_every_setting_of_the_market_is_above_zero() -> None:
    """Each has a range, and the default lies in it."""
    hints = get_type_hints(MarketConfig, include_extras=True)
    named = {"heartbeats", "retired"}  # of feeds; they are no numbers
    assert {name for name in hints if isinstance(getattr(MarketConfig(), name), tuple)} <= named
    for name, hint in hints.items():
        if name in named:
            continue
        _, check = split_range(hint)
        assert check is not None, name
        assert (check(0) is None, check(getattr(MarketConfig(), name))) == (False, None)
