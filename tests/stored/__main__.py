"""Makes the stored database of this build's row format: ``python -m tests.stored``.

Run it with the last build of a format, before the format is raised. It writes
``tests/stored/format-N.sql``, a dump of a small SQLite database that real commands made.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from riskwatch.core.stage import FORMAT
from tests.support.stored import FOLDER, dumped, make


def main() -> None:
    """Write the dump; never over another one."""
    path = FOLDER / f"format-{FORMAT}.sql"
    if path.exists():
        sys.exit(f"{path} exists: a stored database stays as the released build made it")
    with tempfile.TemporaryDirectory() as folder:
        path.write_text(dumped(make(Path(folder))))
    print(f"{path}: {path.stat().st_size:,} bytes")  # noqa: T201 - a tool for people


if __name__ == "__main__":
    main()
