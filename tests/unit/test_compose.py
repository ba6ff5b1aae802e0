"""The stack for one machine: what compose.yaml promises, and boards that ask for what there is.

The SQL of the boards is run in `tests/integration/test_boards.py`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

import pytest

from riskwatch.acks import worker
from riskwatch.contracts.connection import KafkaConnection
from riskwatch.contracts.topics import TOPICS
from riskwatch.kafka.acls import ROLES
from riskwatch.worker import metrics
from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

yaml = pytest.importorskip("yaml", reason="no PyYAML to read compose.yaml with")

DEPLOY: Final = ROOT / "deploy"
BOARDS: Final = DEPLOY / "grafana" / "dashboards"
ONE_SHOT: Final = {"migrate", "topics", "cli"}
WORKERS: Final = {"ledger", "risk", "risk-standby", "clients", "notify"}
REQUIRED: Final = re.compile(r"\$\{(\w+):\?run make env\}")
VARIABLE: Final = re.compile(r"\$\{\w+(?::[?-][^}]*)?\}")
LABELS: Final = {"instance", "job", "le", "service"}
"""Labels that Prometheus adds itself, here or for histograms."""


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


COMPOSE: Final = _yaml(ROOT / "compose.yaml")
SERVICES: Final[dict[str, Any]] = COMPOSE["services"]
each_service = pytest.mark.parametrize("name", SERVICES)


def _panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(BOARDS.glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            yield f"{path.stem}: {panel['title']}", panel


PANELS: Final = dict(_panels())
QUERIES: Final = {
    f"{title} {target['refId']}": target
    for title, panel in PANELS.items()
    for target in panel["targets"]
}
ALERTS: Final = {
    rule["alert"]: rule["expr"]
    for group in _yaml(DEPLOY / "alerts.yml")["groups"]
    for rule in group["rules"]
}
PROMQL: Final = {title: target["expr"] for title, target in QUERIES.items() if "expr" in target}


@each_service
def test_service_is_confined(name: str) -> None:
    """No service is root, writes outside of its volumes, gains privileges or takes all memory."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert "no-new-privileges:true" in service["security_opt"]
    assert str(service["user"]).split(":")[0] not in {"0", "root"}
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["pids_limit"] <= 512
    assert service["logging"]["options"].keys() >= {"max-size", "max-file"}


@each_service
def test_service_is_pinned(name: str) -> None:
    """Every image has a tag, and none of them moves with whatever is newest."""
    tag = VARIABLE.sub("0", SERVICES[name]["image"]).partition(":")[2]
    assert tag
    assert "latest" not in tag


@each_service
def test_ports_are_of_this_machine(name: str) -> None:
    """What is published is published on the loopback address."""
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:"), port


@each_service
def test_service_comes_back_or_ends(name: str) -> None:
    """A service restarts and is asked for its health, or it runs once and says so."""
    service = SERVICES[name]
    health = service.get("healthcheck", {})
    if name in ONE_SHOT:
        assert service["restart"] == "no"
        assert health == {"disable": True}
    else:
        assert service["restart"] == "unless-stopped"
        assert "test" in health or service["image"].startswith("riskwatch:")


@each_service
def test_nothing_waits_for_what_is_not_checked(name: str) -> None:
    """Dependencies are services, and their conditions are ones that can come true."""
    for other, wanted in SERVICES[name].get("depends_on", {}).items():
        target = SERVICES[other]
        if wanted["condition"] == "service_healthy":
            assert "test" in target["healthcheck"]
        elif wanted["condition"] == "service_completed_successfully":
            assert other in ONE_SHOT
        else:
            assert wanted["condition"] == "service_started"


@each_service
def test_no_password_is_written_down(name: str) -> None:
    """What is secret comes from the environment, and its absence names the remedy."""
    for key, value in SERVICES[name].get("environment", {}).items():
        secret = re.findall(r'(?:password|user_\w+)="([^"]*)"|://\w*:([^@]*)@', str(value))
        given = [one or other for one, other in secret]
        if key.endswith("PASSWORD") or key == "CLUSTER_ID":
            given.append(value)
        assert given or not re.search(r"JAAS|DATABASE$|REDIS$", key), key
        assert all(REQUIRED.fullmatch(one) for one in given), key


def test_workers() -> None:
    """Workers stop in their own time, start after the schema, and share one configuration."""
    for name in WORKERS:
        worker = SERVICES[name]
        assert int(worker["stop_grace_period"].removesuffix("s")) >= 30
        given = {**worker["environment"], **SERVICES["migrate"]["environment"]}
        assert given == SERVICES["migrate"]["environment"]
        assert "//riskwatch_worker:" in worker["environment"]["RISKWATCH_DATABASE"]
        assert "//riskwatch:" in given["RISKWATCH_DATABASE"]
        assert worker["environment"]["RISKWATCH_HTTP"] == "0.0.0.0:8000"
        waits = {other: wanted["condition"] for other, wanted in worker["depends_on"].items()}
        assert waits["migrate"] == waits["topics"] == "service_completed_successfully"
    assert SERVICES["risk"] == SERVICES["risk-standby"]


