"""The routes of ``notify.toml``, and the URL and key of each.

URLs and keys are secrets: the file names the variable or the file that holds each. No error shows
the value that was found, because it may be the secret itself.
"""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx

from riskwatch.config.pack import has_file, located_errors, read_file
from riskwatch.config.toml import Checks, StructReader, above, at_least, between, one_of
from riskwatch.contracts.notifications import KINDS, WEBHOOK
from riskwatch.core.alerting.config import (
    GROUP_FIELDS,
    AlertLevel,
    Matcher,
    NotifyConfig,
    Route,
    scope_parts,
)
from riskwatch.core.enums import State
from riskwatch.core.scopes import KINDS as SCOPE_KINDS
from riskwatch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NOTIFY: Final = "notify.toml"
ROUTES: Final = 16
"""Most routes. Each has a thread."""
KEY_BYTES: Final = 16
"""Shortest signing key, bytes."""
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}\Z")
_VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]*\Z")


def _fields(value: tuple[str, ...]) -> str | None:
    known = set(value) <= set(GROUP_FIELDS)
    return None if known else f"any of {', '.join(GROUP_FIELDS)}"


def _kinds(value: tuple[str, ...]) -> str | None:
    known = (*SCOPE_KINDS, "worker")
    return None if set(value) <= set(known) else f"any of {', '.join(known)}"


def _scopes(value: tuple[str, ...]) -> str | None:
    good = all(scope_parts(scope) is not None or scope.startswith("worker:") for scope in value)
    return None if good else "scopes such as asset:USDC or firm"


def _pause(value: float) -> str | None:
    return None if value == 0 or value >= 60.0 else "0s for never, or at least 1m"


CHECKS: Final[Checks] = {
    (NotifyConfig, "major_usd"): above(0.0),
    (NotifyConfig, "minor_usd"): at_least(0.0),
    (Route, "kind"): one_of(*KINDS),
    (Route, "group_by"): _fields,
    (Route, "group_wait_s"): between(0.0, 3_600.0),
    (Route, "repeat_s"): _pause,
    (Route, "escalate_after_s"): _pause,
    (Route, "tries"): between(1, 50),
    (Route, "backoff_s"): between(0.1, 3_600.0),
    (Route, "backoff_max_s"): between(0.1, 86_400.0),
    (Route, "timeout_s"): between(0.1, 60.0),
    (Matcher, "scope_kind"): _kinds,
    (Matcher, "scope"): _scopes,
    (Matcher, "usd_from"): at_least(0.0),
}


def load_notify(directory: Path) -> NotifyConfig:
    """Read ``notify.toml``. Without the file there are no routes.

    Raises
    ------
    ConfigError
        If a value is wrong. It names the file, the dotted key, the expected and the found value.
    """
    if not has_file(directory, NOTIFY):
        return NotifyConfig()
    with located_errors(directory):
        made = StructReader(NOTIFY, CHECKS).struct(NotifyConfig, read_file(directory, NOTIFY).table)
        if made.minor_usd > made.major_usd:
            raise ConfigError(NOTIFY, "minor_usd", f"at most major_usd, {made.major_usd:g}")
        if len(made.routes) > ROUTES:
            raise ConfigError(NOTIFY, "routes", f"at most {ROUTES} routes", len(made.routes))
        for route in made.routes.values():
            _check_consistency(route, made.routes)
    return made


def unrouted_severities(config: NotifyConfig) -> list[str]:
    """Return a warning for each severity that no route takes without further conditions."""
    unconditional = [
        matcher
        for route in config.routes.values()
        for matcher in (route.match or (Matcher(),))
        if not (matcher.scope or matcher.scope_kind or matcher.cause or matcher.about)
        and matcher.usd_from == 0.0
        and matcher.level_from is AlertLevel.LOW
    ]
    return [
        f"no route takes every {severity.value}: some of them may reach nobody"
        for severity in (State.HALT, State.REDUCE, State.WATCH)
        if not any(not m.severity or severity in m.severity for m in unconditional)
    ]


