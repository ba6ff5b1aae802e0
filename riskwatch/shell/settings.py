"""Settings from the environment: ``RISKWATCH_DATABASE`` and so on; options go before them."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - pydantic reads the annotations
from typing import TYPE_CHECKING

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from riskwatch.errors import ConfigError
from riskwatch.shell.logs import Format, Level  # noqa: TC001 - pydantic reads the annotations

if TYPE_CHECKING:
    from typing import Self

PREFIX = "RISKWATCH_"


class Settings(BaseSettings):
    """What every process of riskwatch is told by its environment.

    Attributes
    ----------
    database : str
        URL of the database.
    config : Path or None
        Folder of rules, limits and reference data; ``None`` for those that are shipped.
    log_level : str
        Least level of log lines.
    log_format : str
        ``auto``, ``console`` or ``json``.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    database: str = "sqlite:///riskwatch.db"
    config: Path | None = None
    log_level: Level = "info"
    log_format: Format = "auto"

    @classmethod
    def read(cls) -> Self:
        """Read the environment.

        Raises
        ------
        ConfigError
            If a variable holds something that cannot be used.
        """
        try:
            return cls()
        except ValidationError as error:
            first = error.errors()[0]
            name = PREFIX + str(first["loc"][0]).upper()
            raise ConfigError("environment", name, first["msg"], first["input"]) from error
