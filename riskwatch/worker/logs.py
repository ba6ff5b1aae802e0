"""Logging to stderr, one line per event: readable text on a terminal, JSON otherwise."""

from __future__ import annotations

import logging
import sys
from io import StringIO
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

import structlog

from riskwatch.contracts.redact import redact_secrets
from riskwatch.core.clock import micros, rfc3339
from riskwatch.core.enums import State
from riskwatch.core.outputs import (
    AlertRaised,
    AlertResolved,
    CommandApplied,
    CommandRefused,
    DecisionMade,
)
from riskwatch.core.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from structlog.typing import EventDict, ExcInfo

    from riskwatch.core.outputs import Output

log = structlog.get_logger("riskwatch.outputs")

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "console", "json"]

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def configure_logging(level: LogLevel = "info", form: LogFormat = "auto") -> None:
    """Set up structlog for this process. Called once, by a command or a worker.

    Parameters
    ----------
    level : {"debug", "info", "warning", "error"}
        Lowest level that is written. Batches are logged at ``debug``.
    form : {"auto", "console", "json"}
        Form of the lines. ``auto`` is ``console`` on a terminal and ``json`` elsewhere.
    """
    console = sys.stderr.isatty() if form == "auto" else form == "console"
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        in_order,
    ]
    if console:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=_traceback
        )
        processors += [without_secrets, renderer]
    else:
        processors += [
            structlog.processors.format_exc_info,
            without_secrets,
            structlog.processors.JSONRenderer(),
        ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        # Look stderr up for each line: a thread may outlive the present stream.
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    _bridge(_LEVELS[level])


FIRST: Final = ("timestamp", "level", "logger", "event", "worker")
"""Keys that come first in each line; the others follow in the order of their call."""


def in_order(logger: object, name: str, line: EventDict) -> EventDict:
    """Put the keys of a line into an order that is the same for all lines of one event."""
    del logger, name
    return {key: line[key] for key in FIRST if key in line} | dict(line)


def log_outputs(worker: str, outputs: Iterable[Output]) -> None:
    """Log what was committed: a line for each decision, release, alert and command.

    A release is a decision that ends a HALT.
    """
    for output in outputs:
        line = _line(output)
        if line is not None:
            ts = rfc3339(micros(output.ts))
            log.info(line[0], worker=worker, id=output.id, ts=ts, **line[1])


def _line(output: Output) -> tuple[str, dict[str, Any]] | None:
    """Return name and keys of the line of an output; ``None`` if it has no line."""
    names: tuple[str, ...]
    if isinstance(output, DecisionMade):
        ends = output.previous is State.HALT and output.state is not State.HALT
        names = ("scope", "previous", "state", "cause", "quality", "generation", "rule")
        return "release" if ends else "decision", _keys(output, names) | _reason(output.reasons)
    if isinstance(output, AlertRaised):
        names = ("scope", "alert", "severity", "cause", "title", "decision_id")
        return "alert", _keys(output, names) | _reason(output.reasons)
    if isinstance(output, AlertResolved):
        return "alert resolved", _keys(output, ("scope", "alert", "opened_id"))
    if isinstance(output, CommandApplied):
        names = ("scope", "action", "outcome", "operator", "role", "reason", "detail", "request_id")
        return "command", _keys(output, names)
    if isinstance(output, CommandRefused):
        names = ("scope", "action", "refusal", "operator", "authentic", "reason", "detail")
        return "command refused", _keys(output, names)
    return None


def _keys(output: Output, names: Sequence[str]) -> dict[str, Any]:
    values = ((name, getattr(output, name)) for name in names)
    return {name: v if v is None or isinstance(v, bool) else visible(str(v)) for name, v in values}


def _reason(reasons: Sequence[str]) -> dict[str, str]:
    """Return the strongest reason; the others are in SQL."""
    return {"reason": visible(reasons[0]) if reasons else ""}


def without_secrets(logger: object, name: str, line: EventDict) -> EventDict:
    """Remove secrets from every text of a line."""
    del logger, name
    # exc_info is not text yet; the console renderer converts it with _traceback.
    return {key: v if key == "exc_info" else _hidden(v) for key, v in line.items()}


def _hidden(value: Any) -> Any:
    if isinstance(value, str):
        return redact_secrets(value)
    if isinstance(value, dict):
        return {key: _hidden(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact_secrets(str(value))


def _traceback(sio: TextIO, exc_info: ExcInfo) -> None:
    structlog.dev.plain_traceback(text := StringIO(), exc_info)
    sio.write(redact_secrets(text.getvalue()))


class _Bridge(logging.Handler):
    """Passes log records of libraries to structlog, so that all lines have one form."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(record.name)
        failed = {"exc_info": record.exc_info} if record.exc_info else {}
        log.log(record.levelno, record.getMessage(), logger=record.name, **failed)


def _bridge(level: int) -> None:
    """Log warnings and errors of libraries, and drop their lower levels."""
    root = logging.getLogger()
    for handler in root.handlers:
        if isinstance(handler, _Bridge):
            root.removeHandler(handler)
    root.addHandler(_Bridge(max(level, logging.WARNING)))
    for name in ("kafka", "aiokafka"):
        # Without a broker they write several lines a second; riskwatch logs it once and counts.
        logging.getLogger(name).setLevel(logging.CRITICAL)
