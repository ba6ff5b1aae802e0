"""The configuration: reference data, limits, rules, policy and models of ``rules/`` as one value.

:func:`load` returns a :class:`Config` in which every name exists and every number is in its range,
or raises one :class:`~riskwatch.errors.ConfigError` about all errors. Comments in the files
explain their content.
"""

from __future__ import annotations

import re
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from riskwatch.config import consistency, existence, spellings
from riskwatch.config.pack import SHIPPED, has_file, located_errors, read_file
from riskwatch.config.paths import rules_folder
from riskwatch.config.toml import (
    Checks,
    StructReader,
    above,
    at_least,
    between,
    not_empty,
    one_of,
    optional,
    strictly_between,
)
from riskwatch.contracts.signing import public_key_problem
from riskwatch.core.clock import WEEKDAYS
from riskwatch.core.events import Name
from riskwatch.core.names import Alias, NamesConfig, NameTable, unit_fault
from riskwatch.core.operators import Operator, Operators
from riskwatch.core.policy import Policy
from riskwatch.core.reference import Asset, Instrument, Limit, LimitsConfig, Party, Reference
from riskwatch.core.risk.config import Ask, DrillPlan
from riskwatch.core.risk.default_probability import PD_TARGET
from riskwatch.core.risk.scorer import EvidenceConfig, GenerationConfig, ModelsConfig, TargetConfig
from riskwatch.core.rules import Condition, Rule, RulePack
from riskwatch.core.scopes import COUNTERPARTY
from riskwatch.core.text import name_fault
from riskwatch.errors import ConfigError, ModelError, raise_config_errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Part = TypeVar("Part")


ARTEFACT_OPTION: Final = "artefact"
"""Option of a generation that names a file. The model gets the text of the file, not its name."""
ARTEFACT_MAX_BYTES: Final = 16_777_216


def load_artefacts(models: ModelsConfig, directory: Path, file: str) -> ModelsConfig:
    """Replace the names of artefacts by their content, because models read no files.

    Parameters
    ----------
    models : ModelsConfig
        The configured models.
    directory : Path
        Folder of the pack. A name is relative to the folder of the file that it stands in.
    file : str
        Name of the configuration file.

    Raises
    ------
    ConfigError
        If an artefact is missing, unreadable, too large, or not text.
    """
    generations = []
    written = read_file(directory, file)
    for i, generation in enumerate(models.generations):
        name = generation.options.get(ARTEFACT_OPTION)
        if isinstance(name, str):
            key = f"generations[{i}].options.{ARTEFACT_OPTION}"
            folder = rules_folder() if written.origin(key).layer == SHIPPED else directory
            text = _read_artefact(folder / name, file, key)
            options = {**generation.options, ARTEFACT_OPTION: text}
            generations.append(msgspec.structs.replace(generation, options=options))
        else:
            generations.append(generation)
    return msgspec.structs.replace(models, generations=tuple(generations))


def _read_artefact(path: Path, file: str, key: str) -> str:
    try:
        if path.stat().st_size > ARTEFACT_MAX_BYTES:
            raise ConfigError(
                file, key, f"an artefact of at most {ARTEFACT_MAX_BYTES:,} bytes", str(path)
            )
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ConfigError(file, key, f"a readable file at {path}", error.strerror) from error
    except UnicodeDecodeError as error:
        raise ConfigError(file, key, "an artefact in UTF-8", f"byte {error.start}") from error


REFERENCE: Final = "reference.toml"
LIMITS: Final = "limits.toml"
RULES: Final = "static.toml"
POLICY: Final = "policy.toml"
MODELS: Final = "models.toml"
OPERATORS: Final = "operators.toml"
NAMES: Final = "names.toml"


def check_name(value: str) -> str | None:
    """Check that a value is a name that events can carry; another would never match an event.

    Examples
    --------
    >>> check_name("USDC"), check_name("US DC")
    (None, "a name as events spell it: no spaces, '/' or ':', at most 64 characters")
    """
    try:
        msgspec.convert(value, type=Name)
    except msgspec.ValidationError:
        return "a name as events spell it: no spaces, '/' or ':', at most 64 characters"
    return f"a name that looks like no other: it {fault}" if (fault := name_fault(value)) else None


def check_names(values: tuple[str, ...]) -> str | None:
    """Accept names of which each could be carried by an event."""
    return next((fault for value in values if (fault := check_name(value))), None)


_RELEASE: Final = re.compile(r"(0|[1-9][0-9]{0,5})(\.(0|[1-9][0-9]{0,5})){2}")


def check_release(value: str) -> str | None:
    """Check that a value is a release of riskwatch.

    Examples
    --------
    >>> check_release("0.1.0"), check_release("0.1.0q")
    (None, 'a release of riskwatch, such as 0.3.0')
    """
    return None if _RELEASE.fullmatch(value) else "a release of riskwatch, such as 0.3.0"


