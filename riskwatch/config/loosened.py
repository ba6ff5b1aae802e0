"""Limits that were loosened in files: a live worker refuses to start until two people sign them.

The last configuration that the risk worker recorded says which limits are in force. A limit that is
higher, warns later, binds no more or is gone is loosened, and so is a subject that a new limit of
its own takes out of a stricter limit on ``*``. Two supervisors sign the digest of the new limits
(``riskwatch rules sign``); their signatures stand in ``signatures.toml`` beside the files. Tighter
and new limits need none, and neither does the first start of a deployment.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.config.toml import StructReader, read_toml
from riskwatch.core.command_signing import framed
from riskwatch.core.reference import LimitsConfig
from riskwatch.core.risk.limits import ANY_SUBJECT
from riskwatch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from riskwatch.config.config import Config
    from riskwatch.core.operators import Verifier
    from riskwatch.core.outputs import ConfigurationChanged
    from riskwatch.core.reference import Limit

SIGNATURES: Final = "signatures.toml"
DOMAIN: Final = b"riskwatch/limits/1"
"""Domain of the signed bytes: no signature of a command or a bundle has it."""
SIGNERS: Final = 2
"""Number of people who must sign."""
ACTION: Final = "set_limit"
"""The right that a signer needs."""
_NAMED: Final = 5
"""Most loosened values in one error; of more, only the number follows."""


class LimitsSignature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One person's signature of loosened limits.

    Attributes
    ----------
    operator : str
        Who signed.
    digest : str
        Digest of the limits, 64 hexadecimal digits; see :func:`limits_digest`.
    deployment : str
        Deployment for which it counts.
    at : str
        When it was signed, RFC 3339.
    reason : str
        Why.
    signature : str
        Ed25519, 128 hexadecimal digits, over :func:`signed_bytes`.
    """

    operator: str
    digest: str
    deployment: str
    at: str
    reason: str
    signature: str = ""


class LimitsSignatures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All signatures of ``signatures.toml``, in file order."""

    signatures: tuple[LimitsSignature, ...] = ()


def limits_digest(config: Config) -> str:
    """Return the digest of everything that limits exposure, before and after the trade."""
    parts = (config.limits, config.policy.risk.pretrade)
    content = [None if part is msgspec.UNSET else msgspec.to_builtins(part) for part in parts]
    return sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()


def signed_bytes(made: LimitsSignature) -> bytes:
    """Return the bytes that a person signs."""
    return framed(DOMAIN, made.deployment, made.digest, made.operator, made.at, made.reason)


def load_signatures(folder: Path) -> tuple[LimitsSignature, ...]:
    """Read ``signatures.toml``; without the file nobody has signed.

    Raises
    ------
    ConfigError
        If the file cannot be read.
    """
    path = folder / SIGNATURES
    if not path.exists():
        return ()
    made = StructReader(SIGNATURES, {}).struct(LimitsSignatures, read_toml(path))
    for i, each in enumerate(made.signatures):
        if _moment(each.at) is None:
            raise ConfigError(SIGNATURES, f"signatures[{i}].at", "RFC 3339 with a zone", each.at)
    return made.signatures


def append_signature(folder: Path, made: LimitsSignature) -> None:
    """Add a signature to ``signatures.toml``; the file is read back before it counts."""
    path = folder / SIGNATURES
    before = path.read_text() if path.exists() else ""
    fields = msgspec.to_builtins(made)
    lines = [f"{name} = {json.dumps(value)}" for name, value in fields.items()]
    gap = "\n" if before else ""
    path.write_text(f"{before}{gap}[[signatures]]\n" + "\n".join(lines) + "\n")
    load_signatures(folder)


def last_ts(last: ConfigurationChanged | None) -> datetime:
    """Return when the last configuration was recorded; long ago if none was."""
    return datetime(1970, 1, 1, tzinfo=UTC) if last is None else last.ts


def _moment(text: str) -> datetime | None:
    """Return a time with a zone; ``None`` if the text is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if found.tzinfo is None else found


def loosened_limits(config: Config, last: ConfigurationChanged | None) -> list[str]:
    """Return one line for each limit that is looser than in the last record.

    Parameters
    ----------
    config : Config
        The configuration as it was read.
    last : ConfigurationChanged or None
        The last record of the risk worker; a new deployment has none, and nothing is loosened.
    """
    if last is None or not last.content:
        return []
    before = msgspec.convert(last.content["limits"], type=LimitsConfig)
    found = [*_limits(config, before, last.content)]
    pretrade = last.content.get("policy", {}).get("risk", {}).get("pretrade")
    now = config.policy.risk.pretrade
    if pretrade:
        after = {} if now is msgspec.UNSET else msgspec.to_builtins(now)
        found += _terms(pretrade, after)
    return found


def _limits(config: Config, before: LimitsConfig, content: Mapping[str, Any]) -> Iterator[str]:
    """Yield what became of each limit that bound somebody, and what new limits take out."""
    former = content.get("policy", {}).get("risk", {})
    now = {limit.id: limit for limit in config.limits.limits}
    for old in before.limits:
        if not _advised(former, old):
            yield from _limit(config, old, now.get(old.id))
    yield from _taken_out(before, config.limits)