@dataclass(frozen=True, slots=True)
class DeliveryTarget:
    """The endpoint of a route. Its ``repr`` shows no secret.

    Attributes
    ----------
    route : Route
        The route in the file.
    host : str
        Host of the URL, which is not secret.
    url : str
        The whole URL.
    key : bytes
        Key that signs messages; empty for routes that are not signed.
    trust : ssl.SSLContext or bool
        Certificates that are trusted.
    """

    route: Route
    host: str
    url: str = field(repr=False)
    key: bytes = field(repr=False)
    trust: ssl.SSLContext | bool = field(repr=False, default=True)


def resolve_target(route: Route, environment: Mapping[str, str] = os.environ) -> DeliveryTarget:
    """Read the URL and the key of a route.

    Raises
    ------
    ConfigError
        If the variable or file is missing or its value is not valid. The error never shows the
        value.
    """
    url = _secret(route, "url", environment)
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        raise _bad(route, "url", "a URL") from None
    schemes = ("https", "http") if route.allow_http else ("https",)
    if parsed.scheme not in schemes or not parsed.host:
        expected = "an https:// URL (allow_http = true takes http:// too)"
        raise _bad(route, "url", expected) from None
    key = b""
    if route.kind == WEBHOOK:
        key = _secret(route, "secret", environment).encode()
        if len(key) < KEY_BYTES:
            raise _bad(route, "secret", f"a key of at least {KEY_BYTES} bytes")
    return DeliveryTarget(route, parsed.host, url, key, _trust(route))


def unusable_routes(
    config: NotifyConfig, environment: Mapping[str, str] = os.environ
) -> Iterator[ConfigError]:
    """Yield an error about each route whose URL or key cannot be used here."""
    for route in config.routes.values():
        try:
            resolve_target(route, environment)
        except ConfigError as error:
            yield from error.errors


def _check_consistency(route: Route, routes: Mapping[str, Route]) -> None:
    where = f"routes.{route.id}"
    if not _NAME.match(route.id):
        expected = "a name of small letters, digits, - and _, at most 32"
        raise ConfigError(NOTIFY, where, expected, route.id)
    for what in ["url", "secret"] if route.kind == WEBHOOK else ["url"]:
        variable, file = getattr(route, f"{what}_env"), getattr(route, f"{what}_file")
        if bool(variable) == bool(file):
            expected = f"either {what}_env or {what}_file: the {what} itself is never here"
            raise ConfigError(NOTIFY, where, expected)
        if variable and not _VARIABLE.match(variable):
            # The value may be the secret itself, in place of the name; do not show it.
            raise ConfigError(NOTIFY, f"{where}.{what}_env", "the name of a variable in capitals")
        if file and "://" in file:
            raise ConfigError(NOTIFY, f"{where}.{what}_file", "the path of a file")
    if route.kind != WEBHOOK and (route.secret_env or route.secret_file):
        raise ConfigError(NOTIFY, where, f"no secret: a {route.kind} route is not signed")
    if bool(route.escalate_to) != bool(route.escalate_after_s):
        raise ConfigError(NOTIFY, where, "escalate_to and escalate_after_s together, or neither")
    if route.escalate_to and (route.escalate_to not in routes or route.escalate_to == route.id):
        raise ConfigError(
            NOTIFY, f"{where}.escalate_to", "the name of another route", route.escalate_to
        )
    if route.backoff_max_s < route.backoff_s:
        raise ConfigError(NOTIFY, f"{where}.backoff_max_s", f"at least {route.backoff_s:g} s")


def _secret(route: Route, what: str, environment: Mapping[str, str]) -> str:
    variable, file = getattr(route, f"{what}_env"), getattr(route, f"{what}_file")
    if variable:
        found = environment.get(variable, "").strip()
        if not found:
            raise _bad(route, what, f"a value in the variable {variable}")
        return found
    try:
        found = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise _bad(route, what, f"a readable file at {file}") from None
    if not found:
        raise _bad(route, what, f"something in the file {file}")
    return found


def _trust(route: Route) -> ssl.SSLContext | bool:
    if not route.ca_file:
        return True
    try:
        return ssl.create_default_context(cafile=route.ca_file)
    except (OSError, ssl.SSLError):
        raise ConfigError(
            NOTIFY, f"routes.{route.id}.ca_file", "a file of certificates", route.ca_file
        ) from None


def _bad(route: Route, what: str, expected: str) -> ConfigError:
    name = f"{what}_env" if getattr(route, f"{what}_env") else f"{what}_file"
    return ConfigError(NOTIFY, f"routes.{route.id}.{name}", expected)
