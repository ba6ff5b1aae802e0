"""``riskwatch verify`` and ``riskwatch audit``: check the stored record, and export it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003 - Typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Final

import typer
from sqlalchemy import select

from riskwatch.commands.db import DEFAULT, Database
from riskwatch.commands.query import Json, show_json
from riskwatch.commands.times import moment_of
from riskwatch.contracts import keyfile
from riskwatch.contracts.audit import GENESIS, Head
from riskwatch.contracts.signing import public_key_text
from riskwatch.core.clock import micros, rfc3339
from riskwatch.core.deployment import EMBEDDED
from riskwatch.core.text import visible
from riskwatch.engine.audit_head import published_heads
from riskwatch.errors import RiskwatchError, StoreError
from riskwatch.store import bundle, queries
from riskwatch.store.audit import audit_rows, chained_workers
from riskwatch.store.audit_check import check_database
from riskwatch.store.bundle import BundleManifest
from riskwatch.store.checkpoints import MAX_CHECKPOINT_ROWSETS, check_checkpoints
from riskwatch.store.deployment import check_chained, current_deployment, split_heads
from riskwatch.store.engine import open_engine
from riskwatch.store.projections import ADVISORY_LOG, DECISION_LOG
from riskwatch.store.queries import open_reader
from riskwatch.version import ENGINE
from riskwatch.worker.settings import ProcessSettings

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from riskwatch.audit.incident import Incident
    from riskwatch.contracts.audit import AuditLink


# ``riskwatch verify`` derives stored decisions again, from the database alone.

_WORDS: Final = {
    "same": ("verified", typer.colors.GREEN),
    "inputs only": ("agrees", typer.colors.YELLOW),
    "unknown": ("unknown", typer.colors.YELLOW),
    "differs": ("DIFFERS", typer.colors.RED),
}


def verify_decisions_command(
    identifiers: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID", help="Ids of decisions, or prefixes of them."),
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Every stored decision.")] = False,
    whole: Annotated[
        bool, typer.Option("--whole", help="Start at the journal's first entry; --all implies it.")
    ] = False,
    database: Database = DEFAULT,
    as_json: Json = False,
) -> None:
    """Derive decisions again from the database alone, bit for bit; exit code 1 if one differs.

    The journal is replayed under the recorded configurations. The replay starts at the last
    checkpoint before the decision (`riskwatch audit checkpoint`), or at the first entry. If the
    journal is no longer stored, or another engine decided, the policy is run again on the stored
    inputs of the decision, and the result states this.
    """
    from riskwatch.audit.verify import verify  # noqa: PLC0415 - models take a second to import

    if everything == bool(identifiers):
        raise RiskwatchError("verify: name decisions, or use --all")
    with queries.open_reader(database) as conn:
        if everything:
            ids = [
                each
                for log in (DECISION_LOG, ADVISORY_LOG)
                for each in conn.execute(select(log.c.id).order_by(log.c.ts, log.c.id)).scalars()
            ]
        else:
            ids = [
                _decision(queries.find_alert_and_decision(conn, each), each)
                for each in identifiers or []
            ]
        verdicts = verify(conn, ids, whole=whole or everything)
    for verdict in verdicts:
        if as_json:
            show_json({"id": verdict.id, "status": verdict.status, "said": verdict.said})
            continue
        word, colour = _WORDS[verdict.status]
        typer.echo(f"{typer.style(word, fg=colour)} {verdict.id}")
        for line in verdict.said:
            typer.echo(f"  {visible(line)}")
    if not as_json and not verdicts:
        typer.echo("there is no decision yet")
    if any(verdict.status != "same" for verdict in verdicts):
        differs = any(verdict.status == "differs" for verdict in verdicts)
        raise typer.Exit(1 if differs else 3)


def _decision(found: tuple[queries.ResultRow | None, queries.ResultRow | None], given: str) -> str:
    decision = found[1]
    if decision is None:
        raise RiskwatchError(f"{given}: no decision is behind this alert")
    return str(decision["id"])


app = typer.Typer(help="The audit chain: check it, export it.", no_args_is_help=True)

Worker = Annotated[
    str | None, typer.Option(help="Worker of the chain; needed if there are several.")
]


@app.command("verify")
def verify_bundle_command(
    *,
    from_topic: Annotated[
        bool, typer.Option("--from-topic", help="Compare with the heads on the broker as well.")
    ] = False,
    noted: Annotated[
        list[str] | None,
        typer.Option("--head", metavar="WORKER:SEQ:DIGEST", help="Compare with a head from a log."),
    ] = None,
    database: Database = DEFAULT,
    as_json: Json = False,
) -> None:
    """Check every row of every chain; exit code 1 if one was changed, removed, added or moved.

    Rows that were removed at the end can only be detected by comparison with published heads.
    """
    heads = [_head(each) for each in noted or []]
    if from_topic:
        found = published_heads(ProcessSettings.read().connection)
        if not found:
            raise RiskwatchError("riskwatch.audit holds no head: it shows nothing of the end")
        heads += found
    broken = False
    with open_reader(database) as conn:
        workers = sorted({*chained_workers(conn), *(head.worker for head in heads)})
        for worker in workers:
            own, foreign = split_heads(conn, worker, [h for h in heads if h.worker == worker])
            chain, breaches = check_database(conn, worker, own)
            breaches += foreign
            breaches += check_checkpoints(conn, worker)
            breaches += [fault] if (fault := check_chained(conn, worker)) else []
            broken = broken or bool(breaches)
            if as_json:
                ends = {"worker": worker, "rows": chain.rows, "seq": chain.seq}
                show_json({**ends, "digest": chain.digest, "heads": len(own), "breaches": breaches})
                continue
            for line in breaches:
                typer.echo(visible(line))
            verdict = f"{len(breaches)} breaches" if breaches else "intact"
            typer.echo(
                f"{worker}: {chain.rows:,} rows, {verdict}; ends at row {chain.seq} with "
                f"{chain.digest}; {len(own)} heads compared"
            )
    if not workers and not as_json:
        typer.echo("there is no chain yet")
    if broken:
        raise typer.Exit(1)


@app.command("checkpoint")
def checkpoint_command(
    *,
    worker: Worker = None,
    keep: Annotated[
        int, typer.Option(min=1, help="Number of checkpoints whose rows are kept.")
    ] = MAX_CHECKPOINT_ROWSETS,
    end: Annotated[
        bool, typer.Option("--end", help="One at the journal's last entry too: before an upgrade.")
    ] = False,
    database: Database = DEFAULT,
) -> None:
    """Store the state at the end of each day, from which `riskwatch verify` can start.

    The state is computed from the journal, after every decision up to that point was derived again.
    It does not disturb a running worker. Run it daily, and before the journal is archived.
    """
    from riskwatch.audit.checkpoints import keep_checkpoints  # noqa: PLC0415 - models take a second

    with open_reader(database) as conn:
        name = _chosen(conn, worker)
        engine = open_engine(database)
        try:
            made = keep_checkpoints(conn, engine, name, keep=keep, end=end)
        finally:
            engine.dispose()
    for each in made:
        typer.echo(f"{name}: entry {each.journal:,}, {rfc3339(each.us)}, {each.digest}")
    if not made:
        typer.echo(f"{name}: no new {'entry' if end else 'day'} since the last checkpoint")


@app.command("export")
def export_command(
    *,
    begin: Annotated[str, typer.Option("--from", help="First event time, RFC 3339.")],
    end: Annotated[str, typer.Option("--to", help="Last event time, RFC 3339.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="New or empty folder.")],
    key: Annotated[
        Path, typer.Option(envvar="RISKWATCH_AUDIT_KEY", help="Private key, Ed25519 in PEM.")
    ],
    worker: Worker = None,
    journal: Annotated[
        bool, typer.Option(help="Replay the journal for holdings and scores at each decision.")
    ] = True,
    database: Database = DEFAULT,
) -> None:
    """Write a signed bundle of a time interval, with a report for people.

    A chain that is not intact is not signed.
    """
    from riskwatch.audit.incident import (  # noqa: PLC0415 - models take a second
        reconstruct_incident,
        render_page,
    )

    span = _span(begin, end)
    signer = keyfile.read_private_key(key)
    with open_reader(database) as conn:
        name, rows, deployment = _intact(conn, worker, span)
        incident = reconstruct_incident(conn, name, rows, span, journal=journal)
    manifest = _manifest(name, rows, span, deployment)
    files = {
        bundle.CHAIN: bundle.json_lines(rows),
        "scenes.jsonl": bundle.json_lines(_scenes(incident)),
        "alerts.jsonl": bundle.json_lines(incident.alerts),
        "configuration.json": bundle.json_lines(
            [incident.configuration] if incident.configuration else []
        ),
        bundle.REPORT: render_page(incident, manifest, span),
    }
    signed = bundle.write_bundle(out, files, manifest, signer)
    typer.echo(f"{out}: {len(rows)} rows of {name}, signed by {signed.key}")
    if incident.without_journal:
        typer.echo(f"without holdings and scores of the moment: {incident.without_journal}")


@app.command("evidence")
def evidence_command(
    *,
    begin: Annotated[str, typer.Option("--from", help="First event time, RFC 3339.")],
    end: Annotated[str, typer.Option("--to", help="Last event time, RFC 3339.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="New or empty folder.")],
    key: Annotated[
        Path, typer.Option(envvar="RISKWATCH_AUDIT_KEY", help="Private key, Ed25519 in PEM.")
    ],
    worker: Worker = None,
    database: Database = DEFAULT,
) -> None:
    """Write a signed bundle of the registers that an auditor asks for, of a period.

    It has a page for people, and says what riskwatch does not hold. A chain that is not intact is
    not signed.
    """
    from riskwatch.audit.evidence import (  # noqa: PLC0415 - the template engine takes its time
        PAGE,
        evidence_files,
        evidence_registers,
        render_evidence,
    )

    span = _span(begin, end)
    signer = keyfile.read_private_key(key)
    with open_reader(database) as conn:
        name, rows, deployment = _intact(conn, worker, span)
        registers = evidence_registers(conn, name, rows, span)
    manifest = _manifest(name, rows, span, deployment)
    files = {
        bundle.CHAIN: bundle.json_lines(rows),
        **evidence_files(registers),
        PAGE: render_evidence(registers, manifest),
    }
    signed = bundle.write_bundle(out, files, manifest, signer)
    typer.echo(f"{out}: {len(registers)} registers of {name}, {len(rows)} rows, by {signed.key}")


@app.command("check")
def check_command(
    folder: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of a bundle.")],
    *,
    key: Annotated[Path | None, typer.Option(help="Public key that must have signed it.")] = None,
    deployment: Annotated[str | None, typer.Option(help="Deployment that it must be of.")] = None,
) -> None:
    """Check a bundle without a database; exit code 1 if anything in it was changed."""
    trusted = None if key is None else public_key_text(keyfile.read_public_key(key))
    breaches = list(bundle.check_bundle(folder, trusted, deployment))
    for line in breaches:
        typer.echo(visible(line))
    manifest = bundle.read_manifest(folder)
    if breaches:
        raise typer.Exit(1)
    typer.echo(
        f"as it was signed: rows {manifest.first} to {manifest.last} of {manifest.worker} "
        f"({f'deployment {manifest.deployment}' if manifest.deployment else 'no deployment'}), "
        f"{manifest.begin} to {manifest.end}"
    )
    by = "by the key you named" if trusted else f"by {manifest.key}; --key says whether that is who"
    typer.echo(f"signed {by}")


@app.command("keygen")
def keygen_command(
    path: Annotated[Path, typer.Argument(help="New file for the private key.")],
) -> None:
    """Make a key for bundles: the private key in this file, the public key beside it."""
    beside = path.with_name(path.name + ".pub")
    keyfile.write_public_key(beside, keyfile.create_private_key(path).public_key())
    typer.echo(f"{path}: keep it to yourself\n{beside}: give it to whoever checks bundles")


def _head(given: str) -> Head:
    worker, _, rest = given.partition(":")
    seq, _, digest = rest.partition(":")
    if not seq.isdigit() or len(digest) != len(GENESIS):
        raise RiskwatchError(f"--head must be WORKER:SEQ:DIGEST as it was logged, was {given!r}")
    return Head(worker=worker, epoch=0, seq=int(seq), digest=digest, ts="", engine="")


def _chosen(conn: Connection, worker: str | None) -> str:
    known = chained_workers(conn)
    if worker is None and len(known) == 1:
        return known[0]
    if worker not in known:
        raise StoreError(f"--worker must be one of {', '.join(known) or 'none'}, was {worker}")
    return worker


def _span(begin: str, end: str) -> tuple[int, int]:
    """Return an interval of event time, microseconds."""
    span = (moment_of("--from", begin), moment_of("--to", end))
    if span[0] > span[1]:
        raise RiskwatchError(f"--from must not be after --to, was {begin} and {end}")
    return span


def _intact(
    conn: Connection, worker: str | None, span: tuple[int, int]
) -> tuple[str, list[AuditLink], str]:
    """Return the worker, the rows of an interval and the deployment of a chain that is intact."""
    name = _chosen(conn, worker)
    _, breaches = check_database(conn, name)
    if breaches:
        raise StoreError(f"the chain is not intact, so nothing is signed: {breaches[0]}")
    rows = list(audit_rows(conn, name, from_us=span[0], to_us=span[1]))
    return name, rows, EMBEDDED if name == EMBEDDED else current_deployment(conn).id


def _manifest(
    worker: str, rows: list[AuditLink], span: tuple[int, int], deployment: str
) -> BundleManifest:
    first, last = (rows[0], rows[-1]) if rows else (None, None)
    return BundleManifest(
        v=1,
        worker=worker,
        begin=rfc3339(span[0]),
        end=rfc3339(span[1]),
        first=first.seq if first else 0,
        last=last.seq if last else 0,
        before=first.previous if first else GENESIS,
        after=last.digest if last else GENESIS,
        engine=ENGINE,
        made=rfc3339(micros(datetime.now(UTC).replace(microsecond=0))),
        key="",
        files={},
        deployment=deployment,
    )


def _scenes(incident: Incident) -> list[dict[str, object]]:
    """Return the moments without the decisions, which are in the chain."""
    kept = ("row", "exposures", "scores", "assessments", "last_input_s", "rederived")
    return [
        {"decision_id": context.decision["id"], **{name: getattr(context, name) for name in kept}}
        for context in incident.scenes
    ]