def _limit(config: Config, old: Limit, new: Limit | None) -> Iterator[str]:
    """Yield in what one limit is looser."""
    if new is None:
        yield f"limit {old.id} is gone"
        return
    if config.policy.risk.is_advisory(new.id, new.mode):
        yield f"limit {new.id} binds no more"
    if (new.scope_kind, new.subject) != (old.scope_kind, old.subject):
        yield f"limit {new.id} is about {new.scope_kind} {new.subject}"
    if new.hard_usd > old.hard_usd:
        yield f"limit {new.id} hard_usd: {old.hard_usd:,.2f} -> {new.hard_usd:,.2f}"
    elif new.hard_usd * new.warning_share > old.hard_usd * old.warning_share:
        yield f"limit {new.id} warning_share: {old.warning_share:g} -> {new.warning_share:g}"


def _taken_out(before: LimitsConfig, after: LimitsConfig) -> Iterator[str]:
    """Yield which new limits take their subject out of a stricter limit on ``*``."""
    strictest = {
        old.scope_kind: old
        for old in sorted(before.limits, key=lambda limit: -limit.hard_usd)
        if old.subject == ANY_SUBJECT
    }
    own = {(old.scope_kind, old.subject) for old in before.limits}
    known = {old.id for old in before.limits}
    for limit in after.limits:
        general = strictest.get(limit.scope_kind)
        if general is None or limit.id in known or (limit.scope_kind, limit.subject) in own:
            continue
        if limit.hard_usd > general.hard_usd:
            yield (
                f"limit {limit.id} takes {limit.subject} out of {general.id}: "
                f"{general.hard_usd:,.2f} -> {limit.hard_usd:,.2f}"
            )


def _advised(risk: Mapping[str, Any], limit: Limit) -> bool:
    """Whether a recorded limit bound nobody."""
    names = (*risk.get("advisory", ()), *risk.get("unconfirmed", ()))
    return limit.mode == "advisory" or limit.id in names or "*" in risk.get("advisory", ())


def _terms(before: Mapping[str, Any], now: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """Yield the terms before the trade that allow more than they did."""
    for name, old in before.items():
        key, new = f"{where}{name}", now.get(name)
        if isinstance(old, dict):
            yield from _terms(old, new if isinstance(new, dict) else {}, f"{key}.")
        elif isinstance(old, int | float) and name in _LOOSER_IF_MORE:
            if not isinstance(new, int | float):
                yield f"pretrade.{key}: {old:g} -> absent"
            elif new > old:
                yield f"pretrade.{key}: {old:g} -> {new:g}"
        elif isinstance(old, list | tuple) and old and (not new or set(new) - set(old)):
            yield f"pretrade.{key}: {', '.join(old)} -> {', '.join(new or ['all'])}"


_LOOSER_IF_MORE: Final = (
    "max_order_usd", "collar_bp", "stale_collar_bp", "mid_age_s", "rate", "burst", "grant_s",
    "share",
)  # fmt: skip


def signers(
    config: Config,
    given: tuple[LimitsSignature, ...],
    verifier: Verifier,
    deployment: str,
    since: datetime,
) -> list[str]:
    """Return the supervisors who signed exactly these limits for this deployment, sorted.

    A signature from before `since` is used up: it does not loosen the same limits once more.
    """
    wanted = limits_digest(config)
    found: dict[str, None] = {}
    for each in given:
        operator, at = verifier.operator(each.operator), _moment(each.at)
        if (
            (each.digest, each.deployment) == (wanted, deployment)
            and at is not None
            and at > since
            and operator is not None
            and not operator.disabled
            and operator.may(ACTION)
            and verifier.verify(operator, signed_bytes(each), each.signature)
        ):
            found[operator.id] = None
    return sorted(found)


def require_signed(
    config: Config,
    last: ConfigurationChanged | None,
    given: tuple[LimitsSignature, ...],
    verifier: Verifier,
    deployment: str,
) -> list[str]:
    """Return who signed the loosened limits; nobody, if none is loosened.

    A signer must be an operator of the recorded configuration, too, with the same key: nobody can
    add the second signer in the same change.

    Raises
    ------
    ConfigError
        If limits are loosened, and fewer than two people signed them.
    """
    lines = loosened_limits(config, last)
    if not lines:
        return []
    assert last is not None, "something was loosened"
    recorded = last.content.get("operators", {}).get("operators", {})
    signed = [
        name
        for name in signers(config, given, verifier, deployment, last.ts)
        if recorded.get(name, {}).get("public_key") == config.operators.operators[name].public_key
    ]
    if len(signed) >= SIGNERS:
        return signed
    more = f", and {len(lines) - _NAMED} more" if len(lines) > _NAMED else ""
    by = f"only {', '.join(signed)} signed" if signed else "nobody signed"
    raise ConfigError(
        SIGNATURES,
        "signatures",
        f"two supervisors for loosened limits ({'; '.join(lines[:_NAMED])}{more}): each runs "
        f"`riskwatch rules sign --deployment {deployment}`",
        by,
    )
