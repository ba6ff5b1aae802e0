"""Checks that every name in the configuration exists, so that no rule is without effect.

A rule on ``discont_bp`` would load, and never fire. Names of closed lists (features by kind of
scope) are refused if they are not in the list. Names that a deployment chooses are refused where
they look like a name that exists elsewhere (:mod:`riskwatch.config.names`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.config.names import (
    SHIPPED_ASSETS,
    SHIPPED_PARTIES,
    SHIPPED_RATINGS,
    SHIPPED_SOURCES,
    SHIPPED_TARGETS,
    is_one_edit,
    misspelt,
    suggestion,
)
from riskwatch.core.risk.features import FEATURES
from riskwatch.core.risk.limits import ANY_SUBJECT
from riskwatch.core.risk.rule_engine import score_feature
from riskwatch.core.risk.scorer import ENSEMBLE
from riskwatch.core.scopes import ASSET, BOOK, FIRM
from riskwatch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from riskwatch.core.reference import Limit, LimitsConfig, Party, Reference
    from riskwatch.core.risk.config import RiskConfig
    from riskwatch.core.risk.scorer import ModelsConfig
    from riskwatch.core.rules import RulePack

Scores = dict[str, tuple[str, ...]]
"""Features that hold the probabilities of models, by kind of scope."""
SEVERITY: Final = "severity"
"""Input of every model beside the features: the severity of the rule."""
_GROUP: Final = "group"
_SCALED: Final = ("anchored", "adaptive", "river")
"""Built-in models whose option `scales` names features."""
_OTHER: Final = "another name, or this name in reference.toml under `distinct`"


def score_features(models: ModelsConfig, targets: Mapping[str, Iterable[str]]) -> Scores:
    """Return the features that hold the probabilities of models.

    Parameters
    ----------
    models : ModelsConfig
        The generations.
    targets : mapping
        Ids of the targets by kind of scope.
    """
    names = [generation.name or generation.model for generation in models.generations]
    return {
        kind: tuple(score_feature(name, target) for name in (*names, ENSEMBLE) for target in ids)
        for kind, ids in targets.items()
    }


def check_rule_features(file: str, pack: RulePack, scores: Scores) -> Iterator[ConfigError]:
    """Yield an error about each feature of a rule that its kind of scope does not have."""
    for i, rule in enumerate(pack.rules):
        known = FEATURES.get(rule.scope_kind, ())
        for j, condition in enumerate(rule.any):
            if condition.feature not in known + scores.get(rule.scope_kind, ()):
                key = f"rules[{i}].any[{j}].feature"
                yield _unknown_feature(file, key, rule.scope_kind, condition.feature)


def check_models(file: str, models: ModelsConfig) -> Iterator[ConfigError]:
    """Yield an error about each measure, kind of target or scale that does not exist."""
    for i, target in enumerate(models.targets):
        where, kind = f"targets[{i}]", target.scope_kind
        measured = {f"any[{j}].feature": part.feature for j, part in enumerate(target.any)}
        for key, feature in (measured or {"measure": target.measure}).items():
            if feature not in FEATURES[kind]:
                yield _unknown_feature(file, f"{where}.{key}", kind, feature)
        near = misspelt(target.kind, SHIPPED_TARGETS)
        if near is not None:
            yield ConfigError(file, f"{where}.kind", "another name", target.kind, near)
    detected = {each.feature: None for each in models.detectors}
    known = tuple(dict.fromkeys(f for t in models.targets for f in FEATURES[t.scope_kind]))
    known += (SEVERITY, *detected)
    yield from _check_detectors(file, models)
    for i, generation in enumerate(models.generations):
        scales = generation.options.get("scales")
        if generation.model in _SCALED and isinstance(scales, dict):
            for name in scales:
                if name not in known:
                    key = f"generations[{i}].options.scales.{name}"
                    expected = "a feature of a target's kind of scope"
                    yield ConfigError(file, key, expected, name, suggestion(name, known))


def _check_detectors(file: str, models: ModelsConfig) -> Iterator[ConfigError]:
    """Yield an error about each input of a detector that its kind of scope does not have."""
    for i, detector in enumerate(models.detectors):
        known = FEATURES.get(detector.scope_kind, ())
        if detector.feature in known:
            yield ConfigError(file, f"detectors[{i}].feature", "a new name", detector.feature)
        for name in detector.scales:
            if name not in known:
                key = f"detectors[{i}].scales.{name}"
                yield _unknown_feature(file, key, detector.scope_kind, name)


def check_inputs(
    file: str, inputs: Iterable[tuple[str, str, str, tuple[str, ...]]]
) -> Iterator[ConfigError]:
    """Yield an error about each feature of an artefact that does not exist.

    Parameters
    ----------
    file : str
        Name of the file, for the error.
    inputs : iterable of tuple
        Generation, kind of scope, target, and features of the fitted model.
    """
    for generation, kind, target, features in inputs:
        for name in features:
            if name not in (*FEATURES[kind], SEVERITY):
                yield _unknown_feature(file, f"artefact of {generation} for {target}", kind, name)


def check_subjects(file: str, limits: LimitsConfig, known: Reference) -> Iterator[ConfigError]:
    """Yield an error about each limit whose subject is a misspelt name.

    The id of a limit is compared with its subject, too: a book is known by nothing else.
    """
    for i, limit in enumerate(limits.limits):
        key = f"limits[{i}].subject"
        if limit.scope_kind == FIRM:
            if limit.subject not in (ANY_SUBJECT, FIRM):
                expected = f"{ANY_SUBJECT!r}: there is one firm"
                yield ConfigError(file, key, expected, limit.subject)
            continue
        if limit.subject == ANY_SUBJECT or limit.subject in (known.distinct or ()):
            continue
        near = _meant_subject(limit, _subjects(limit.scope_kind, known))
        if near is not None:
            expected = "a subject that its id does not contradict, and that is no misspelt name"
            yield ConfigError(file, key, expected, limit.subject, near)


def _meant_subject(limit: Limit, names: tuple[str, ...]) -> str | None:
    """Return the subject that a limit was probably meant for; ``None`` if it is its own."""
    if _contradicts(limit):
        return next((n for n in names if n.casefold() == limit.id.casefold()), limit.id)
    if limit.subject in names:
        return None
    return ANY_SUBJECT if len(limit.subject) == 1 else misspelt(limit.subject, names)


def check_sources(file: str, risk: RiskConfig, known: Reference) -> Iterator[ConfigError]:
    """Yield an error about each source of news whose name is misspelt."""
    weights, distinct = risk.source_weights, known.distinct or ()
    for name in weights:
        near = misspelt(name, SHIPPED_SOURCES, weights)
        if near is not None and name not in distinct:
            yield ConfigError(file, f"risk.source_weights.{name}", _OTHER, name, near)
    for name in risk.source_keys or {}:
        near = misspelt(name, weights)
        if near is not None and name not in distinct:
            yield ConfigError(file, f"risk.source_keys.{name}", _OTHER, name, near)


def check_reference_names(
    file: str, made: Reference, *, inherited: bool = False
) -> Iterator[ConfigError]:
    """Yield an error about each asset, party, group, rating or native token that is misspelt.

    Who has both names means both, unless the shipped one is there by inheritance (`inherited`).
    """
    tables: tuple[tuple[str, Mapping[str, object], tuple[str, ...]], ...] = (
        ("assets", made.assets, SHIPPED_ASSETS),
        ("parties", made.parties, SHIPPED_PARTIES),
    )
    # Another scale of ratings has names of its own.
    if 2 * sum(name in made.pd_by_rating for name in SHIPPED_RATINGS) > len(SHIPPED_RATINGS):
        tables += (("pd_by_rating", made.pd_by_rating, SHIPPED_RATINGS),)
    distinct = made.distinct or ()
    for where, table, shipped in tables:
        for name in table:
            near = misspelt(name, shipped, () if inherited else table)
            if near is not None and name not in distinct:
                yield ConfigError(file, f"{where}.{name}", _OTHER, name, near)
    for party in made.parties.values():
        near = _misspelt_group(made, party)
        if near is not None and party.group not in distinct:
            yield ConfigError(file, f"parties.{party.id}.group", _OTHER, party.group, near)
        yield from _check_native_token(file, made, party)


def _misspelt_group(made: Reference, party: Party) -> str | None:
    """Return the group that a party was probably meant to be in, if it stands alone in another."""
    if party.group is None:
        return None
    if is_one_edit(party.group, party.id):
        return party.id
    members = [each.group for each in made.parties.values()]
    if members.count(party.group) > 1:
        return None
    return next((g for g in _groups(made) if is_one_edit(party.group, g)), None)


def _check_native_token(file: str, made: Reference, party: Party) -> Iterator[ConfigError]:
    """Yield an error if a native token is another's, and looks like a misspelling."""
    token = made.assets.get(party.native_token or "")
    if token is None or token.issuer is None:
        return
    family = {
        p.id: None
        for p in made.parties.values()
        if p.id == party.id or (party.group is not None and p.group == party.group)
    }
    if token.issuer in family:
        return
    own = [a.id for a in made.assets.values() if a.issuer in family and is_one_edit(a.id, token.id)]
    if own:
        key, expected = f"parties.{party.id}.native_token", f"a token of {party.id}"
        yield ConfigError(file, key, expected, token.id, own[0])
    elif any(is_one_edit(token.issuer, name) for name in family):
        key, expected = f"assets.{token.id}.issuer", f"{party.id}, whose native token it is"
        yield ConfigError(file, key, expected, token.issuer, party.id)


def _unknown_feature(file: str, key: str, kind: str, found: str) -> ConfigError:
    known = FEATURES.get(kind, ())
    expected = f"a feature of {kind}: {', '.join(known)}"
    return ConfigError(file, key, expected, found, suggestion(found, known))


def _groups(made: Reference) -> dict[str, None]:
    return {party.group: None for party in made.parties.values() if party.group is not None}


def _subjects(kind: str, known: Reference) -> tuple[str, ...]:
    """Return the names that the reference data has for one kind of subject."""
    if kind == BOOK:
        return ()
    if kind == _GROUP:
        return tuple(_groups(known))
    return tuple(known.assets if kind == ASSET else known.parties)


def _contradicts(limit: Limit) -> bool:
    """Whether the id of a limit is nearly its subject; a number at the end of an id is allowed."""
    name, subject = limit.id.casefold(), limit.subject.casefold()
    numbered = name[:-1] == subject and name[-1:].isdigit()
    return is_one_edit(name, subject) and not numbered
