"""The market stage: quotes and pegs in, one value per asset and one residual per feed out.

Every quote of base ``b`` in quote currency ``q`` at venue ``v`` is an edge of a graph,
``log p = x_b - x_q + noise``. Solving it (:mod:`.solve`) gives every asset's value against
fiat, whatever it trades against, and tells a coin that moved from a feed that is wrong.

To add a kind of feed, nothing changes here: anything that can be said as a ``quote`` or a
``peg`` event is an edge. The parts: :mod:`.edges` (what is remembered per feed),
:mod:`.solve` (the fit), :mod:`.cause` (what moved, and who says so), :mod:`.quality` (feeds
that are stale or wrong), :mod:`.stage` (the state machine).
"""
