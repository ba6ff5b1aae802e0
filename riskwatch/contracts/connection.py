"""The connection to Kafka: address and credentials that workers, commands and clients share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from riskwatch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


VARIABLES: Final = {
    "servers": "RISKWATCH_KAFKA",
    "prefix": "RISKWATCH_TOPIC_PREFIX",
    "protocol": "RISKWATCH_KAFKA_PROTOCOL",
    "mechanism": "RISKWATCH_KAFKA_MECHANISM",
    "username": "RISKWATCH_KAFKA_USERNAME",
    "password": "RISKWATCH_KAFKA_PASSWORD",
    "cafile": "RISKWATCH_KAFKA_CAFILE",
    "certfile": "RISKWATCH_KAFKA_CERTFILE",
    "keyfile": "RISKWATCH_KAFKA_KEYFILE",
}
"""Environment variables, by the field of :class:`KafkaConnection` that they set."""


class KafkaConnection(msgspec.Struct, frozen=True, kw_only=True):
    """Address and credentials of a Kafka cluster.

    Attributes
    ----------
    servers : str
        Bootstrap servers, ``host:port`` separated by commas.
    prefix : str
        Prefix of every topic's name, so that several deployments can share a cluster.
    protocol : str
        ``PLAINTEXT``, ``SSL``, ``SASL_PLAINTEXT`` or ``SASL_SSL``.
    mechanism : str
        For SASL: ``PLAIN``, ``SCRAM-SHA-256`` or ``SCRAM-SHA-512``.
    username, password : str
        Credentials for SASL. The `repr` does not contain the password.
    cafile, certfile, keyfile : str or None
        PEM files for TLS; without `cafile` the system's certificate authorities are trusted.

    Examples
    --------
    >>> KafkaConnection(servers="localhost:9092", prefix="uat.").topic("riskwatch.fills")
    'uat.riskwatch.fills'
    """

    servers: str = "localhost:9092"
    prefix: str = ""
    protocol: str = "PLAINTEXT"
    mechanism: str = "PLAIN"
    username: str = ""
    password: str = ""
    cafile: str | None = None
    certfile: str | None = None
    keyfile: str | None = None

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ConfigError("kafka", "protocol", " or ".join(PROTOCOLS), self.protocol)
        if self.sasl and self.mechanism not in MECHANISMS:
            raise ConfigError("kafka", "mechanism", " or ".join(MECHANISMS), self.mechanism)
        if self.sasl and not (self.username and self.password):
            raise ConfigError("kafka", "username", f"a username and a password for {self.protocol}")
        for server in self.servers.split(","):
            host, _, port = server.strip().rpartition(":")
            if not host or not port.isdigit():
                raise ConfigError("kafka", "servers", "host:port, separated by commas", server)

    @classmethod
    def from_env(
        cls, role: str | None = None, environment: Mapping[str, str] | None = None
    ) -> Self:
        """Return the connection that ``RISKWATCH_*`` variables name, as every command has it.

        Parameters
        ----------
        role : str, optional
            Role of the broker whose user connects, such as ``desk`` or ``reader``. If the variable
            ``RISKWATCH_KAFKA_<ROLE>_PASSWORD`` is set, the username is the role and this is its
            password. Otherwise the username and the password of the environment count.
        environment : mapping, optional
            The variables; else those of the process. An empty one counts as absent.

        Raises
        ------
        ConfigError
            If the variables do not give a connection.

        Examples
        --------
        >>> KafkaConnection.from_env(environment={"RISKWATCH_KAFKA": "broker:9094"})
        KafkaConnection(broker:9094, PLAINTEXT, prefix='')
        """
        given = os.environ if environment is None else environment
        found = {field: given[name] for field, name in VARIABLES.items() if given.get(name)}
        own = given.get(f"RISKWATCH_KAFKA_{role.upper()}_PASSWORD") if role else None
        if role and own:
            found |= {"username": role, "password": own}
        return cls(**found)

    def __repr__(self) -> str:
        return f"KafkaConnection({self.servers}, {self.protocol}, prefix={self.prefix!r})"

    @property
    def sasl(self) -> bool:
        """Whether clients authenticate with SASL."""
        return self.protocol.startswith("SASL")

    @property
    def tls(self) -> bool:
        """Whether the connection uses TLS."""
        return self.protocol.endswith("SSL")

    def topic(self, name: str) -> str:
        """Return the name on the cluster of a topic of the contract."""
        return self.prefix + name

    def plain(self, topic: str) -> str:
        """Return the contract's name of a topic on the cluster; the inverse of :meth:`topic`.

        Raises
        ------
        ValueError
            If the topic does not belong to this deployment.
        """
        if not topic.startswith(self.prefix):
            raise ValueError(f"topic must start with {self.prefix!r}, was {topic!r}")
        return topic[len(self.prefix) :]

    def options(self) -> dict[str, Any]:
        """Return the connection as keyword arguments of any kafka-python client."""
        options: dict[str, Any] = {
            "bootstrap_servers": [server.strip() for server in self.servers.split(",")],
            "security_protocol": self.protocol,
        }
        if self.sasl:
            options |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        if self.tls:
            files = {
                "ssl_cafile": self.cafile,
                "ssl_certfile": self.certfile,
                "ssl_keyfile": self.keyfile,
            }
            options |= {name: value for name, value in files.items() if value}
        return options
