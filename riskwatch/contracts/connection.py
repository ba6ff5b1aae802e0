"""The connection to Kafka: address and credentials that workers, commands and clients share."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from riskwatch.errors import ConfigError

PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


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
