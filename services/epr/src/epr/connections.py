"""Which communication replica holds an endpoint, and what its metadata say about that (Kaa's EPL) [pure].

Each replica announces what it does: it opens an endpoint's session, it closes it. Such announcements come in any order
and more than once. So the latest time of each is kept by replica: whatever the order, the outcome is the same. The
replica that opened last holds the endpoint, whatever the others say; the endpoint is connected while that one has not
closed its session since.

    {"connectivity": {"metadata-keys": {"state": "<key>", "state-ts": "<key>"}}}

is the configuration of an application version: the keys for the state, true or false, and for the time of its last
change in milliseconds. A key that is not configured is not written.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from epr.metadata import Metadata, check_keys
from kaa_common.errors import BadRequest

KEPT_FOR_MS = 60_000
"""How long what a replica said that does not hold the endpoint is kept: nothing is on its way that long."""
MAX_CONNECTIONS = 8
"""Replicas that are remembered for an endpoint, the latest ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """What a replica said last; 0 for what it never said. Times are UNIX milliseconds."""

    replica_id: str
    opened_at: int = 0
    closed_at: int = 0
    since: int = 0
    """When an open session began: replicas repeat themselves, so that may be before `opened_at`."""

    @property
    def is_open(self) -> bool:
        # At one and the same time a device comes back: nobody comes and goes within a millisecond.
        return 0 < self.opened_at >= self.closed_at


Connections = tuple[Connection, ...]


def opened(connections: Connections, replica_id: str, at: int) -> Connections:
    """The replica has opened a session, or says that it still is."""
    before = of_replica(connections, replica_id)
    since = min(at, before.since) if before.is_open and at >= before.closed_at else max(at, before.opened_at)
    return _with(connections, before, replace(before, opened_at=max(at, before.opened_at), since=since))


def closed(connections: Connections, replica_id: str, at: int) -> Connections:
    """The replica has closed its session."""
    before = of_replica(connections, replica_id)
    since = before.since if before.since >= at else before.opened_at
    return _with(connections, before, replace(before, closed_at=max(at, before.closed_at), since=since))


def of_replica(connections: Connections, replica_id: str) -> Connection:
    return next((known for known in connections if known.replica_id == replica_id), Connection(replica_id=replica_id))


def latest(connections: Connections) -> Connection | None:
    """The connection that was opened last; the communication replicas decide in the same way between two."""
    return max(connections, key=lambda known: (known.opened_at, known.replica_id), default=None)


def holder(connections: Connections) -> str | None:
    """The replica that holds the endpoint; None when it is not connected."""
    last = latest(connections)
    return last.replica_id if last is not None and last.is_open else None


def _with(connections: Connections, before: Connection, after: Connection) -> Connections:
    if after == before:
        return connections
    known = (*(known for known in connections if known.replica_id != after.replica_id), after)
    last = latest(known)
    others = [other for other in known if other is not last and _said_at(after) - _said_at(other) < KEPT_FOR_MS]
    return tuple(other for other in (last, *others[1 - MAX_CONNECTIONS :]) if other is not None)


def _said_at(connection: Connection) -> int:
    return max(connection.opened_at, connection.closed_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectivityKeys:
    """The metadata keys of an application version that tell whether an endpoint is connected."""

    state: str | None = None
    state_ts: str | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "ConnectivityKeys":
        """Those of an application version's configuration. Raises ValueError when it is malformed."""
        keys = _member(_member(config, "connectivity"), "metadata-keys")
        found = cls(state=keys.get("state"), state_ts=keys.get("state-ts"))
        try:
            check_keys(key for key in (found.state, found.state_ts) if key is not None)
        except BadRequest as exc:
            raise ValueError(str(exc)) from exc
        return found

    def __bool__(self) -> bool:
        return self.state is not None or self.state_ts is not None

    def written(self, metadata: Metadata, connections: Connections) -> Metadata:
        """The metadata that say what the connections are; themselves when they do already."""
        last = latest(connections)
        if last is None:
            return metadata
        wanted: dict[str, Any] = {}
        if self.state is not None:
            wanted[self.state] = last.is_open
        if self.state_ts is not None:
            wanted[self.state_ts] = last.since if last.is_open else last.closed_at
        if all(key in metadata and _same(metadata[key], value) for key, value in wanted.items()):
            return metadata
        return {**metadata, **wanted}


NO_KEYS = ConnectivityKeys()


def _member(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = config.get(name)
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{name} is not an object")
    return value or {}


def _same(one: Any, other: Any) -> bool:
    # 1, 1.0 and true are equal in Python, and three values in JSON.
    return type(one) is type(other) and bool(one == other)