def test_secrets_of_routes() -> None:
    """Only who tells people, and who tries a route, gets them; git never does."""
    given = {name for name, service in SERVICES.items() if "env_file" in service}
    assert given == {"notify", "cli"}
    for name in given:
        assert SERVICES[name]["env_file"] == "notify.env"
    assert "notify.env" in (ROOT / ".gitignore").read_text().split()
    sample = (DEPLOY / "notify.env.sample").read_text()
    names = re.findall(r'(?:url|secret)_env = "(\w+)"', (ROOT / "rules/notify.toml").read_text())
    assert names
    assert set(names) <= set(re.findall(r"^(\w+)=", sample, re.MULTILINE))


def test_ledger_scales() -> None:
    """Nothing of the ledger exists once only: no name, no port."""
    assert SERVICES["ledger"].keys().isdisjoint({"container_name", "hostname", "ports"})


def test_broker() -> None:
    """Nobody makes a topic by a typing error, groups start at once, and clients log in."""
    given = SERVICES["kafka"]["environment"]
    assert given["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert given["KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS"] == "0"
    kinds = dict(
        pair.split(":") for pair in given["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")
    )
    for listener in given["KAFKA_LISTENERS"].split(","):
        kind, _, address = listener.partition("://")
        assert address
        assert kinds[kind] == "SASL_PLAINTEXT"
    assert given["KAFKA_ALLOW_EVERYONE_IF_NO_ACL_FOUND"] == "false"
    assert given["KAFKA_SUPER_USERS"] == "User:riskwatch"


def test_every_user_of_the_broker_has_a_role() -> None:
    """Each user but the super user is granted exactly one role, and each role has a user."""
    given = SERVICES["kafka"]["environment"]
    configs = [v for k, v in given.items() if k.endswith("JAAS_CONFIG")]
    assert len(configs) == 3
    for config in configs:
        users = set(re.findall(r"user_(\w+)=", config)) - {"riskwatch"}
        grants = [a.split("=")[1:] for a in SERVICES["topics"]["command"] if "--grant" in a]
        assert {user for _, user in grants} == users
        assert [role for role, _ in grants] == list(ROLES)


def test_data_outlives_containers() -> None:
    """What must not be lost is in named volumes, and mounted files exist."""
    assert "postgres:/var/lib/postgresql/data" in SERVICES["postgres"]["volumes"]
    assert "kafka:/var/lib/kafka/data" in SERVICES["kafka"]["volumes"]
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = re.sub(r"^\$\{\w+:-([^}]*)\}", r"\1", volume).split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), source
                assert volume.endswith(":ro")
            else:
                assert source in COMPOSE["volumes"]


def test_image() -> None:
    """The image is built from the lock, is not root, and knows how to ask for its health."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert SERVICES["risk"]["image"] == f"riskwatch:${{RISKWATCH_VERSION:-{version}}}"
    text = (ROOT / "Dockerfile").read_text()
    stages = re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]
    assert len(stages) == 2
    for stage in stages:
        assert re.match(r"python:3\.1[123]-slim\b", stage)
    assert "uv.lock" in stages[0]
    assert stages[0].count("uv sync") == stages[0].count("--frozen")
    assert "USER 10001:10001" in stages[1]
    assert re.search(r"^HEALTHCHECK .*\n.*/live", stages[1], flags=re.MULTILINE)
    assert not re.search(r"apt-get|gcc|build-essential|pip install", stages[1])


def test_image_takes_only_what_it_needs() -> None:
    """The folder that an image is built from leaves out everything that is not asked for."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    copied = re.findall(
        r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    names = {name for line in copied for name in line.split()}
    assert names == {rule[1:] for rule in rules if rule.startswith("!")}


