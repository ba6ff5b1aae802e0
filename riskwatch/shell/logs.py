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
    _bridge(_LEVELS[level])


class _Bridge(logging.Handler):
    """Hands what libraries log to structlog, so that there is one kind of line."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(record.name)
        failed = {"exc_info": record.exc_info} if record.exc_info else {}
        log.log(record.levelno, record.getMessage(), logger=record.name, **failed)


def _bridge(level: int) -> None:
    """Take what libraries say from warnings on; below that they talk to themselves."""
    root = logging.getLogger()
    for handler in root.handlers:
        if isinstance(handler, _Bridge):
            root.removeHandler(handler)
    root.addHandler(_Bridge(max(level, logging.WARNING)))
    for name in ("kafka", "aiokafka"):
        # While a broker is away they write several lines a second; we say it once, and count.
        logging.getLogger(name).setLevel(logging.CRITICAL)
