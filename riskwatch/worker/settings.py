"""Settings of a process from ``RISKWATCH_*`` variables; command-line options override them."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - pydantic reads the annotations
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from riskwatch.config.toml import parse_duration
from riskwatch.contracts.connection import KafkaConnection
from riskwatch.errors import ConfigError
from riskwatch.worker.logs import LogFormat, LogLevel  # noqa: TC001 - pydantic reads the annotations

if TYPE_CHECKING:
    from typing import Self

PREFIX = "RISKWATCH_"
ClockSource = Literal["wall", "event"]
Duration = Annotated[
    float, BeforeValidator(lambda given: parse_duration(given) if isinstance(given, str) else given)
]
"""Seconds, written as ``1s`` or ``5m``."""


class ProcessSettings(BaseSettings):
    """The settings of one process, read from its environment.

    Attributes
    ----------
    database : str
        URL of the database.
    config : Path or None
        Folder of rules, limits and reference data; ``None`` for the shipped one.
    log_level : str
        Lowest level of log lines.
    log_format : str
        ``auto``, ``console`` or ``json``.
    kafka, topic_prefix, kafka_* : str
        The broker; see :class:`~riskwatch.contracts.connection.KafkaConnection`.
    redis : SecretStr or None
        URL of the Redis mirror; ``None`` for no mirror.
    http : str
        ``host:port`` of health and metrics; ``off`` for no server.
    clock : str
        ``wall``: a live worker, whose time is that of the clock. ``event``: a replay through the
        workers, whose time is that of the events.
    tick : float
        Interval of ticks, seconds.
    batch : int
        Most records in one transaction.
    lease : float
        Time without renewal after which a standby replaces the leader, seconds.
    clock_ahead : float
        Most seconds by which the time of a live worker may be ahead of the broker's time.
    tick_lag : float
        Most seconds beside `tick` between the clock and the last tick of a worker that publishes
        heartbeats.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    database: str = "sqlite:///riskwatch.db"
    config: Path | None = None
    log_level: LogLevel = "info"
    log_format: LogFormat = "auto"
    kafka: str = "localhost:9092"
    topic_prefix: str = ""
    kafka_protocol: str = "PLAINTEXT"
    kafka_mechanism: str = "PLAIN"
    kafka_username: str = ""
    kafka_password: SecretStr = SecretStr("")
    kafka_cafile: str | None = None
    kafka_certfile: str | None = None
    kafka_keyfile: str | None = None
    redis: SecretStr | None = None
    http: str = "127.0.0.1:8000"
    clock: ClockSource = "wall"
    tick: Duration = 1.0
    batch: int = Field(default=2_000, ge=1, le=100_000)
    lease: Duration = 10.0
    clock_ahead: Annotated[Duration, Field(ge=0.0, le=60.0)] = 1.0
    tick_lag: Annotated[Duration, Field(ge=1.0, le=60.0)] = 10.0

    @property
    def connection(self) -> KafkaConnection:
        """The connection to the broker.

        Raises
        ------
        ConfigError
            If the settings are not a valid connection.
        """
        return KafkaConnection(
            servers=self.kafka,
            prefix=self.topic_prefix,
            protocol=self.kafka_protocol,
            mechanism=self.kafka_mechanism,
            username=self.kafka_username,
            password=self.kafka_password.get_secret_value(),
            cafile=self.kafka_cafile,
            certfile=self.kafka_certfile,
            keyfile=self.kafka_keyfile,
        )

    @classmethod
    def read(cls) -> Self:
        """Read the settings from the environment.

        Raises
        ------
        ConfigError
            If the value of a variable is not valid.
        """
        try:
            return cls()
        except ValidationError as error:
            first = error.errors()[0]
            name = PREFIX + str(first["loc"][0]).upper()
            raise ConfigError("environment", name, first["msg"], first["input"]) from error
