"""Write ``.env`` and ``notify.env`` for compose.yaml, and ``host.env`` for this machine."""  # noqa: INP001 - a script, run by make before there is an environment

from __future__ import annotations

import base64
import os
import secrets
import shlex
import sys
from pathlib import Path

PASSWORDS = (
    "POSTGRES_PASSWORD",
    "RISKWATCH_DB_PASSWORD",
    "RISKWATCH_WORKER_PASSWORD",
    "RISKWATCH_READER_PASSWORD",
    "RISKWATCH_OPERATOR_PASSWORD",
    "RISKWATCH_AUDITOR_PASSWORD",
    "RISKWATCH_KAFKA_PASSWORD",
    "RISKWATCH_KAFKA_CLIENT_PASSWORD",
    "RISKWATCH_KAFKA_DESK_PASSWORD",
    "RISKWATCH_KAFKA_FEED_PASSWORD",
    "RISKWATCH_KAFKA_NEWS_PASSWORD",
    "RISKWATCH_KAFKA_OPERATOR_PASSWORD",
    "RISKWATCH_KAFKA_READER_PASSWORD",
    "RISKWATCH_REDIS_PASSWORD",
    "GRAFANA_PASSWORD",
)
ROLES = ("CLIENT", "DESK", "FEED", "NEWS", "OPERATOR", "READER")
"""Roles of the broker whose passwords ``host.env`` has: all but that of the administration."""
HOST = """\
# Made by `make env` from .env, each time. `. ./host.env` connects a shell of this machine with the
# stack, with the rights of a reader. The other roles: docs/operations.md, "From the host".
"""
BYTES = 24
ROUTES = "# Secrets of the routes of rules/notify.toml: see deploy/notify.env.sample.\n"
"""No secret yet, but compose reads the file: Compose before 2.24 knows none that may be missing."""


def password() -> str:
    """Make 192 bits in letters, digits, ``-`` and ``_``, which need no quoting in a URL."""
    return secrets.token_urlsafe(BYTES)


def cluster_id() -> str:
    """Make an id as Kafka makes its own: 16 bytes, not beginning like an option."""
    while True:
        text = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def lines() -> str:
    """Text of the file."""
    passwords = "".join(f"{name}={password()}\n" for name in PASSWORDS)
    return (
        "# Made by `make env` for compose.yaml. Keep it out of git.\n"
        "# Routes to people have theirs in notify.env.\n"
        "COMPOSE_PROJECT_NAME=riskwatch\n"
        f"KAFKA_CLUSTER_ID={cluster_id()}\n" + passwords
    )


def write(path: Path, text: str) -> bool:
    """Write a file that only its owner can read; False if there is one already."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
    return True


def complete(path: Path) -> list[str]:
    """Add the passwords that an older ``.env`` lacks, and return their names."""
    before = path.read_text(encoding="utf-8")
    present = {line.partition("=")[0].strip() for line in before.splitlines()}
    missing = [name for name in PASSWORDS if name not in present]
    if missing:
        with path.open("a", encoding="utf-8") as file:
            file.write("" if before.endswith("\n") else "\n")
            file.write("".join(f"{name}={password()}\n" for name in missing))
    return missing


def host_lines(text: str) -> str:
    """Text of ``host.env``: how a shell of this machine reaches the stack of an ``.env``."""
    given = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    given = {name.strip(): value for name, value in given.items() if not name.startswith("#")}
    password = given.get("RISKWATCH_OPERATOR_PASSWORD", "")
    postgres = f"localhost:{given.get('POSTGRES_PORT') or 5432}"
    roles = {f"RISKWATCH_KAFKA_{role}_PASSWORD": role for role in ROLES}
    found = {
        "RISKWATCH_KAFKA": f"localhost:{given.get('KAFKA_PORT') or 9094}",
        "RISKWATCH_KAFKA_PROTOCOL": given.get("RISKWATCH_KAFKA_PROTOCOL") or "SASL_PLAINTEXT",
        "RISKWATCH_KAFKA_MECHANISM": given.get("RISKWATCH_KAFKA_MECHANISM") or "PLAIN",
        "RISKWATCH_TOPIC_PREFIX": given.get("RISKWATCH_TOPIC_PREFIX") or "",
        "RISKWATCH_KAFKA_USERNAME": "reader",
        "RISKWATCH_KAFKA_PASSWORD": given.get("RISKWATCH_KAFKA_READER_PASSWORD", ""),
        **{name: given.get(name, "") for name in roles},
        "RISKWATCH_DATABASE": f"postgresql://riskwatch_operator:{password}@{postgres}/riskwatch",
    }
    return HOST + "".join(f"export {name}={shlex.quote(v)}\n" for name, v in found.items())


def write_host(path: Path) -> None:
    """Write ``host.env`` anew: all of it comes from ``.env``."""
    target = path.with_name("host.env")
    target.unlink(missing_ok=True)
    write(target, host_lines(path.read_text(encoding="utf-8")))


def main(path: Path) -> int:
    """Write the files, or complete them; 2 if ``.env`` has everything, and so stays as it is."""
    code = write_env(path)
    write_host(path)
    return code


def write_env(path: Path) -> int:
    """Write ``.env`` and ``notify.env``; 2 if both are there."""
    write(path.with_name("notify.env"), ROUTES)
    if write(path, lines()):
        sys.stdout.write(f"{path}: {len(PASSWORDS)} new passwords, for your eyes only\n")
        return 0
    added = complete(path)
    if added:
        sys.stdout.write(f"{path}: {len(added)} passwords added ({', '.join(added)})\n")
        return 0
    sys.stderr.write(f"{path} is there and stays as it is (docs/operations.md: rotate)\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".env")))
