"""Who may write and read which topic: the roles of broker users, and their rights on a cluster.

The broker checks the rights (its *authorizer*). Workers, and people who create topics, connect as a
super user of the broker. Everybody else has a user of their own with one role. This module sets the
rights of such a user exactly, and lists users that may write more than a role allows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)
from kafka.errors import SecurityDisabledError

from riskwatch.contracts.topics import TOPICS
from riskwatch.errors import BrokerError, ConfigError
from riskwatch.kafka.topics import admin

if TYPE_CHECKING:
    from kafka import KafkaAdminClient

    from riskwatch.contracts.connection import KafkaConnection


class TopicRole(msgspec.Struct, frozen=True):
    """A role of broker users.

    Attributes
    ----------
    writes, reads : tuple of str
        Plain names of topics.
    about : str
        Who has it, in one line.
    groups : bool
        Whether it may use consumer groups of any name.
    """

    writes: tuple[str, ...]
    reads: tuple[str, ...]
    about: str
    groups: bool = False


_OUTPUTS: Final = tuple(t.name for t in TOPICS.values() if t.role == "output")
_SWITCH: Final = ("riskwatch.killswitch", "riskwatch.heartbeat", "riskwatch.drills")
ROLES: Final[dict[str, TopicRole]] = {
    "client": TopicRole(("riskwatch.acks",), _SWITCH, "order paths"),
    "desk": TopicRole(
        ("riskwatch.fills", "riskwatch.balances"), (), "sources of fills and balances"
    ),
    "feed": TopicRole(("riskwatch.pegs", "riskwatch.quotes"), (), "market data"),
    "news": TopicRole(("riskwatch.credit",), (), "credit news and legal data"),
    "operator": TopicRole(("riskwatch.commands",), _OUTPUTS, "people who command", groups=True),
    "reader": TopicRole((), _OUTPUTS, "dashboards and other readers of outputs", groups=True),
}
"""Roles by name. No role may write outputs, dead letters, or topics between workers."""
NO_AUTHORIZER: Final = "the broker checks no rights: whoever reaches it may write every topic"
ALL_HOSTS: Final = "*"
_WRITING: Final = (ACLOperation.WRITE, ACLOperation.ALL)

Right = tuple[ResourceType, str, ACLOperation]
"""Kind and name of a resource, and what a user may do with it."""


def role_rights(role: str, connection: KafkaConnection) -> set[Right]:
    """Return the rights of a role on a cluster.

    Raises
    ------
    ConfigError
        If there is no such role.

    Examples
    --------
    >>> from riskwatch.contracts.connection import KafkaConnection
    >>> sorted((name, str(do.name)) for _, name, do in role_rights("news", KafkaConnection()))
    [('riskwatch.credit', 'WRITE')]
    """
    found = ROLES.get(role)
    if found is None:
        raise ConfigError("topics", "--grant", f"a role ({', '.join(ROLES)})", role)
    rights = {(ResourceType.TOPIC, connection.topic(t), ACLOperation.WRITE) for t in found.writes}
    rights |= {(ResourceType.TOPIC, connection.topic(t), ACLOperation.READ) for t in found.reads}
    if found.groups:
        rights.add((ResourceType.GROUP, "*", ACLOperation.READ))
    return rights


def grant_role(connection: KafkaConnection, role: str, user: str) -> tuple[int, int]:
    """Give a broker user exactly the rights of a role, and return how many changed.

    Rights of the user on topics of another deployment (another prefix) stay. Consumer groups are
    not of a deployment: a user that has groups already keeps them.

    Returns
    -------
    tuple of (int, int)
        Number of rights that were added, and that were taken away.

    Raises
    ------
    ConfigError
        If there is no such role, or the user's name is empty or ``*``.
    BrokerError
        If the broker has no authorizer, cannot be reached, or refuses.
    """
    if not user or user == "*":
        raise ConfigError("topics", "--grant", "ROLE=USER with a name of a user", f"{role}={user}")
    wanted, principal = role_rights(role, connection), f"User:{user}"
    with admin(connection) as client:
        found = _all_acls(client)
        if found is None:
            raise BrokerError(f"{connection.servers}: {NO_AUTHORIZER}")
        own = [acl for acl in found if acl.principal == principal and _is_ours(acl, connection)]
        present = {_right(acl) for acl in own if _is_plain(acl)}
        add = [_acl(principal, right) for right in sorted(wanted - present, key=_order)]
        drop = [
            acl
            for acl in own
            if acl.resource_pattern.resource_type is ResourceType.TOPIC
            and not (_is_plain(acl) and _right(acl) in wanted)
        ]
        if add:
            failed = client.create_acls(add)["failed"]
            if failed:
                raise BrokerError(f"{connection.servers}: rights of {user}: {failed[0]}")
        if drop:
            client.delete_acls([_exact_filter(acl) for acl in drop])
    return len(add), len(drop)


def topic_writers(connection: KafkaConnection) -> dict[str, list[str]] | None:
    """Return the users who may write, by the plain name of each topic.

    Super users are not among them, because the broker does not tell who they are.

    Returns
    -------
    dict of str to list of str, or None
        ``None`` if the broker checks no rights at all.

    Raises
    ------
    BrokerError
        If the broker cannot be reached, or refuses.
    """
    with admin(connection) as client:
        acls = _all_acls(client)
    if acls is None:
        return None
    writing = [
        acl
        for acl in acls
        if acl.permission_type is ACLPermissionType.ALLOW and acl.operation in _WRITING
    ]
    return {
        name: sorted(
            {a.principal for a in writing if _covers(a.resource_pattern, connection.topic(name))}
        )
        for name in TOPICS
    }


def unexpected_writers(writers: dict[str, list[str]]) -> list[str]:
    """Return one line per user who may write a topic that no role may write.

    Examples
    --------
    >>> unexpected_writers({"riskwatch.fills": ["User:a"], "riskwatch.killswitch": ["User:b"]})
    ['User:b may write riskwatch.killswitch']
    """
    granted = {name for role in ROLES.values() for name in role.writes}
    return [
        f"{user} may write {name}"
        for name, users in writers.items()
        if name not in granted
        for user in users
    ]


def _all_acls(client: KafkaAdminClient) -> list[ACL] | None:
    """Return every right on the cluster; ``None`` if the broker has no authorizer."""
    anything = ACLFilter(
        principal=None,
        host=None,
        operation=ACLOperation.ANY,
        permission_type=ACLPermissionType.ANY,
        resource_pattern=ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY),
    )
    try:
        found, error = client.describe_acls(anything)
    except SecurityDisabledError:
        return None
    if error is SecurityDisabledError or isinstance(error, SecurityDisabledError):
        return None
    return list(found)


def _is_ours(acl: ACL, connection: KafkaConnection) -> bool:
    """Whether a right is about topics of this deployment, or about groups."""
    pattern = acl.resource_pattern
    if pattern.resource_type is ResourceType.GROUP:
        return True
    return pattern.resource_type is ResourceType.TOPIC and any(
        _covers(pattern, connection.topic(name)) for name in TOPICS
    )


def _covers(pattern: ResourcePattern, topic: str) -> bool:
    """Whether a pattern of a resource includes a topic."""
    if pattern.resource_type is not ResourceType.TOPIC:
        return False
    if pattern.pattern_type is ACLResourcePatternType.PREFIXED:
        return topic.startswith(pattern.resource_name)
    return pattern.resource_name in (topic, "*")


def _is_plain(acl: ACL) -> bool:
    """Whether a right is as this module writes it."""
    return (
        acl.permission_type is ACLPermissionType.ALLOW
        and acl.host == ALL_HOSTS
        and acl.resource_pattern.pattern_type is ACLResourcePatternType.LITERAL
    )


def _right(acl: ACL) -> Right:
    pattern = acl.resource_pattern
    return pattern.resource_type, pattern.resource_name, acl.operation


def _order(right: Right) -> tuple[Any, ...]:
    return right[0].value, right[1], right[2].value


def _acl(principal: str, right: Right) -> ACL:
    kind, name, operation = right
    pattern = ResourcePattern(kind, name, ACLResourcePatternType.LITERAL)
    return ACL(principal, ALL_HOSTS, operation, ACLPermissionType.ALLOW, pattern)


def _exact_filter(acl: ACL) -> ACLFilter:
    pattern = acl.resource_pattern
    return ACLFilter(
        principal=acl.principal,
        host=acl.host,
        operation=acl.operation,
        permission_type=acl.permission_type,
        resource_pattern=ResourcePatternFilter(
            pattern.resource_type, pattern.resource_name, pattern.pattern_type
        ),
    )
