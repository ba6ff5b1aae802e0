"""Checks of what a model takes: bytes of state, memory, time per event."""

from __future__ import annotations

import gc
import tracemalloc
from time import process_time
from typing import TYPE_CHECKING, Final

from riskwatch.checks.model_subject import encoded, require

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from riskwatch.checks.model_subject import Lesson, Subject
    from riskwatch.models.base import Generation

LOOKS: Final = 20
"""How often the state is measured on the way."""
TIMED: Final = 400
"""Events of one measured run."""
ROUNDS: Final = 5
"""Runs of which the shortest counts."""
GROWTH: Final = 3.0
"""How much longer an event may take at the end than at the beginning."""


def bounded(subject: Subject) -> None:
    """State and memory stay bounded, though every event brings a feature never seen before.

    Tracing slows a model down, so memory is traced over the last tenth of the events, and
    judged over the second half of that: by then, what is merely replaced has been seen once.
    """
    model, events = subject.make(), subject.events
    every, traced, marked = max(1, events // LOOKS), events * 18 // 20, events * 19 // 20
    held = 0
    try:
        for n, (x, y) in enumerate(subject.lessons(events)):
            if n == traced:
                gc.collect()
                tracemalloc.start()
            x[f"never_seen_{n}"] = 1.0
            model.score(x)
            model.learn(x, y)
            if n % every == every - 1:
                size, most = len(encoded(model)), subject.max_state_bytes
                require(size <= most, f"its state is {size:,} bytes after {n + 1:,} events")
            if n == marked:
                held = _traced()
        grown = _traced() - held
    finally:
        tracemalloc.stop()
    require(
        grown <= subject.max_state_bytes,
        f"memory grew by {grown:,} bytes over the last {events - marked:,} events",
    )


def _traced() -> int:
    """Bytes that are held, of what was allocated since tracing began."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def time_per_event(subject: Subject) -> None:
    """A score and a label take no more than a stated multiple of a plain River model's.

    Processor time: what else the machine does is not the model's doing.
    """
    lessons = list(subject.lessons(TIMED))
    model = subject.taught()
    score, learn, plain = [], [], []
    for _ in range(ROUNDS):  # in turns, so that a busy machine is busy for all of them
        plain.append(_seconds(lambda: _plain(lessons)))
        score.append(_seconds(lambda: _score(model, lessons)))
        learn.append(_seconds(lambda: _learn(model, lessons)))
    unit = min(plain)
    for what, took, most in (
        ("score", min(score), subject.score_ratio),
        ("label", min(learn), subject.learn_ratio),
    ):
        ratio = took / unit
        require(
            ratio <= most,
            f"a {what} takes {ratio:.1f} times a plain River model ({1e6 * took / TIMED:.0f} µs), "
            f"at most {most:g}",
        )


def steady_time(subject: Subject) -> None:
    """An event takes no longer after many of them than at the beginning."""
    model, fresh = subject.taught(max(TIMED, subject.events // 20)), subject.taught(TIMED // 4)
    lessons = list(subject.lessons(TIMED // 4, seed=9))
    late, early = [], []
    for _ in range(ROUNDS):
        early.append(_seconds(lambda: _score(fresh, lessons)))
        late.append(_seconds(lambda: _score(model, lessons)))
    ratio = min(late) / min(early)
    require(ratio <= GROWTH, f"a score takes {ratio:.1f} times as long after many events")


def _seconds(work: Callable[[], None]) -> float:
    began = process_time()
    work()
    return process_time() - began


def _plain(lessons: Sequence[Lesson]) -> None:
    from river import linear_model, preprocessing  # noqa: PLC0415 - a second to import

    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    for x, y in lessons:
        model.predict_proba_one(x)
        model.learn_one(x, y)


def _score(model: Generation, lessons: Sequence[Lesson]) -> None:
    for x, _ in lessons:
        model.score(x)


def _learn(model: Generation, lessons: Sequence[Lesson]) -> None:
    for x, y in lessons:
        model.learn(x, y)
