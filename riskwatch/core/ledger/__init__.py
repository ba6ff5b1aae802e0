"""The ledger stage: fills, balances and transfers in, exact holdings and flow features out.

Final holdings depend only on the *set* of facts within the late window, not on their order. Two
ideas make this possible. First, every fact has an effect: a list of deltas, each at an event time.
A holding is its latest snapshot plus the later deltas (:mod:`.holding`). Second, the effect of a
transfer or of a settling trade is a pure function of the facts known about it. When another fact
arrives, the old effect is reversed and the new one applied (:mod:`.transfers`, :mod:`.trades`).

To add a fact: write a pure ``effect`` function as those modules do, a handler in :mod:`.stage`,
and its rows in :mod:`.state`. The other modules are :mod:`.party` (one counterparty),
:mod:`.flow` (withdrawals and deposits), :mod:`.report` (ticks and readings) and :mod:`.config`.
"""
