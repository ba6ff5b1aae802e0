"""Conformance kit for models: the requirements for every generation of the ensemble."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import random
import subprocess
import sys
import tracemalloc
from itertools import islice
from math import fsum, inf, isfinite, nan
from time import process_time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.checks import model_process
from riskwatch.checks.subject import (
    ConformanceError,
    Subject,
    encode_state,
    encode_subject,
    require,
    score_defect,
    score_stream,
)
from riskwatch.errors import ModelCheckError
from riskwatch.models.base import sigmoid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from riskwatch.checks.subject import Example
    from riskwatch.models.base import Generation, Score


# Checks of resources: bytes of state, memory, time per event.

STATE_MEASUREMENTS: Final = 20
"""Number of measurements of the state during the run."""
TIMED: Final = 400
"""Events of one timed run."""
ROUNDS: Final = 5
"""Number of timed runs; the shortest counts."""
GROWTH: Final = 3.0
"""Largest ratio of the time per event at the end to that at the beginning."""


def bounded(subject: Subject) -> None:
    """State and memory stay bounded, although every event brings a new feature.

    Tracing slows a model down, so memory is traced over the last tenth of the events. It is
    measured over the second half of that tenth, so that buffers whose content is only replaced do
    not count as growth.
    """
    model, events = subject.make(), subject.events
    every, traced, marked = (
        max(1, events // STATE_MEASUREMENTS),
        events * 18 // 20,
        events * 19 // 20,
    )
    held = 0
    try:
        for n, (x, y) in enumerate(subject.examples(events)):
            if n == traced:
                gc.collect()
                tracemalloc.start()
            x[f"never_seen_{n}"] = 1.0
            model.score(x)
            model.learn(x, y)
            if n % every == every - 1:
                size, most = len(encode_state(model)), subject.max_state_bytes
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
    """Return the bytes that are still allocated, of all allocations since tracing began."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def time_per_event(subject: Subject) -> None:
    """A score and a label take at most a stated multiple of a plain River model's time.

    It measures processor time, because the load of the machine is not the model's.
    """
    examples = list(subject.examples(TIMED))
    model = subject.trained_model()
    score, learn, plain = [], [], []
    for _ in range(ROUNDS):  # alternating, so that a busy machine affects all of them
        plain.append(_seconds(lambda: _baseline_seconds(examples)))
        score.append(_seconds(lambda: _score(model, examples)))
        learn.append(_seconds(lambda: _learn(model, examples)))
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
    """An event takes no longer after many events than at the beginning."""
    model, fresh = (
        subject.trained_model(max(TIMED, subject.events // 20)),
        subject.trained_model(TIMED // 4),
    )
    examples = list(subject.examples(TIMED // 4, seed=9))
    late, early = [], []
    for _ in range(ROUNDS):
        early.append(_seconds(lambda: _score(fresh, examples)))
        late.append(_seconds(lambda: _score(model, examples)))
    ratio = min(late) / min(early)
    require(ratio <= GROWTH, f"a score takes {ratio:.1f} times as long after many events")


def _seconds(work: Callable[[], None]) -> float:
    began = process_time()
    work()
    return process_time() - began


def _baseline_seconds(examples: Sequence[Example]) -> None:
    from river import linear_model, preprocessing  # noqa: PLC0415 - the import takes a second

    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    for x, y in examples:
        model.predict_proba_one(x)
        model.learn_one(x, y)


def _score(model: Generation, examples: Sequence[Example]) -> None:
    for x, _ in examples:
        model.score(x)


def _learn(model: Generation, examples: Sequence[Example]) -> None:
    for x, y in examples:
        model.learn(x, y)


# Checks of behaviour: purity, explanations, repeatability, copies, stored state.

HASH_SEEDS: Final = ("0", "4242")
_EXTREMES: Final = (1e308, -1e308, 5e-324, 2.2e-308, -0.0, 0.0, nan, inf, -inf)
_TIMEOUT_S: Final = 600.0
_REFUSALS: Final = (IndexError, KeyError, TypeError, ValueError)


def shape(subject: Subject) -> None:
    """Scores are in range and finite, and their contributions sum to the logit."""
    model = subject.make()
    for x, y in subject.examples(300):
        score = model.score(x)
        wrong = score_defect(score)
        require(not wrong, wrong)
        parts = fsum(score.contributions.values())
        close = abs(parts - score.logit) <= 1e-6 * (1.0 + abs(score.logit))
        require(close, f"contributions must sum to the logit {score.logit}, sum to {parts}")
        close = abs(sigmoid(score.logit) - score.probability) <= 1e-6
        require(close, f"probability {score.probability} is not that of logit {score.logit}")
        _check_probability_alone(model, x, score)
        model.learn(x, y)


def _check_probability_alone(model: Generation, x: dict[str, float], score: Score) -> None:
    """Check that the probability without contributions equals that of the score exactly."""
    alone = getattr(model, "probability", None)
    if alone is None:
        return
    p = alone(x)
    require(p == score.probability, f"probability gives {p}, score gives {score.probability}")


def pure_score(subject: Subject) -> None:
    """Scoring changes nothing, before the first label and after many labels."""
    for model in (subject.make(), subject.trained_model()):
        before, kept = encode_state(model), copy.deepcopy(model)
        others = [x for x, _ in subject.examples(50, seed=2)]
        first = [model.score(x) for x in others]
        require(encode_state(model) == before, "score must not change the state")
        again = [model.score(x) for x in others]
        require(first == again, "the same state scored twice must score the same")
        scores = score_stream(model, subject.examples(50, seed=3))
        require(
            scores == score_stream(kept, subject.examples(50, seed=3)),
            "a model that scored must go on like one that did not",
        )


def no_aliasing(subject: Subject) -> None:
    """The model neither changes its inputs nor depends on them later; the same for its outputs."""
    model, twin = subject.make(), subject.make()
    for x, y in subject.examples(100):
        lent, kept = dict(x), dict(x)
        score = model.score(lent)
        require(lent == kept, "score must not change its input")
        score.contributions.clear()
        lent.clear()
        lent |= kept
        model.learn(lent, y)
        require(lent == kept, "learn must not change its input")
        lent.clear()
        lent["severity"] = 1e6
        _mutate(model.state())
        twin.score(dict(x))
        twin.learn(dict(x), y)
    require(
        encode_state(model) == encode_state(twin),
        "changing an input or a state from outside changed it",
    )
    probe = [x for x, _ in subject.examples(20, seed=2)]
    same = [model.score(x) for x in probe] == [twin.score(x) for x in probe]
    require(same, "changing an input or a state from outside changed what it says")


def _mutate(value: object) -> None:
    """Change every mutable part of a state that a model returned."""
    if isinstance(value, dict):
        for inner in value.values():
            _mutate(inner)
        value.clear()
    elif isinstance(value, list):
        for inner in value:
            _mutate(inner)
        value.clear()


def missing_features(subject: Subject) -> None:
    """Any feature may be missing, also the severity, when scoring and when learning."""
    model = subject.make()
    for n, (x, y) in enumerate(subject.examples(100)):
        part = {name: v for i, (name, v) in enumerate(sorted(x.items())) if (n + i) % 3}
        for features in ({}, {"severity": x["severity"]}, part):
            wrong = score_defect(model.score(features))
            require(not wrong, f"with the features {sorted(features)}: {wrong}")
            model.learn(features, y)


def new_features(subject: Subject) -> None:
    """A feature that appears later causes no error."""
    model = subject.trained_model()
    for n, (x, y) in enumerate(subject.examples(50, seed=4)):
        features = {**x, f"new_{n}": float(n), "new_always": 1.0}
        wrong = score_defect(model.score(features))
        require(not wrong, f"with a new feature: {wrong}")
        model.learn(features, y)


def feature_order(subject: Subject) -> None:
    """The order of the features does not change any bit of a score."""
    model, twin = subject.make(), subject.make()
    for x, y in subject.examples(200):
        reversed_x = dict(reversed(list(x.items())))
        same = model.score(x) == twin.score(reversed_x)
        require(same, "the same features in another order must score the same")
        model.learn(x, y)
        twin.learn(reversed_x, y)


def no_chance(subject: Subject) -> None:
    """The model neither uses nor depends on the shared random generators."""
    import numpy as np  # noqa: PLC0415 - the command line imports this module and starts without NumPy

    kept, kept_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        runs: list[list[Score]] = []
        for seed in (1, 2):
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002 - the shared generator is what is tested
            drawn = random.getstate(), str(np.random.get_state())  # noqa: NPY002
            runs.append(score_stream(subject.make(), subject.examples(200)))
            after = random.getstate(), str(np.random.get_state())  # noqa: NPY002
            require(drawn == after, "it must not draw from a shared random generator")
        require(runs[0] == runs[1], "two runs over one stream must say the same")
    finally:
        random.setstate(kept)
        np.random.set_state(kept_numpy)  # noqa: NPY002


def across_processes(subject: Subject) -> None:
    """Other processes, with other string hashes, give the same scores exactly."""
    sent = encode_subject(subject).encode("ascii")
    path = os.pathsep.join(["", *(p for p in sys.path if p)])
    started = [
        subprocess.Popen(  # noqa: S603 - this interpreter, this package
            [sys.executable, "-m", model_process.__name__],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for seed in HASH_SEEDS
    ]
    try:
        answers = [process.communicate(sent, timeout=_TIMEOUT_S) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    expected = model_process.digest(subject)
    for seed, process, (out, err) in zip(HASH_SEEDS, started, answers, strict=True):
        last = err.decode(errors="replace").strip().rpartition("\n")[2]
        require(process.returncode == 0, f"another process could not run it: {last}")
        same = out.decode() == expected
        require(same, f"a process with PYTHONHASHSEED={seed} said something else")


def copies(subject: Subject) -> None:
    """Pickled and deep-copied models continue like the original, and independently of it."""
    model = subject.trained_model()
    before = encode_state(model)
    for how, copied in (
        ("pickled", pickle.loads(pickle.dumps(model))),  # noqa: S301 - pickled in this line
        ("deep-copied", copy.deepcopy(model)),
    ):
        require(encode_state(copied) == before, f"a {how} model must have the same state")
        scores = score_stream(copied, subject.examples(50, seed=5))
        require(
            encode_state(model) == before, f"teaching a {how} model must not teach the original"
        )
        twin = subject.trained_model()
        same = scores == score_stream(twin, subject.examples(50, seed=5))
        require(same, f"a {how} model must go on as the original would")


def state_round_trip(subject: Subject) -> None:
    """A state is plain JSON, and a model restored from it continues exactly like the original."""
    for model in (subject.make(), subject.trained_model()):
        row = encode_state(model)
        restored = subject.make()
        given = msgspec.json.decode(row)
        require(isinstance(given, dict), f"state must be a dict, was {type(given).__name__}")
        if not given:  # such a model is never stored and never restored
            continue
        restored.restore(given)
        _mutate(given)
        require(encode_state(restored) == row, "a restored model must give the state it was given")
        same = score_stream(model, subject.examples(100, seed=6)) == score_stream(
            restored, subject.examples(100, seed=6)
        )
        require(same, "a restored model must go on as the original does")
        require(encode_state(restored) == encode_state(model), "and learn the same, to the bit")


def learned_is_stored(subject: Subject) -> None:
    """A model whose scores changed by learning has another state."""
    model, fresh = subject.trained_model(), subject.make()
    if encode_state(model) == encode_state(fresh):
        probe = [x for x, _ in subject.examples(50, seed=7)]
        same = [model.score(x) for x in probe] == [fresh.score(x) for x in probe]
        require(same, "what changed its answers must be in its state")


def foreign_state(subject: Subject) -> None:
    """The state of another model is refused."""
    model = subject.make()
    try:
        model.restore({"of_another_model": [1.0, 2.0]})
    except _REFUSALS:
        return
    require(False, "restore must raise ValueError on a state that is not its own")


def finite(subject: Subject) -> None:
    """All outputs are finite for all inputs, and remain so afterwards."""
    model = subject.make()
    names = ["severity", *subject.features]
    normal = list(islice(subject.examples(40, seed=8), 40))
    for extreme in _EXTREMES:
        for name in names:
            _check_finite_at(model, {**normal[0][0], name: extreme}, f"{name} = {extreme}")
        _check_finite_at(model, dict.fromkeys(names, extreme), f"all features {extreme}")
    for x, y in normal:
        _check_finite_at(model, x, "ordinary numbers after extreme ones")
        model.learn(x, y)
    require(_all_finite(model.state()), "the state must hold finite numbers only")


def _check_finite_at(model: Generation, x: dict[str, float], when: str) -> None:
    """Score and learn the same features twice, once per label."""
    for y in (True, False):
        wrong = score_defect(model.score(x))
        require(not wrong, f"with {when}: {wrong}")
        model.learn(x, y)


def _all_finite(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_all_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_all_finite, value))
    return not isinstance(value, float) or isfinite(value)


CHECKS: Final[dict[str, Callable[[Subject], None]]] = {
    "shape": shape,
    "pure_score": pure_score,
    "no_aliasing": no_aliasing,
    "missing_features": missing_features,
    "new_features": new_features,
    "feature_order": feature_order,
    "no_chance": no_chance,
    "across_processes": across_processes,
    "copies": copies,
    "state_round_trip": state_round_trip,
    "learned_is_stored": learned_is_stored,
    "foreign_state": foreign_state,
    "finite": finite,
    "bounded": bounded,
    "time_per_event": time_per_event,
    "steady_time": steady_time,
}
"""Every check by its name, in running order."""


def check_model(
    model: str | Callable[..., Generation],
    *,
    options: Mapping[str, Any] | None = None,
    only: tuple[str, ...] = (),
    **bounds: Any,
) -> tuple[str, ...]:
    """Check that a model meets the requirements of the ensemble.

    The model scores before it learns, and scoring does not change it. It is pure and repeatable,
    also in other processes. Its contributions sum to its logit. It keeps no reference to its
    inputs. It handles missing, new and extreme features. Copies and restored states continue
    exactly like the original. Its state, memory and time per event are bounded.

    Parameters
    ----------
    model : str or callable
        Name of a built-in model or of an entry point in the group ``riskwatch.models``, or a
        factory. The factory must be importable by its name, because it also runs in other
        processes.
    options : mapping, optional
        Keyword arguments of the factory.
    only : tuple of str
        Names out of :data:`CHECKS` to run; all if empty.
    **bounds
        Other fields of :class:`~riskwatch.checks.subject.Subject`: ``features``, ``target``,
        ``events``, ``max_state_bytes``, ``score_ratio``, ``learn_ratio``.

    Returns
    -------
    tuple of str
        Names of the checks, all of which passed.

    Raises
    ------
    ModelCheckError
        Naming every check that failed, with the reason, and every name in `only` that is unknown.
    ModelError
        If the model cannot be built at all.

    Examples
    --------
    >>> check_model("rules", only=("shape", "pure_score"))
    ('shape', 'pure_score')
    """
    unknown = [name for name in only if name not in CHECKS]
    if unknown:
        raise ModelCheckError(str(model), dict.fromkeys(unknown, "there is no such check"))
    subject = Subject(model, dict(options or {}), **bounds)
    subject.make()
    names = tuple(name for name in CHECKS if not only or name in only)
    failures = {name: why for name in names if (why := _failure(CHECKS[name], subject))}
    if failures:
        raise ModelCheckError(subject.name, failures)
    return names


def _failure(check: Callable[[Subject], None], subject: Subject) -> str:
    """Return why a check failed, empty if it passed; any exception of a model is a failure."""
    try:
        check(subject)
    except Exception as error:  # noqa: BLE001 - the model is foreign code
        text = str(error)
        return text if isinstance(error, ConformanceError) else f"{error!r}"
    return ""
