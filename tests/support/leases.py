"""Several that ask for one lease at once: what must come of it on any database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

from riskwatch.store.engine import open_engine
from riskwatch.store.lease import claim_lease, lease_state

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

SEVERAL = 6


def one_of_several_gets_it(url: str, engine: Engine, epoch: int) -> None:
    """Let them ask all at once, each on its own connection: one wins, and knows it.

    Parameters
    ----------
    url : str
        Where each connects.
    engine : Engine
        Where to look afterwards.
    epoch : int
        That the winner must have.
    """
    start = Barrier(SEVERAL)

    def ask(n: int) -> bool:
        own = open_engine(url)
        start.wait()
        try:
            return claim_lease(own, "risk", f"n{n}", 10)
        finally:
            own.dispose()

    with ThreadPoolExecutor(SEVERAL) as pool:
        won = list(pool.map(ask, range(SEVERAL)))
    assert sum(won) == 1
    found = lease_state(engine, "risk")
    assert found is not None
    assert (found.holder, found.epoch) == (f"n{won.index(True)}", epoch)
    assert -1 < found.idle_s < 10
