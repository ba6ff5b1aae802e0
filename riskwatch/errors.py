"""The errors that riskwatch raises.

A mistake of the caller is a :class:`RiskwatchError`. The command line turns it into one line on
stderr and exit code 2. Bad *data* is never an error; it becomes a dead letter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAX_FOUND = 200
"""Most characters of a value that a message shows."""


class RiskwatchError(Exception):
    """Base of every error that riskwatch raises on purpose."""


class ConfigError(RiskwatchError):
    """A configuration or rule file has a value that cannot be used.

    Parameters
    ----------
    file : str
        The file with the value.
    key : str
        Dotted path of the key in the file, empty for the file as a whole.
    expected : str
        The value that would be accepted.
    found : object, optional
        The value that was found.
    meant : str, optional
        The name that was probably meant.

    Examples
    --------
    >>> str(ConfigError("policy.toml", "states.halt.dwell", "a duration such as '5m'", "soon"))
    "policy.toml: states.halt.dwell: expected a duration such as '5m', found 'soon'"
    """

    def __init__(
        self,
        file: str,
        key: str,
        expected: str,
        found: object | None = None,
        meant: str | None = None,
    ) -> None:
        self.file = file
        self.key = key
        self.expected = expected
        self.found = found
        self.meant = meant
        where = f"{file}: {key}" if key else file
        seen = repr(found)
        seen = seen if len(seen) <= _MAX_FOUND else f"{seen[:_MAX_FOUND]}…"
        tail = "" if found is None else f", found {seen}"
        tail += f" (did you mean {meant}?)" if meant else ""
        super().__init__(f"{where}: expected {expected}{tail}")

    @property
    def errors(self) -> tuple[ConfigError, ...]:
        """Every single error."""
        return (self,)

    def __reduce__(self) -> tuple[type[ConfigError], tuple[object, ...]]:
        """Pickle with all arguments; by default an exception is rebuilt from its message alone."""
        return type(self), (self.file, self.key, self.expected, self.found, self.meant)


class SeveralConfigErrors(ConfigError):  # noqa: N818 - it is several
    """Several values of the configuration cannot be used; file and key are those of the first.

    Examples
    --------
    >>> first, other = (ConfigError("a.toml", key, "a number") for key in ("x", "y"))
    >>> print(SeveralConfigErrors((first, other)))
    a.toml: x: expected a number
    a.toml: y: expected a number
    """

    def __init__(self, errors: tuple[ConfigError, ...]) -> None:
        first = errors[0]
        super().__init__(first.file, first.key, first.expected, first.found, first.meant)
        self._parts = tuple((e.file, e.key, e.expected, e.found, e.meant) for e in errors)
        self.args = ("\n".join(map(str, errors)),)

    @property
    def errors(self) -> tuple[ConfigError, ...]:
        """Every single error."""
        return tuple(ConfigError(*part) for part in self._parts)

    def __reduce__(self) -> tuple[type[SeveralConfigErrors], tuple[object, ...]]:
        """Pickle with all errors."""
        return type(self), (self.errors,)


def raise_config_errors(found: Iterable[ConfigError]) -> None:
    """Raise what was found, if anything was: every error once, in order."""
    errors = tuple({str(e): e for error in found for e in error.errors}.values())
    if errors:
        raise errors[0] if len(errors) == 1 else SeveralConfigErrors(errors)


class FeedError(RiskwatchError):
    """A recording cannot be read as the format that it is expected to have."""


class OptionNeededError(FeedError):
    """A file does not say something that only the caller knows.

    Parameters
    ----------
    file : str
        The file.
    option : str
        The option that says it, such as ``--account``.
    why : str
        What is not known.

    Examples
    --------
    >>> print(OptionNeededError("x.csv", "--account", "the file names no account"))
    x.csv: give --account: the file names no account
    """

    def __init__(self, file: str, option: str, why: str) -> None:
        self.file = file
        self.option = option
        self.why = why
        super().__init__(f"{file}: give {option}: {why}")

    def __reduce__(self) -> tuple[type[OptionNeededError], tuple[object, ...]]:
        """Pickle with all arguments; by default an exception is rebuilt from its message alone."""
        return type(self), (self.file, self.option, self.why)


class StoreError(RiskwatchError):
    """The database is missing, has another version, or is locked by another process."""


class RowFormatError(StoreError):
    """State rows have a format that this build does not read."""


class BatchRefusedError(StoreError):
    """The content of a batch cannot be encoded or stored. Nothing of the batch was written.

    This is a bug: some input brought about an output or a row that the database does not take.
    """


class StoreUnavailableError(StoreError):
    """The database does not answer for now; the caller must retry.

    It is unknown whether the last statement took effect. A repeated batch detects it.
    """


class BrokerError(RiskwatchError):
    """The broker is not configured as required, or refuses permanently."""


class StageFaultError(RiskwatchError):
    """A stage raised an exception. This is a bug, and no message is skipped because of it."""


class StoppedError(RiskwatchError):
    """The process was asked to stop while it waited for a server."""


class StreamIdentityError(RiskwatchError):
    """A stream is not the one that the stored offsets belong to."""


class FetchGapError(RiskwatchError):
    """Fetched messages did not arrive; continuing would skip them."""


class FencedError(StoreError):
    """Another process took the lease, so this one must stop without writing."""


class ModelError(RiskwatchError):
    """A model is unknown, or cannot be built with the given options."""


class ModelCheckError(ModelError):
    """A model does not meet the requirements of the ensemble.

    Parameters
    ----------
    model : str
        Its name.
    failures : dict of str to str
        Why each failed check failed, by the check's name.

    Examples
    --------
    >>> print(ModelCheckError("mine", {"finite": "logit must be finite, was nan"}))
    model 'mine' fails 1 check: finite (logit must be finite, was nan)
    """

    def __init__(self, model: str, failures: dict[str, str]) -> None:
        self.model = model
        self.failures = failures
        count = f"{len(failures)} check{'s' if len(failures) > 1 else ''}"
        why = "; ".join(f"{name} ({text})" for name, text in failures.items())
        super().__init__(f"model {model!r} fails {count}: {why}")

    def __reduce__(self) -> tuple[type[ModelCheckError], tuple[object, ...]]:
        """Pickle with all arguments; by default an exception is rebuilt from its message alone."""
        return type(self), (self.model, self.failures)


class SigningError(RiskwatchError):
    """Something cannot be signed, because of the key file, its mode, or the command itself."""
