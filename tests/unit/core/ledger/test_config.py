"""Settings of the ledger are checked on construction."""

from __future__ import annotations

from typing import Any

import pytest

from riskwatch.core.ledger.config import LedgerConfig


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("late_window_s", 14),
        ("transfer_retention_s", 899),
        ("max_deltas", 511),
        ("slippage_weight", 0.0),
        ("slippage_weight", 1.1),
        ("max_holdings", 2),
        ("max_positions", 0),
    ],
)
def test_impossible_settings_are_refused(name: str, value: Any) -> None:
    """The message names the setting."""
    with pytest.raises(ValueError, match=name):
        LedgerConfig(**{name: value})
