"""Lives of replays: processes that are killed, and what their database and consumers know then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from riskwatch.engine.replay import open_database
from riskwatch.store.content import content_digest
from tests.crash.worker import Life

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass
class Workers:
    """Lives replays, one process each, and says how they ended."""

    process: subprocess.Popen[bytes]

    def live(self, life: Life, *, kill_after_s: float | None = None) -> int:
        """Exit code of a life; ``-9`` if it was killed, by itself or from here."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(msgspec.json.encode(life) + b"\n")
        self.process.stdin.flush()
        pid = int(self.process.stdout.readline())
        if kill_after_s is not None:
            time.sleep(kill_after_s)  # not to wait for anything: to hit a moment by chance
            with suppress(ProcessLookupError):  # it may have lived to its end already
                os.kill(pid, signal.SIGKILL)
        return int(self.process.stdout.readline())


@contextmanager
def running(root: Path) -> Iterator[Workers]:
    """Start what lives replays, and end it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.crash.worker"],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield Workers(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=60) == 0
        assert process.stdout is not None
        process.stdout.close()


def published(out: Path) -> list[bytes]:
    """Lines that consumers see who drop repeats by id, in the order of their first sight."""
    data = out.read_bytes() if out.exists() else b""
    seen: dict[str, bytes] = {}
    for line in data[: data.rfind(b"\n") + 1].splitlines():  # a kill may leave a part of a line
        name = msgspec.json.decode(line)["value"]["id"]
        assert seen.setdefault(name, line) == line, "one id with two contents"
    return list(seen.values())


def outcome(folder: Path) -> tuple[str, list[bytes]]:
    """What a database and its consumers know in the end."""
    with open_database(f"sqlite:///{folder}/r.db") as engine:
        return content_digest(engine), published(folder / "out.ndjson")


def life(folder: Path, events: Path, **kwargs: object) -> Life:
    """A life in a folder of its own."""
    folder.mkdir(exist_ok=True)
    settings = {
        "file": str(events),
        "url": f"sqlite:///{folder}/r.db",
        "out": f"{folder}/out.ndjson",
    }
    return msgspec.convert(settings | kwargs, Life)
