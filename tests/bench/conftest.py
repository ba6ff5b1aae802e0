"""Figures that the table of times does not show: rates and ratios, above it."""

from __future__ import annotations

from typing import Any


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what each benchmark noted beside its time."""
    session = getattr(terminalreporter.config, "_benchmarksession", None)
    noted = [b for b in getattr(session, "benchmarks", ()) if b.extra_info]
    for bench in noted:
        figures = ", ".join(f"{name} {value}" for name, value in bench.extra_info.items())
        terminalreporter.write_line(f"{bench.name}: {figures}")
