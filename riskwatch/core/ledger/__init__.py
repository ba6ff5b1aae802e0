"""The ledger stage: fills, balances and transfers in, exact holdings and flow features out.

Final holdings are a function of the *set* of facts within the late buffer, never of their
order. That rests on two ideas. Every fact is worth a list of deltas, each at an event time, and
a holding is its latest snapshot plus the later deltas (:mod:`.cell`). And a thing with a
history (a transfer, a settling trade) is worth a pure function of the facts known about it:
when one more becomes known, what the old set was worth is taken back and the new one applied
(:mod:`.transfers`, :mod:`.trades`, :mod:`.orders`).

To add a fact: give it a pure ``effect`` as those modules do, a handler in :mod:`.stage`, and its
rows in :mod:`.state`. The rest: :mod:`.party` (one counterparty), :mod:`.flow` (how money moves),
:mod:`.report` (ticks and readings), :mod:`.config`.
"""
