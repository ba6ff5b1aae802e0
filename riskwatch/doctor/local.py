"""Checks that need no server: versions and configuration."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

from riskwatch.config import paths
from riskwatch.config.sources import without_proof
from riskwatch.doctor.finding import Facts, Finding
from riskwatch.engine import bootstrap
from riskwatch.errors import RiskwatchError
from riskwatch.version import ENGINE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.config.config import Config
    from riskwatch.worker.settings import ProcessSettings

LIBRARIES: Final = (
    "sqlalchemy", "psycopg", "kafka-python", "faust-streaming", "redis", "msgspec", "river",
    "scikit-learn", "prometheus-client",
)  # fmt: skip
"""Libraries whose version can change results."""
OLDEST_PYTHON: Final = (3, 11)
NEWEST_PYTHON: Final = (3, 13)
"""Newest Python that this build is tested with."""


def findings(settings: ProcessSettings, facts: Facts) -> Iterator[Finding]:
    """Yield the findings about versions, then about the configuration."""
    del facts
    yield python_finding(sys.version_info[:3])
    yield library_finding(LIBRARIES)
    folder = settings.config or paths.rules_folder()
    try:
        config = bootstrap.configuration(settings.config)
    except RiskwatchError as error:
        yield Finding("configuration", "fail", str(error), f"mend the file in {folder}")
    else:
        limits, rules = len(config.limits.limits), len(config.rules.rules)
        yield Finding("configuration", "ok", f"{folder}: {limits} limits, {rules} rules")
        yield source_finding(config)
        yield client_finding(config)


def source_finding(config: Config) -> Finding:
    """Return the finding about sources of credit news whose name nothing protects."""
    check, lacking = "sources of news", list(without_proof(config.policy.risk))
    if not lacking:
        return Finding(check, "ok", "every declared weight has a key, or a protected topic")
    do = (
        "name keys in [risk.source_keys] of policy.toml, or name the sources in topic_sources if "
        "nobody else may write riskwatch.credit; in a new deployment they count as ordinary"
    )
    return Finding(check, "warn", f"nothing protects the weight of {', '.join(lacking)}", do)


def client_finding(config: Config) -> Finding:
    """Return the finding about order paths with keys."""
    check, keys = "keys of clients", config.policy.risk.client_keys or {}
    if keys:
        return Finding(check, "ok", f"{', '.join(keys)}; others are who they say")
    do = "name them in [risk.client_keys] of policy.toml (docs/order-path.md, Acknowledgements)"
    seen = "no client has one: who may write riskwatch.acks can end or forget any client"
    return Finding(check, "warn", seen, do)


def python_finding(found: tuple[int, ...]) -> Finding:
    """Return the finding about the version of Python.

    Examples
    --------
    >>> python_finding((3, 12, 1)).status, python_finding((3, 99, 0)).status
    ('ok', 'warn')
    """
    shown = f"{'.'.join(map(str, found))}, engine {ENGINE}"
    if OLDEST_PYTHON <= found[:2] <= NEWEST_PYTHON:
        return Finding("python", "ok", shown)
    oldest, newest = (".".join(map(str, v)) for v in (OLDEST_PYTHON, NEWEST_PYTHON))
    do = f"run riskwatch on Python {oldest} to {newest}"
    return Finding("python", "warn", shown, do)


def library_finding(names: tuple[str, ...]) -> Finding:
    """Return the finding about the installed versions of libraries."""
    have, lack = [], []
    for name in names:
        try:
            have.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            lack.append(name)
    if lack:
        do = "install riskwatch with its dependencies"
        return Finding("libraries", "fail", f"not installed: {', '.join(lack)}", do)
    return Finding("libraries", "ok", ", ".join(have))