REFERENCE_CHECKS: Final[Checks] = {
    (Asset, "id"): check_name,
    (Asset, "collateral"): one_of("fiat", "crypto", "algorithmic", "none"),
    (Instrument, "kind"): one_of("perp", "future", "option"),
    (Instrument, "contract_type"): one_of("linear", "inverse", "quanto"),
    (Party, "id"): check_name,
    (Party, "kind"): one_of("exchange", "custodian", "bank", "issuer", "lender", "broker"),
    (Party, "custody"): one_of(
        "segregated", "omnibus", "title_transfer", "insured_deposit", "unknown"
    ),
}
LIMITS_CHECKS: Final[Checks] = {
    (Limit, "id"): not_empty,
    (Limit, "subject"): check_name,
    (Limit, "since"): check_release,
    (Limit, "scope_kind"): one_of(
        "counterparty", "issuer", "bank", "asset", "book", "group", "firm"
    ),
}
RULES_CHECKS: Final[Checks] = {
    (RulePack, "rules"): not_empty,
    (Rule, "id"): not_empty,
    (Rule, "scope_kind"): one_of("asset", "venue-asset", "counterparty", "book", "firm"),
    (Rule, "state"): one_of("WATCH", "REDUCE", "HALT"),
    (Rule, "any"): not_empty,
    (Rule, "since"): check_release,
    (Condition, "feature"): not_empty,
}
POLICY_CHECKS: Final[Checks] = {
    (Ask, "state"): one_of("WATCH", "REDUCE", "HALT"),
    (Ask, "since"): check_release,
    (DrillPlan, "id"): check_name,
    (DrillPlan, "weekday"): one_of("", *WEEKDAYS),
}
MODELS_CHECKS: Final[Checks] = {
    (TargetConfig, "threshold"): above(0.0),
    (TargetConfig, "horizon_s"): above(0.0),
    (TargetConfig, "side"): one_of("", "discount", "premium", "either"),
    (TargetConfig, "scope_kind"): one_of("asset", "counterparty"),
    (TargetConfig, "label_every_s"): optional(above(0.0)),
    (GenerationConfig, "authority"): one_of("shadow", "advisory", "bounded", "full"),
    (GenerationConfig, "max_authority"): one_of("shadow", "advisory", "bounded", "full"),
    (EvidenceConfig, "alpha"): strictly_between(0.0, 1.0),
    (EvidenceConfig, "alpha_down"): strictly_between(0.0, 1.0),
    (EvidenceConfig, "events_advisory"): at_least(1),
    (EvidenceConfig, "events_bounded"): at_least(1),
    (EvidenceConfig, "events_full"): at_least(1),
    (EvidenceConfig, "entities_bounded"): at_least(1),
    (EvidenceConfig, "stale_s"): above(0.0),
    (EvidenceConfig, "drift_delta"): strictly_between(0.0, 1.0),
    (EvidenceConfig, "share"): between(0.0, 0.5),
    (EvidenceConfig, "status_s"): above(0.0),
    (ModelsConfig, "label_every_s"): above(0.0),
    (ModelsConfig, "max_pending"): at_least(1),
    (ModelsConfig, "max_scopes"): at_least(1),
}
NAMES_CHECKS: Final[Checks] = {
    (Alias, "spelling"): check_name,
    (Alias, "name"): check_name,
    (Alias, "venue"): lambda venue: check_name(venue) if venue else None,
    (Alias, "unit"): unit_fault,
    (Alias, "since"): spellings.day_fault,
    (Alias, "until"): spellings.day_fault,
    (NamesConfig, "books"): check_names,
}
OPERATORS_CHECKS: Final[Checks] = {
    (Operator, "id"): check_name,
    (Operator, "books"): check_names,
    (Operator, "public_key"): public_key_problem,
}


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration of all stages.

    Attributes
    ----------
    reference : Reference
        Assets, parties, default probabilities.
    limits : LimitsConfig
        The firm's equity and its limits.
    rules : RulePack
        Static rules, in file order.
    policy : Policy
        How readings become states.
    operators : Operators
        People who may give commands; none if there is no such file.
    names : NamesConfig
        Aliases of assets and counterparties; none if there is no such file.
    digest : str
        SHA-256 (hexadecimal) of the values of the files: comments, spacing, the order of keys
        and values equal to a default do not change it.
    """

    reference: Reference
    limits: LimitsConfig
    rules: RulePack
    policy: Policy
    digest: str
    operators: Operators = Operators()
    names: NamesConfig = NamesConfig()

    @property
    def name_table(self) -> NameTable:
        """The table of canonical names, made anew at each call."""
        return NameTable(self.names, self.reference.assets, self.reference.parties)

    def with_policy(self, policy: Policy) -> Config:
        """Return this configuration with another policy, and the digest of that."""
        parts = (self.reference, self.limits, self.rules, policy, self.operators)
        found = digest(*parts, names=self.names)
        return msgspec.structs.replace(self, policy=policy, digest=found)


def load(directory: Path, *, build_models: bool = True) -> Config:
    """Read the files of `directory`; ``operators.toml`` may be missing.

    Parameters
    ----------
    directory : Path
        The folder.
    build_models : bool
        Build the models once, to find what their arguments have wrong. That imports River, which
        takes seconds. A process that runs no model leaves it out.

    Raises
    ------
    ConfigError
        If a value is wrong: every error of every file, with the file, the dotted key, the
        expected and the found value, and the name that was probably meant.
    """
    if not has_file(directory, REFERENCE):
        read_file(directory, REFERENCE)  # one error: this is no folder of rules
    with located_errors(directory):
        return _load(directory, build_models=build_models)


def _load(directory: Path, *, build_models: bool) -> Config:
    errors: list[ConfigError] = []
    reference = attempt(_load_reference, directory, errors)
    limits = attempt(_load_limits, directory, errors)
    rules = attempt(_load_rules, directory, errors)
    policy = attempt(partial(_load_policy, build_models=build_models), directory, errors)
    operators = attempt(_load_operators, directory, errors)
    names = attempt(_load_names, directory, errors)
    errors += errors_together(reference, limits, rules, policy, names)
    raise_config_errors(errors)
    assert reference is not None, "what cannot be read is an error"
    assert limits is not None, "what cannot be read is an error"
    assert rules is not None, "what cannot be read is an error"
    assert policy is not None, "what cannot be read is an error"
    assert operators is not None, "what cannot be read is an error"
    assert names is not None, "what cannot be read is an error"
    return Config(
        reference=reference,
        limits=limits,
        rules=rules,
        policy=policy,
        digest=digest(reference, limits, rules, policy, operators, names=names),
        operators=operators,
        names=names,
    )


def errors_together(
    reference: Reference | None,
    limits: LimitsConfig | None,
    rules: RulePack | None,
    policy: Policy | None,
    names: NamesConfig | None = None,
) -> list[ConfigError]:
    """Return the errors between the files; ``None`` is a file that cannot be used."""
    errors: list[ConfigError] = []
    if reference is not None and limits is not None:
        errors += existence.check_subjects(LIMITS, limits, reference)
    if reference is not None and policy is not None:
        errors += existence.check_sources(POLICY, policy.risk, reference)
    if policy is not None and rules is not None:
        errors += existence.check_rule_features(RULES, rules, model_scores(policy.models))
        if limits is not None:
            errors += consistency.check_modes(POLICY, policy.risk, rules, limits)
    if reference is not None and names is not None:
        errors += spellings.check_names(NAMES, names, reference)
        table = NameTable(names, reference.assets, reference.parties)
        if policy is not None:
            errors += spellings.check_policy_scopes(POLICY, policy.risk, table)
        if limits is not None:
            errors += spellings.check_limit_subjects(LIMITS, limits, table)
    return errors


def attempt(
    read: Callable[[Path], Part], directory: Path, errors: list[ConfigError]
) -> Part | None:
    """Read a part of a folder; if it cannot be used, add its errors and return ``None``."""
    try:
        return read(directory)
    except ConfigError as error:
        errors += error.errors
        return None


def load_reference(directory: Path) -> Reference:
    """Read ``reference.toml`` alone; raises :class:`~riskwatch.errors.ConfigError`."""
    with located_errors(directory):
        return _load_reference(directory)


def load_limits(directory: Path) -> LimitsConfig:
    """Read ``limits.toml`` alone; raises :class:`~riskwatch.errors.ConfigError`."""
    with located_errors(directory):
        return _load_limits(directory)


def load_rules(directory: Path) -> RulePack:
    """Read ``static.toml`` alone; raises :class:`~riskwatch.errors.ConfigError`."""
    with located_errors(directory):
        return _load_rules(directory)


def load_operators(directory: Path) -> Operators:
    """Read ``operators.toml`` alone. Without the file there are no operators.

    Raises
    ------
    ConfigError
        If a value is wrong. It names the file, the dotted key, the expected and the found value.
    """
    with located_errors(directory):
        return _load_operators(directory)


def load_policy(directory: Path) -> Policy:
    """Read ``policy.toml``, and the models that it uses from ``models.toml``.

    Raises
    ------
    ConfigError
        If a value, a target, a generation or an ask is not valid.
    """
    with located_errors(directory):
        return _load_policy(directory)


def load_name_table(directory: Path) -> NameTable:
    """Read the table of canonical names alone: ``names.toml``, and what is listed.

    Raises
    ------
    ConfigError
        If a value is wrong.
    """
    with located_errors(directory):
        known, names = _load_reference(directory), _load_names(directory)
    return NameTable(names, known.assets, known.parties)


def _load_reference(directory: Path) -> Reference:
    file = read_file(directory, REFERENCE)
    made = StructReader(REFERENCE, REFERENCE_CHECKS).struct(Reference, file.table)
    raise_config_errors(
        (
            *consistency.check_reference(REFERENCE, made),
            *existence.check_reference_names(REFERENCE, made, inherited=bool(file.origins)),
        )
    )
    return made


def _load_limits(directory: Path) -> LimitsConfig:
    table = read_file(directory, LIMITS).table
    made = StructReader(LIMITS, LIMITS_CHECKS).struct(LimitsConfig, table)
    raise_config_errors(consistency.check_limits(LIMITS, made))
    return made


def _load_rules(directory: Path) -> RulePack:
    table = read_file(directory, RULES).table
    made = StructReader(RULES, RULES_CHECKS).struct(RulePack, table)
    raise_config_errors(consistency.check_rules(RULES, made))
    return made


def _load_operators(directory: Path) -> Operators:
    if not has_file(directory, OPERATORS):
        return Operators()
    table = read_file(directory, OPERATORS).table
    made = StructReader(OPERATORS, OPERATORS_CHECKS).struct(Operators, table)
    raise_config_errors(consistency.check_operators(OPERATORS, made))
    return made


def _load_names(directory: Path) -> NamesConfig:
    if not has_file(directory, NAMES):
        return NamesConfig()
    table = read_file(directory, NAMES).table
    made = StructReader(NAMES, NAMES_CHECKS).struct(NamesConfig, table)
    raise_config_errors(spellings.check_aliases(NAMES, made))
    return made


def _load_models(directory: Path, *, build_models: bool) -> ModelsConfig:
    table = read_file(directory, MODELS).table
    read = StructReader(MODELS, MODELS_CHECKS).struct(ModelsConfig, table)
    errors = list(existence.check_models(MODELS, read))
    try:
        made = load_artefacts(read, directory, MODELS)
        if build_models:
            from riskwatch.models.ensemble import Ensemble  # noqa: PLC0415 - a second to import

            errors += existence.check_inputs(MODELS, Ensemble(made).inputs())
    except ModelError as error:
        errors.append(ConfigError(MODELS, "", f"models that can be built ({error})"))
    except ConfigError as error:
        errors += error.errors
    raise_config_errors(errors)
    return made


def _load_policy(directory: Path, *, build_models: bool = True) -> Policy:
    from riskwatch.models.config import target_specs  # noqa: PLC0415 - half a second to import

    table = read_file(directory, POLICY).table
    if "models" in table:
        expected = f"no models here: they stand in {MODELS}, as [[targets]] and [[generations]]"
        raise ConfigError(POLICY, "models", expected)
    errors: list[ConfigError] = []
    read = attempt(
        lambda _: StructReader(POLICY, POLICY_CHECKS).struct(Policy, table), directory, errors
    )
    models = attempt(partial(_load_models, build_models=build_models), directory, errors)
    raise_config_errors(errors)
    assert read is not None, "what cannot be read is an error"
    assert models is not None, "what cannot be read is an error"
    scope_kinds = {q.id: kind for kind, group in target_specs(models).items() for q in group}
    scope_kinds |= {PD_TARGET: COUNTERPARTY}
    made = msgspec.structs.replace(read, models=models)
    raise_config_errors(consistency.check_policy_file(POLICY, MODELS, made, scope_kinds))
    return made


def model_scores(models: ModelsConfig) -> existence.Scores:
    """Return the features that hold the probabilities of models, by kind of scope."""
    from riskwatch.models.config import target_specs  # noqa: PLC0415 - half a second to import

    targets = {k: [spec.id for spec in group] for k, group in target_specs(models).items()}
    targets.setdefault(COUNTERPARTY, []).append(PD_TARGET)
    return existence.score_features(models, targets)


def digest(*parts: msgspec.Struct, names: NamesConfig | None = None) -> str:
    """Return the SHA-256 of the values of `parts`, independent of the layout of their files.

    `names` counts if there are any, so that the digest of a configuration without them stays.

    Examples
    --------
    >>> digest(LimitsConfig(equity_usd=1.0, limits=()))[:8]
    'bc7d1b49'
    """
    if names is not None and names != NamesConfig():
        parts = (*parts, names)
    canonical = msgspec.json.encode(parts, order="deterministic")
    return sha256(canonical).hexdigest()
