"""``riskwatch publish``, ``alerts --follow``, ``killswitch watch`` and the examples of the docs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from typer.testing import CliRunner

from riskwatch.cli import app
from riskwatch.errors import ConfigError, FeedError
from tests.support import batches
from tests.support.cluster import Cluster, cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typer.testing import Result

ROOT: Final = Path(__file__).parents[2]
ALERTS: Final = "riskwatch.alerts"
KILLSWITCH: Final = "riskwatch.killswitch"
PEGS: Final = "riskwatch.pegs"
__all__ = ["cluster"]


def environment(cluster: Cluster) -> dict[str, str]:
    """Tell a process where the topics of the test are."""
    return {
        **os.environ,
        "RISKWATCH_KAFKA": cluster.connection.servers,
        "RISKWATCH_TOPIC_PREFIX": cluster.connection.prefix,
        "PYTHONPATH": str(ROOT),
    }


def run(cluster: Cluster, *args: str, stdin: bytes = b"") -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, list(args), env=environment(cluster), input=stdin)


def peg(second: int) -> bytes:
    """Line of a peg at that second."""
    return (
        b'{"type":"peg","v":1,"event_id":"%d","ts":"2023-03-11T03:00:%02dZ","source":"x",'
        b'"asset":"USDC","venue":"x","price":"1","note":"kept"}' % (second, second)
    )


def test_files_are_merged_and_bad_lines_reported(cluster: Cluster, tmp_path: Path) -> None:
    """Oldest first, byte for byte; a line that is no event is named, not sent, and exits 2."""
    cluster.make(PEGS)
    one, two = tmp_path / "one.ndjson", tmp_path / "two.ndjson"
    one.write_bytes(peg(1) + b"\r\n" + peg(4) + b"\n")
    two.write_bytes(peg(2) + b"\n{not json\n" + peg(3))
    done = run(cluster, "publish", str(one), str(two), "--speed", "1000", "--old")
    assert done.exit_code == 2
    assert f"{two}:2: not sent: JSON_MALFORMED" in done.stderr
    assert done.stdout.startswith("riskwatch.pegs 4: 4 events sent in ")
    assert done.stdout.endswith("; 1 lines were no events\n")
    assert [record.value for record in cluster.read(PEGS)] == [peg(n) for n in (1, 2, 3, 4)]


def test_stdin_is_published(cluster: Cluster) -> None:
    """A dash reads standard input; without bad lines the exit code is 0."""
    cluster.make(PEGS)
    done = run(cluster, "publish", "-", "--old", stdin=peg(1) + b"\n" + peg(2) + b"\n")
    assert (done.exit_code, done.stderr) == (0, "")
    assert [record.key for record in cluster.read(PEGS)] == [b"USDC", b"USDC"]


def test_old_events_are_not_sent_without_a_word(cluster: Cluster, tmp_path: Path) -> None:
    """Where nobody can be asked, an error names the line and the option; newer lines went out."""
    cluster.make(PEGS)
    fresh = peg(1).replace(b"2023-03-11T03:00:01Z", datetime.now(UTC).isoformat().encode())
    done = run(cluster, "publish", "-", stdin=fresh + b"\n" + peg(2) + b"\n" + peg(3))
    assert isinstance(done.exception, FeedError)
    assert "--old" in str(done.exception)
    assert "stdin:2: the event is of 2023-03-11T03:00:02Z" in done.stderr
    path = tmp_path / "old.ndjson"
    path.write_bytes(peg(2) + b"\n")
    assert isinstance(run(cluster, "publish", str(path)).exception, FeedError)
    assert [record.value for record in cluster.read(PEGS)] == [fresh]


def test_poison_can_be_sent_on_purpose(cluster: Cluster) -> None:
    """With a raw topic every line goes out as it is, events with their key."""
    cluster.make(PEGS)
    done = run(cluster, "publish", "-", "--old", "--raw-topic", PEGS, stdin=b"\xff{\n" + peg(1))
    assert done.exit_code == 0
    sent = sorted((record.key or b"", record.value) for record in cluster.read(PEGS))
    assert sent == [(b"", b"\xff{"), (b"USDC", peg(1))]


def test_what_makes_no_sense_is_refused() -> None:
    """An unknown topic, and stdin among files, are said before anything is sent."""
    for args, error in (
        (("publish", "-", "--raw-topic", "fills"), ConfigError),
        (("alerts", "--follow", "--from", "noon"), ConfigError),
    ):
        assert isinstance(CliRunner().invoke(app, list(args)).exception, error)


def test_stdin_does_not_go_with_files(cluster: Cluster) -> None:
    """What has no end cannot be merged."""
    assert isinstance(run(cluster, "publish", "-", "a.ndjson").exception, FeedError)


@contextmanager
def follow(cluster: Cluster, *args: str) -> Iterator[subprocess.Popen[str]]:
    """Start a command that does not end by itself, and end it with the block."""
    with subprocess.Popen(
        [sys.executable, *args],
        env=environment(cluster), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        try:
            yield child
        finally:
            child.kill()


def interrupted(child: subprocess.Popen[str], lines: int) -> list[str]:
    """Read so many lines, press Ctrl-C, and check that it ends as it should."""
    assert child.stdout is not None
    got = [child.stdout.readline() for _ in range(lines)]
    child.send_signal(signal.SIGINT)
    rest, complaints = child.communicate(timeout=30)
    assert (child.returncode, rest) == (0, "")
    assert "Traceback" not in complaints
    return got


def test_people_can_watch(cluster: Cluster) -> None:
    """Alerts as lines, states as NDJSON, what is unreadable in its place; Ctrl-C ends with 0."""
    cluster.make(ALERTS, KILLSWITCH)
    cluster.tell(batches.decision(1), 1)
    cluster.tell(batches.alert(1), 2)
    cluster.write(ALERTS, b"asset:USDC", b"{", rw_worker="risk", rw_epoch="1", rw_seq="3")
    cluster.tell(batches.resolved(2), 4)
    cluster.tell(batches.killswitch(1), 1, epoch=2)
    cluster.write(KILLSWITCH, b"asset:DAI", b"{}")
    watch = ("-m", "riskwatch", "killswitch", "watch", "--json")
    alerts = ("-m", "riskwatch", "alerts", "--follow", "--from", "earliest")
    with follow(cluster, *alerts) as people, follow(cluster, *watch) as machine:
        raised, unreadable, resolved = interrupted(people, 3)
        state, bad = (json.loads(line) for line in interrupted(machine, 2))
    assert raised == (
        "2023-03-11T03:01:00Z  REDUCE    asset:USDC  USDC is 3 % under its peg  $970.00  "
        "180 bp under the peg, limit 100 bp\n"
    )
    assert unreadable.startswith("UNREADABLE  riskwatch.alerts/0 offset 2 for 'asset:USDC'")
    assert resolved == "2023-03-11T03:02:00Z  RESOLVED  asset:USDC  asset:USDC\n"
    assert [state[name] for name in ("topic", "key", "worker", "epoch", "seq")] == [
        KILLSWITCH, "asset:USDC", "risk", 2, 1,
    ]  # fmt: skip
    assert state["value"]["state"] == "REDUCE"
    assert bad == {
        "topic": KILLSWITCH, "key": "asset:DAI", "offset": 1,
        "unreadable": "header rw-worker is missing",
    }  # fmt: skip


def test_the_examples_work(cluster: Cluster) -> None:
    """What the documentation shows runs as it is shown."""
    cluster.make("riskwatch.fills", ALERTS)
    cluster.tell(batches.alert(1), 1)
    examples = ROOT / "docs" / "examples"
    read, write = str(examples / "subscribe.py"), str(examples / "publish.py")
    with follow(cluster, read) as reader, follow(cluster, write) as writer:
        told = "REDUCE asset:USDC USDC is 3 % under its peg 970.00\n"
        assert reader.stdout is not None
        assert writer.communicate(timeout=30)[0] == "{'riskwatch.fills': 1} 0\n"
        assert [record.key for record in cluster.read("riskwatch.fills")] == [b"kraken"]
        assert reader.stdout.readline() == told
