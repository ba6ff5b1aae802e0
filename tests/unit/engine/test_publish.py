"""Publishers: the lines of `--json` follow the contract of outputs."""

from __future__ import annotations

from io import BytesIO

import pytest

from riskwatch.contracts.codec import decode
from riskwatch.contracts.outputs import encode_output, output_line
from riskwatch.engine.publish import NdjsonPublisher, NullPublisher
from riskwatch.store.batch import OutboxRecord
from tests.support.toy import Rows, ToyMarket, quote_line


def test_a_published_line_is_the_line_of_the_output() -> None:
    """From the outbox or from the output, the bytes are the same."""
    outputs = ToyMarket().step(Rows(), decode(quote_line(1, 0)))
    stream = BytesIO()
    NdjsonPublisher(stream).publish(
        [OutboxRecord(1, o.topic, o.key(), encode_output(o), o.ts) for o in outputs * 2]
    )
    assert stream.getvalue() == output_line(outputs[0]) * 2
    assert stream.getvalue().startswith(b'{"topic":"riskwatch.scores","key":"asset:USDC"')


def test_nobody_is_not_published_to() -> None:
    """Without a relay there is no outbox, so a record there is a mistake of the caller."""
    record = OutboxRecord(1, "t", "k", b"{}", decode(quote_line(1, 0)).ts)  # type: ignore[union-attr]
    assert not NullPublisher.relay
    with pytest.raises(AssertionError, match="1 records for nobody"):
        NullPublisher().publish([record])
