"""``riskwatch fit``: fit the batch generation on recorded or simulated episodes."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import msgspec
import structlog
import typer

from riskwatch import scenarios
from riskwatch.core.clock import SECOND
from riskwatch.core.risk.scorer import GenerationConfig
from riskwatch.engine.replay import ReplayJob, ReplayLimits, replay_files
from riskwatch.errors import RiskwatchError
from riskwatch.scenarios.random_episodes import discount_paths, episode_weight, random_episode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from riskwatch.config.config import Config
    from riskwatch.models.config import TargetSpec
    from riskwatch.models.sample_recorder import LabelledSample
    from riskwatch.models.trees import Artefact
    from riskwatch.scenarios import Episode


# Fits on random paths alone: priors of targets, and requests for WATCH.


def prior_tables(specs: Sequence[TargetSpec], draws: int) -> Iterator[str]:
    """Yield a table of ``models.toml`` for every depeg target, with its figures.

    The prior is fitted on every second random path, and evaluated on the others.
    """
    from riskwatch.fitting.priors import fit_prior, prior_samples  # noqa: PLC0415 - NumPy

    paths, weights = _sample_paths(draws)
    for spec in _discount_targets(specs):
        target = spec.target
        every_s = spec.every / SECOND
        half = [prior_samples(target, every_s, paths[k::2], weights[k::2]) for k in (0, 1)]
        try:
            made = fit_prior(*half)
        except ValueError as error:
            yield f"# {target.id}: none ({error})"
            continue
        yield f"# {target.id}: {made.samples} samples, {made.positives} true; on the other half"
        yield (
            f"# log loss {made.log_loss:.4f}, base rate {made.base_log_loss:.4f}; from 0.2 on "
            f"said {made.said:.2f}, came {made.came:.2f}"
        )
        yield (
            f"prior = {{ probability = {made.probability:g}, slope = {made.slope:g}, "
            f"floor = {made.floor:g} }}"
        )


def watch_asks(specs: Sequence[TargetSpec], draws: int) -> Iterator[str]:
    """Yield the results of requests for WATCH on the lowest onset of a coin's discount.

    Raises
    ------
    RiskwatchError
        If no onset of a discount is configured.
    """
    from riskwatch.fitting.asks import try_asks  # noqa: PLC0415

    onsets = [spec for spec in _discount_targets(specs) if spec.target.start is None]
    if not onsets:
        raise RiskwatchError("no onset of a discount is configured, so nothing can ask for WATCH")
    lowest = min(onsets, key=lambda q: (q.target.threshold, q.target.horizon_s))
    yield f"{lowest.id}: alarms in vain per coin and month; minutes before the break, median"
    paths, weights = _sample_paths(draws)
    for each in try_asks(lowest.rule, lowest.target.threshold, paths, weights):
        yield f"{each.name:36}  {each.vain:.3f}  {each.lead_min:+.0f}"


def _sample_paths(draws: int) -> tuple[list[list[float]], list[float]]:
    """Return random paths, and their weights."""
    return [discount_paths(n) for n in range(draws)], [episode_weight(n) for n in range(draws)]


def _discount_targets(specs: Sequence[TargetSpec]) -> list[TargetSpec]:
    """Return the targets of a coin below its peg, which the paths show."""
    return [q for q in specs if q.target.kind == "depeg" and q.target.side == "discount"]


BATCH = 5_000


def fit_command(
    files: Annotated[
        list[Path] | None, typer.Argument(help="NDJSON files of events, one recording each.")
    ] = None,
    *,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The artefact to write.")] = None,
    priors: Annotated[
        int | None,
        typer.Option(
            "--priors", min=100, help="Fit priors on this many random paths, and print them."
        ),
    ] = None,
    asks: Annotated[
        int | None,
        typer.Option("--asks", min=100, help="Try requests for WATCH on this many random paths."),
    ] = None,
    episodes: Annotated[
        list[str] | None,
        typer.Option("--episode", help="An embedded episode, see `riskwatch scenario list`."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of every embedded episode.")] = 3,
    draws: Annotated[
        int, typer.Option("--drawn", min=0, help="Number of random episodes to fit on.")
    ] = 0,
    targets: Annotated[
        list[str] | None, typer.Option("--target", help="Only these; else all configured ones.")
    ] = None,
    trees: Annotated[int, typer.Option(min=1, max=400, help="Trees of every target.")] = 32,
    config: Annotated[
        Path | None,
        typer.Option(envvar="RISKWATCH_CONFIG", help="Folder of rules; else the shipped one."),
    ] = None,
) -> None:
    """Fit frozen trees for every target on episodes, and write them with a digest.

    Samples and labels are taken as in operation. Folds are split by time: a model is evaluated only
    on samples later than those it was fitted on. The same episodes give the same bytes.
    """
    from riskwatch.engine import bootstrap  # noqa: PLC0415
    from riskwatch.fitting.artefact import fit_artefact  # noqa: PLC0415 - seconds to import
    from riskwatch.fitting.trees import FitSettings  # noqa: PLC0415
    from riskwatch.models.config import target_specs  # noqa: PLC0415

    given = bootstrap.configuration(config)
    specs = [q for group in target_specs(given.policy.models).values() for q in group]
    horizons = {q.id: q.target.horizon_s for q in specs if targets is None or q.id in targets}
    for name in targets or ():
        if name not in horizons:
            known = ", ".join(q.id for q in specs)
            raise RiskwatchError(f"target {name!r} is not configured: there are {known}")
    if priors is not None or asks is not None:
        for line in prior_tables(specs, priors) if priors else watch_asks(specs, asks or 0):
            typer.echo(line)
        return
    if out is None:
        raise RiskwatchError("name the artefact to write with --out, or measure --priors or --asks")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    rows, sources = _labelled_samples(given, files or (), episodes or (), seeds, draws)
    stated = {spec.id: spec.rule for spec in specs}
    made, reasons = fit_artefact(
        rows, horizons, sources, FitSettings(trees=trees), out.stem, stated
    )
    for line in fit_report(made, reasons):
        typer.echo(line)
    if not made.models:
        raise RiskwatchError("no target could be fitted, so nothing was written")
    write_artefact(made, out)
    typer.echo(f"{out}: sha256 {made.sha256}")


def _labelled_samples(
    given: Config, files: Sequence[Path], episodes: Sequence[str], seeds: int, draws: int
) -> tuple[list[LabelledSample], list[str]]:
    """Replay every source and return its labelled samples, and the names of the sources.

    Raises
    ------
    RiskwatchError
        If no label matured.
    """
    rows: list[LabelledSample] = []
    sources: list[str] = []
    with TemporaryDirectory(prefix="riskwatch-fit-") as folder:
        runs: list[tuple[str, str | Episode, int]] = []
        runs += [(name, name, seed) for name in episodes for seed in range(1, seeds + 1)]
        runs += [(f"drawn_{n}", random_episode(n), n) for n in range(draws)]
        weights = {f"drawn_{n} seed {n}": episode_weight(n) for n in range(draws)}
        for source, path in _recordings(files, runs, Path(folder)):
            more = collect_samples(source, path, given, weights.get(source, 1.0))
            typer.echo(f"{source}: {len(more)} labels, {sum(r.label for r in more)} true", err=True)
            rows += more
            sources.append(source)
    if not rows:
        raise RiskwatchError("no label matured: name files of events, or an --episode")
    return rows, sources


def _recordings(
    files: Sequence[Path], runs: Sequence[tuple[str, str | Episode, int]], folder: Path
) -> Iterator[tuple[str, Path]]:
    """Yield names and files of events; an episode is first written to a file."""
    encode = msgspec.json.Encoder().encode
    for path in files:
        yield path.name, path
    for name, episode, seed in runs:
        path = folder / f"{name}-{seed}.ndjson"
        with path.open("wb") as sink:
            for event in scenarios.events(episode, seed):
                sink.write(encode(event) + b"\n")
        yield f"{name} seed {seed}", path
        path.unlink()


def collect_samples(
    source: str, path: Path, config: Config, counts: float = 1.0
) -> list[LabelledSample]:
    """Return the samples of one recording with their labels, as the ensemble takes them.

    Parameters
    ----------
    source : str
        Its name.
    path : Path
        Its events.
    config : Config
        Rules and targets; its generations are not used.
    counts : float
        Weight of its samples.

    Raises
    ------
    FeedError
        If the file cannot be read.
    """
    from riskwatch.engine import bootstrap  # noqa: PLC0415
    from riskwatch.models.ensemble import Ensemble  # noqa: PLC0415
    from riskwatch.models.sample_recorder import SampleRecorder  # noqa: PLC0415

    recorder = SampleRecorder(source, counts)
    generations = (
        GenerationConfig(model="rules", authority="full"),
        GenerationConfig(model="tape", options={"tape": recorder}),
    )
    policy = config.policy
    models = msgspec.structs.replace(policy.models, generations=generations)
    risk = msgspec.structs.replace(policy.risk, asks=())
    policy = msgspec.structs.replace(policy, models=models, risk=risk)
    bare = msgspec.structs.replace(config, policy=policy)
    with TemporaryDirectory(prefix="riskwatch-fit-") as folder:
        what = ReplayJob(
            [path], f"sqlite:///{Path(folder) / 'fit.sqlite'}", limits=ReplayLimits(batch=BATCH)
        )
        pipeline = bootstrap.pipeline(bare, scorer=recorder.wrap(Ensemble(models)))
        replay_files(what, pipeline)
    return recorder.rows


def fit_report(made: Artefact, reasons: dict[str, str]) -> Iterator[str]:
    """Yield lines with the fitted targets and their out-of-fold figures."""
    for target, model in made.models.items():
        yield (
            f"{target}: {model.rows} samples, {model.positives} true, {model.entities} scopes, "
            f"{model.episodes} recordings, {len(model.trees)} trees of {len(model.features)} "
            "features"
        )
        figures = model.metrics
        for what, prefix in (("fitted", ""), ("rule", "rule_"), ("base rate", "base_")):
            yield (
                f"  {what:9}  log loss {figures[prefix + 'log_loss']:.4f}  "
                f"Brier {figures[prefix + 'brier']:.4f}  "
                f"average precision {figures[prefix + 'average_precision']:.3f}"
            )
    for target, why in reasons.items():
        yield f"{target}: no model, says the rule ({why})"


def write_artefact(made: Artefact, out: Path) -> None:
    """Write an artefact under a temporary name, and rename it when it is complete.

    Raises
    ------
    RiskwatchError
        If it cannot be written.
    """
    from riskwatch.models.trees import seal_artefact  # noqa: PLC0415

    part = out.with_name(out.name + ".part")
    try:
        part.write_text(seal_artefact(made), encoding="utf-8")
        part.replace(out)
    except OSError as error:
        raise RiskwatchError(f"{out}: cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
