"""Names of the headers that say whose a record is, and which place it has among all of theirs."""

from __future__ import annotations

from typing import Final

WORKER: Final = "rw-worker"
EPOCH: Final = "rw-epoch"
SEQ: Final = "rw-seq"
