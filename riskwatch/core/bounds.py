"""Types with a range, for numeric fields of the configuration.

Constructing a struct checks no range. Reading a file does (``riskwatch/config/toml.py``); its error
states the expected range in words.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

Positive = Annotated[float, Meta(gt=0.0)]
"""A number above zero."""
PositiveInt = Annotated[int, Meta(gt=0)]
"""A whole number above zero."""
NotNegative = Annotated[float, Meta(ge=0.0)]
"""A number of zero or more."""
Count = Annotated[int, Meta(ge=0)]
"""A whole number of zero or more."""
AtLeastOne = Annotated[int, Meta(ge=1)]
"""A whole number of one or more."""
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
"""A number from 0 to 1, both included."""
Fraction = Annotated[float, Meta(gt=0.0, lt=1.0)]
"""A number between 0 and 1, both excluded."""
