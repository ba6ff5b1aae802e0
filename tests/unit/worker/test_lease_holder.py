"""Holders of leases: an ended process is dead, and a living one never is."""

from __future__ import annotations

import os
import subprocess
import sys

from riskwatch.worker.lease import is_dead, process_holder


def test_a_process_that_ended_is_dead() -> None:
    """Only here: elsewhere the same number is another process."""
    ended = subprocess.run(
        [
            sys.executable, "-c",
            "from riskwatch.worker.lease import process_holder; print(process_holder())",
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    host, pid, space = ended.stdout.strip().split("/")
    assert is_dead(f"{host}/{pid}/{space}")
    assert not is_dead(f"{host}x/{pid}/{space}")
    assert not is_dead(f"{host}/{pid}/{space}x")
    assert not is_dead(f"{host}/{pid}")


def test_who_lives_is_not_dead() -> None:
    """One process itself, its parent, and what is no number at all."""
    host, _, space = process_holder().split("/")
    assert not is_dead(process_holder())
    assert not is_dead(f"{host}/{os.getppid()}/{space}")
    assert not is_dead(f"{host}/x/{space}")
    assert not is_dead(f"{host}/{10**30}/{space}")
