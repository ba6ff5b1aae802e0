"""Headers survive a round trip through JSON."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from riskwatch.store.engine import headers_from, headers_text


@given(st.lists(st.tuples(st.text(), st.binary())).map(tuple))
def test_headers_come_back(headers: tuple[tuple[str, bytes], ...]) -> None:
    """Order, repeated names and all bytes are kept."""
    assert headers_from(json.loads(json.dumps(headers_text(headers)))) == headers


def test_no_headers_are_none() -> None:
    """A column without a value gives no headers."""
    assert headers_from(None) == ()
