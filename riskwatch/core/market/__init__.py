"""The market stage: quotes and pegs in, one value per asset and one residual per feed out.

Every quote of base ``b`` in quote currency ``q`` at venue ``v`` is an edge of a graph:
``log p = x_b - x_q + noise``. The solution (:mod:`.solve`) gives every asset's value against fiat,
whatever it is traded against. It also tells an asset that moved from a feed that is wrong.

A new kind of feed needs no change here: anything that can be stated as a ``quote`` or a ``peg``
event is an edge. The modules are :mod:`.state` (rows of feeds, assets and issues), :mod:`.solve`
(the fit), :mod:`.report` (causes and readings), :mod:`.quality` (stale and wrong feeds) and
:mod:`.stage` (the stage itself).
"""
