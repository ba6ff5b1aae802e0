"""Sources of credit news with a declared weight: what their weight rests on.

The name of a source is what the writer calls itself. A weight above the ordinary one therefore
needs a proof: a key, whose owner signs each record (``source_keys``), or the statement that only
the source may write ``riskwatch.credit`` (``topic_sources``), which the rights of the broker
enforce. In a new deployment a source without a proof counts as ordinary. A deployment whose last
record has the weight already goes on with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from riskwatch.config.config import Config
    from riskwatch.core.outputs import ConfigurationChanged
    from riskwatch.core.risk.config import RiskConfig


def without_proof(risk: RiskConfig) -> Iterator[str]:
    """Yield the sources with more than the ordinary weight that nothing protects."""
    protected = {*(risk.source_keys or {}), *(risk.topic_sources or ())}
    for source, weight in risk.source_weights.items():
        if weight > risk.source_weight and source not in protected:
            yield source


def with_unproven(config: Config, last: ConfigurationChanged | None) -> Config:
    """Return the configuration of a live worker, in which unproven sources are named.

    Parameters
    ----------
    config : Config
        As it was read.
    last : ConfigurationChanged or None
        The last record of the worker.
    """
    recorded = {} if last is None else last.content.get("policy", {}).get("risk", {})
    unproven = tuple(
        source
        for source in without_proof(config.policy.risk)
        if not _has_weight(recorded, source, config.policy.risk.source_weights[source])
    )
    if unproven == (config.policy.risk.unproven or ()):
        return config
    risk = msgspec.structs.replace(config.policy.risk, unproven=unproven or msgspec.UNSET)
    return config.with_policy(msgspec.structs.replace(config.policy, risk=risk))


def _has_weight(recorded: Mapping[str, Any], source: str, weight: float) -> bool:
    """Whether the last record gave a source this weight or more, and it counted."""
    before = recorded.get("source_weights", {}).get(source, 0.0)
    return source not in recorded.get("unproven", ()) and before >= weight


def source_lines(config: Config) -> list[str]:
    """Return one line per source without a proof: how it counts, and what to add."""
    risk = config.policy.risk
    lines = []
    for source in without_proof(risk):
        weight = risk.source_weights[source]
        counts = f"counts with weight {weight:g} for whoever writes that name"
        if source in (risk.unproven or ()):
            counts = f"counts as ordinary ({risk.source_weight:g} instead of {weight:g})"
        lines.append(
            f"source {source} {counts}: name its key in [risk.source_keys], or name it in "
            "topic_sources of [risk] if nobody else may write riskwatch.credit"
        )
    return lines
