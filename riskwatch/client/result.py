"""What became of what was published."""

from __future__ import annotations

import msgspec

from riskwatch.core.reasons import RejectReason


class Refused(msgspec.Struct, frozen=True):
    """An item that is no event of the contract, and was not sent.

    Attributes
    ----------
    number : int
        Which, counted from 1 in the order given.
    reason : RejectReason
        The rule that it breaks.
    detail : str
        Which field, what was expected and what was there.
    """

    number: int
    reason: RejectReason
    detail: str


class Published(msgspec.Struct):
    """What became of the items.

    Attributes
    ----------
    sent : dict of str to int
        Events that the broker acknowledged, by plain name of the topic.
    refused : int
        Items that were no events.
    first : list of Refused
        The first of them, with reasons.
    """

    sent: dict[str, int] = msgspec.field(default_factory=dict)
    refused: int = 0
    first: list[Refused] = msgspec.field(default_factory=list)

    @property
    def total(self) -> int:
        """Events that the broker acknowledged."""
        return sum(self.sent.values())
