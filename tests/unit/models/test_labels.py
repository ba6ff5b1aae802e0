"""Labels: when a sample gets one, and which."""

from __future__ import annotations

import msgspec
import pytest

from riskwatch.core.clock import SECOND
from riskwatch.core.stage import encode_row
from riskwatch.models.base import PredictionTarget
from riskwatch.models.labels import PendingSamples, Sample

TARGET = PredictionTarget(kind="depeg", threshold=50.0, horizon_s=60.0)


def labels(*seen: tuple[float, float], taken: float = 0.0) -> list[tuple[float, bool]]:
    """Return the second and the label at which one sample matured."""
    pending = PendingSamples()
    pending.add(Sample(int(taken * SECOND), {}, {}))
    found = []
    for second, measure in seen:
        known = pending.observe(TARGET, int(second * SECOND), measure)
        found += [(second, label) for _, label in known]
    assert not (found and pending.samples)
    return found


def test_a_false_is_known_at_the_end_of_the_horizon() -> None:
    """The label is not known before the end, and is known at the end."""
    assert labels((15, 1.0), (30, 49.9), (45, 1.0), (59.9, 1.0)) == []
    assert labels((15, 1.0), (30, 49.9), (45, 1.0), (60, 1.0)) == [(60, False)]


def test_a_true_waits_for_the_end_of_the_horizon_too() -> None:
    """A true label matures with the falses of its time, not earlier."""
    assert labels((5, 50.0), (15, 1.0), (30, 1.0), (45, 1.0), (60, 1.0)) == [(60, True)]


@pytest.mark.parametrize(("second", "label"), [(60, True), (60.000001, False)])
def test_the_horizon_ends_with_its_last_moment(second: float, label: bool) -> None:
    """A crossing exactly at the end counts; a later one does not."""
    assert labels((15, 1.0), (30, 1.0), (45, 1.0), (second, 50.0)) == [(second, label)]


def test_the_moment_of_the_sample_is_not_its_future() -> None:
    """An observation at the time of the sample does not count for its label."""
    assert labels((0, 80.0), (15, 1.0), (30, 1.0), (45, 1.0), (60, 1.0)) == [(60, False)]


@pytest.mark.parametrize(
    "seen",
    [
        ((16, 1.0), (30, 1.0), (45, 1.0), (60, 1.0)),
        ((15, 1.0), (31, 1.0), (45, 1.0), (60, 1.0)),
        ((15, 1.0), (30, 1.0), (44, 1.0), (60, 1.0)),
        ((500, 1.0),),
    ],
)
def test_a_hole_leaves_no_false_label(seen: tuple[tuple[float, float], ...]) -> None:
    """A sample with more than a quarter of its horizon unobserved is dropped and counted."""
    pending = PendingSamples()
    pending.add(Sample(0, {}, {}))
    for second, measure in seen:
        assert pending.observe(TARGET, int(second * SECOND), measure) == []
    assert (pending.samples, pending.unlabelled) == ([], 1)


def test_what_was_seen_to_happen_is_true_despite_a_hole() -> None:
    """A gap can hide a crossing but not undo one."""
    assert labels((5, 60.0), (500, 1.0)) == [(500, True)]
    assert labels((59, 60.0), (61, 1.0)) == [(61, True)]


def test_a_crossing_after_the_horizon_is_not_a_late_true() -> None:
    """An observation after the end does not make the label true."""
    assert labels((15, 1.0), (30, 1.0), (45, 1.0), (500, 90.0)) == [(500, False)]


def test_an_observation_from_the_past_tells_nothing() -> None:
    """It neither fills a gap nor makes one."""
    assert labels((15, 1.0), (30, 1.0), (10, 90.0), (45, 1.0), (60, 1.0)) == [(60, False)]


def test_time_unobserved_before_a_sample_is_not_its_hole() -> None:
    """A gap before the sample does not count."""
    assert labels((515, 1.0), (530, 1.0), (545, 1.0), (560, 1.0), taken=500) == [(560, False)]