def test_env(tmp_path: Path) -> None:
    """``make env`` writes every variable that is needed, for its owner alone, and only once."""
    path = tmp_path / ".env"
    command = [sys.executable, str(DEPLOY / "env.py"), str(path)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    written = path.read_text()
    routes = path.with_name("notify.env")
    assert [each.stat().st_mode & 0o777 for each in (path, routes)] == [0o600, 0o600]
    routes.write_text("RISKWATCH_NOTIFY_PAGER_SECRET=mine\n")
    again = subprocess.run(command, capture_output=True, check=False, text=True)
    assert again.returncode == 2
    assert len(again.stderr.splitlines()) == 1
    assert path.read_text() == written
    assert routes.read_text() == "RISKWATCH_NOTIFY_PAGER_SECRET=mine\n"
    pairs = dict(line.split("=", 1) for line in written.splitlines() if not line.startswith("#"))
    assert pairs.keys() - {"COMPOSE_PROJECT_NAME"} == set(
        REQUIRED.findall((ROOT / "compose.yaml").read_text())
    )
    passwords = [value for name, value in pairs.items() if name.endswith("PASSWORD")]
    assert len(set(passwords)) == len(passwords) > 5
    assert all(re.fullmatch(r"[\w-]{32,}", value) for value in passwords)
    assert ".env" in (ROOT / ".gitignore").read_text().split()


def test_host_settings(tmp_path: Path) -> None:
    """``make env`` writes what a shell of this machine needs, from the ports and passwords."""
    path = tmp_path / ".env"
    command = [sys.executable, str(DEPLOY / "env.py"), str(path)]
    subprocess.run(command, capture_output=True, check=True)
    with path.open("a") as file:
        file.write("KAFKA_PORT=19094\nRISKWATCH_TOPIC_PREFIX=uat.\n")
    subprocess.run(command, capture_output=True, check=False)
    host = path.with_name("host.env")
    assert host.stat().st_mode & 0o777 == 0o600
    assert "host.env" in (ROOT / ".gitignore").read_text().split()
    shell = ["sh", "-c", ". ./host.env; env"]
    done = subprocess.run(shell, cwd=tmp_path, env={}, capture_output=True, check=True, text=True)
    found = dict(line.split("=", 1) for line in done.stdout.splitlines())
    given = dict(line.split("=", 1) for line in path.read_text().splitlines() if line[0] != "#")
    assert given["RISKWATCH_KAFKA_PASSWORD"] not in done.stdout
    for role in ("desk", "reader"):
        made = KafkaConnection.from_env(role, found)
        assert (made.servers, made.prefix, made.username) == ("localhost:19094", "uat.", role)
        assert made.password == given[f"RISKWATCH_KAFKA_{role.upper()}_PASSWORD"]
    assert KafkaConnection.from_env(environment=found).username == "reader"


def test_env_completes_an_older_file(tmp_path: Path) -> None:
    """A file from before a password was needed gets that one, and keeps what it has."""
    path = tmp_path / ".env"
    path.write_text("RISKWATCH_KAFKA_PASSWORD=mine\nGRAFANA_PASSWORD=too")
    command = [sys.executable, str(DEPLOY / "env.py"), str(path)]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 0
    assert "RISKWATCH_KAFKA_CLIENT_PASSWORD" in done.stdout
    pairs = dict(line.split("=", 1) for line in path.read_text().splitlines())
    assert pairs["RISKWATCH_KAFKA_PASSWORD"] == "mine"
    assert pairs["GRAFANA_PASSWORD"] == "too"
    needed = set(REQUIRED.findall((ROOT / "compose.yaml").read_text()))
    assert needed - pairs.keys() == {"KAFKA_CLUSTER_ID"}
    again = subprocess.run(command, capture_output=True, check=False, text=True)
    assert again.returncode == 2


def test_prometheus_asks_every_worker() -> None:
    """Each worker's containers are found by its name, at the port that it serves."""
    (job,) = _yaml(DEPLOY / "prometheus.yml")["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert set(found["names"]) == WORKERS
    assert found["port"] == 8000


@pytest.mark.parametrize("title", [*PROMQL, *ALERTS])
def test_metrics_exist(title: str) -> None:
    """Boards and alerts ask only for metrics, and labels of them, that workers have."""
    query = (PROMQL | ALERTS)[title]
    known: set[str] = set(LABELS)
    names = re.findall(r"\b(?:riskwatch_\w+|process_\w+|up)\b(?=[{[ )]|$)", query)
    assert names
    for name in names:
        if name.startswith("riskwatch_"):
            plain = re.sub(r"_(bucket|sum|count)$", "", name)
            labels = worker.CLIENT_METRIC_LABELS.get(plain)
            assert labels is not None or plain in metrics.NAMES, name
            known |= set(metrics._TABLE[plain][2] if labels is None else labels)
    used = [label.strip() for part in re.findall(r"by \(([^)]*)\)", query)
            for label in part.split(",")]  # fmt: skip
    used += re.findall(r"[{,]\s*(\w+)\s*=", query)
    assert set(used) <= known


def test_every_partition_of_the_ledger_is_watched() -> None:
    """The alert on the ledger counts as many partitions as its topics have."""
    assert ALERTS["LedgerGap"].endswith(f"< {TOPICS['riskwatch.fills'].partitions}")


def test_alerts_are_explained() -> None:
    """Whoever is called by an alert finds its name in the handbook."""
    text = (ROOT / "docs" / "operations.md").read_text()
    assert [name for name in ALERTS if f"`{name}`" not in text] == []


def test_boards_stand() -> None:
    """Panels have sources that are provisioned, ids of their own, and do not overlap."""
    sources = _yaml(DEPLOY / "grafana" / "provisioning" / "datasources" / "riskwatch.yml")
    known = {source["uid"]: source["type"] for source in sources["datasources"]}
    for path in BOARDS.glob("*.json"):
        panels = json.loads(path.read_text())["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        for panel in panels:
            for target in panel["targets"]:
                source = target["datasource"]
                assert known[source["uid"]] == source["type"] == panel["datasource"]["type"]
        for one, other in combinations([panel["gridPos"] for panel in panels], 2):
            assert (
                one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
                or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
            )  # fmt: skip
