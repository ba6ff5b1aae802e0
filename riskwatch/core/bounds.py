"""Ranges that numbers of the configuration lie in, to be written where a field is declared.

Constructing a struct checks no range; reading a file does (``riskwatch/config/toml.py``), and
says what was expected in words.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

Positive = Annotated[float, Meta(gt=0.0)]
"""Above zero."""
PositiveInt = Annotated[int, Meta(gt=0)]
"""A whole number above zero."""
NotNegative = Annotated[float, Meta(ge=0.0)]
"""Zero or more."""
Count = Annotated[int, Meta(ge=0)]
"""A whole number of zero or more."""
AtLeastOne = Annotated[int, Meta(ge=1)]
"""A whole number of one or more."""
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
"""From 0 to 1, both included."""
Fraction = Annotated[float, Meta(gt=0.0, lt=1.0)]
"""Between 0 and 1, both excluded."""
