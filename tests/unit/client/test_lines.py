"""The lines that commands print of alerts and states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from riskwatch.client import Published
from riskwatch.commands.publish import publish_summary
from riskwatch.commands.stream import output_line
from tests.support import batches

if TYPE_CHECKING:
    from riskwatch.core.outputs import AnyOutput


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (
            batches.quality(1),
            "2023-03-11T03:01:00Z  DATA      kraken:USDC/USD  FEED_STALE  no trade for 300 s",
        ),
        (
            batches.quality_resolved(2),
            "2023-03-11T03:02:00Z  DATA OK   kraken:USDC/USD  FEED_STALE",
        ),
        (
            batches.killswitch(1),
            (
                "2023-03-11T03:01:00Z  REDUCE    asset:USDC  state REDUCE  good  issuer  "
                "180 bp under the peg"
            ),
        ),
        (batches.decision(1), None),
    ],
)
def test_one_line_each(output: AnyOutput, line: str | None) -> None:
    """An output is printed as one line, or not at all."""
    assert output_line(output) == line


def test_the_terminal_is_not_steered() -> None:
    """Control characters in an output are written out and do not reach the terminal."""
    alert = msgspec.structs.replace(batches.alert(1), title="a\x1b[2Jb\nc", reasons=[])
    line = output_line(alert)
    assert line is not None
    assert line.endswith("a<U+001B>[2Jb<U+000A>c  $970.00")


def test_the_summary_counts() -> None:
    """The summary counts events per topic and in total, with the rate and the refused lines."""
    result = Published(sent={"b": 2, "a": 1}, refused=4)
    assert (
        publish_summary(result, 2.0)
        == "a 1, b 2: 3 events sent in 2.0 s (2/s); 4 lines were no events"
    )
    assert publish_summary(Published(), 0.0) == "0 events sent in 0.0 s"
