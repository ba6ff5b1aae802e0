"""Makes the stored database of this build: ``python -m tests.stored``.

Run it once the engine or the row format was raised. It writes
``tests/stored/format-N-engine-X.sql``, a dump of a small SQLite database that real commands made.
Dumps of older engines may go where a newer one of the same format is there. The last one of each
format stays.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.support.stored import FOLDER, dumped, make, named


def main() -> None:
    """Write the dump; never over another one."""
    path = FOLDER / f"{named()}.sql"
    if path.exists():
        sys.exit(f"{path} exists: a stored database stays as its build made it")
    with tempfile.TemporaryDirectory() as folder:
        path.write_text(dumped(make(Path(folder))))
    print(f"{path}: {path.stat().st_size:,} bytes")  # noqa: T201 - a tool for people


if __name__ == "__main__":
    main()
