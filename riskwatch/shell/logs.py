"""Logs go to stderr: one line per event, for people on a terminal, JSON otherwise."""

from __future__ import annotations

import logging
import sys
from typing import Final, Literal

import structlog

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "console", "json"]

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def configure(level: Level = "info", form: Format = "auto") -> None:
    """Set up structlog for this process. Called once, by a command or a worker.

    Parameters
    ----------
    level : {"debug", "info", "warning", "error"}
        Least level that is written. Batches are at ``debug``.
    form : {"auto", "console", "json"}
        ``auto`` is ``console`` on a terminal and ``json`` elsewhere.
    """
    console = sys.stderr.isatty() if form == "auto" else form == "console"
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if console:
        processors.append(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()))
    else:
        processors += [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