def test_samples_mature_in_order_and_apart() -> None:
    """A crossing makes true exactly the samples in whose horizon it falls."""
    pending = PendingSamples()
    for second in (0, 20, 40):
        pending.add(Sample(second * SECOND, {"severity": second / 100}, {}))
    known = []
    for second in range(10, 110, 10):
        seen = pending.observe(TARGET, second * SECOND, 70.0 if second == 70 else 1.0)
        known += [(second, sample.us // SECOND, label) for sample, label in seen]
    assert known == [(60, 0, False), (80, 20, True), (100, 40, True)]


def test_nothing_is_noted_while_nothing_waits() -> None:
    """Without waiting samples an observation changes no row."""
    pending = PendingSamples()
    assert pending.observe(TARGET, 5 * SECOND, 70.0) == []
    assert pending == PendingSamples()


def test_what_waits_survives_storage() -> None:
    """A row is equal after encoding and decoding."""
    pending = PendingSamples()
    pending.add(Sample(0, {"severity": 0.25}, {"rules": 0.1}))
    pending.observe(TARGET, 50 * SECOND, 70.0)
    assert pending.samples[0].hit
    assert pending.samples[0].holed
    assert msgspec.json.decode(encode_row(pending), type=PendingSamples) == pending


def test_leaving_censors_what_was_not_reached() -> None:
    """Samples are censored when we leave, but one that was hit before stays true."""
    pending = PendingSamples()
    pending.add(Sample(0, {}, {}))
    pending.observe(TARGET, 10 * SECOND, 70.0)
    pending.add(Sample(11 * SECOND, {}, {}))
    pending.observe(TARGET, 20 * SECOND, 1.0)
    assert pending.censor(TARGET, 30 * SECOND) == []
    assert [sample.us for sample in pending.samples] == [0]
    assert (pending.censored, pending.unlabelled) == (1, 0)
    assert [label for _, label in pending.censor(TARGET, 60 * SECOND)] == [True]
    assert (pending.samples, pending.censored) == ([], 1)


def test_nothing_is_said_of_a_horizon_that_ended_unobserved_before_we_were_seen_gone() -> None:
    """We may have left within the horizon, so the sample is censored, not false."""
    pending = PendingSamples()
    pending.add(Sample(0, {}, {}))
    pending.observe(TARGET, 50 * SECOND, 1.0)
    assert pending.censor(TARGET, 90 * SECOND) == []
    assert (pending.samples, pending.censored) == ([], 1)


def composed(*seen: tuple[float, float, str]) -> tuple[list[bool], int]:
    """Return labels and unlabelled count of a sample with parts a and b.

    Each observation is (second, measure, known parts).
    """
    pending = PendingSamples()
    pending.add(Sample(0, {}, {}, parts=["a", "b"]))
    found = []
    for second, measure, known in seen:
        found += [
            label for _, label in pending.observe(TARGET, int(second * SECOND), measure, known)
        ]
    assert pending.samples == []
    return found, pending.unlabelled


def test_a_part_that_goes_missing_is_a_hole() -> None:
    """A measure that lacks a part can show a hit, but not that there was none."""
    full, half = "ab", "a"
    assert composed((15, 1, full), (30, 1, full), (45, 1, full), (60, 1, full)) == ([False], 0)
    assert composed((15, 1, full), (30, 1, half), (45, 1, half), (60, 1, full)) == ([], 1)
    assert composed((15, 1, full), (30, 1, full), (45, 1, full), (60, 1, half)) == ([False], 0)
    assert composed((15, 1, full), (30, 1, full), (44, 1, full), (60, 1, half)) == ([], 1)
    assert composed((15, 1, half), (30, 60, half), (45, 1, half), (60, 1, half)) == ([True], 0)
    assert composed((15, 1, "abc"), (30, 1, "abc"), (45, 1, "abc"), (60, 1, "c")) == ([False], 0)
