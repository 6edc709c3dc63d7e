"""Which endpoint is connected through which connections of this replica [pure].

An endpoint belongs to a connection from its first identified message on it, until the connection ends or its token is
revoked. It may have several, here and on other replicas; it is connected while there is any. The replica on which it
showed up last holds it: that one routes to its connections, and says when it has gone (docs/adr/0024). The others
keep theirs in reserve, and take the endpoint back when it is said to have gone while they still have it, or when it
speaks to them a while after it left.

Replicas do not hear each other's events in one order. Of two that claim an endpoint at once the later claim wins, and
a claim that was overlooked is repaired by the next goodbye.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kaa_common.errors import TooManyRequests

TAKE_BACK_AFTER = 60_000
"""Milliseconds after which an endpoint that left for another replica comes back by a message on a connection that it
had before: the other may have died without a goodbye. Two connections that speak in turns do not pull it to and fro."""
SAY_VERSION_AFTER = 1000
"""Milliseconds between two claims of an endpoint that speaks as another application version than before."""
MAX_CONNECTIONS_OF_ENDPOINT = 16
"""The latest ones are kept: what is left of more are connections whose end was not noticed yet."""
MAX_ENDPOINTS_OF_CONNECTION = 10_000
"""Far more than there are devices behind one gateway, at some 600 bytes each."""

MAX_HEARD_ON_CONNECTION = 64
"""Pairs of an application version and an endpoint-unaware extension, the latest ones: a device has one or two."""


class Session(NamedTuple):
    """An endpoint on a connection."""

    connection_id: int
    app_version_name: str
    tenant_id: str
    app_name: str
    token: str
    token_id: str
    qos: int
    """The highest that the client has used for it."""

    def __repr__(self) -> str:
        return f"Session({self.connection_id}, {self.app_version_name!r}, {self.token_id!r})"


@dataclass(frozen=True, slots=True)
class Change:
    """Endpoint id to application version name, of those that came and those that went."""

    connected: Mapping[str, str] = field(default_factory=dict)
    disconnected: Mapping[str, str] = field(default_factory=dict)
    ended_sessions: int = 0
    other_connections: tuple[int, ...] = ()
    """Those that the endpoint has besides a new one."""


NO_CHANGE = Change()


@dataclass(slots=True)
class _Place:
    """Where an endpoint is; never without a session."""

    app_version_name: str
    """That of its last message."""
    claimed_as: str
    """The application version that this replica has said last."""
    since: int
    """When that was."""
    left_at: int | None = None
    """When another replica claimed it; None while it is held here."""
    sessions: dict[int, Session] = field(default_factory=dict)

    def is_due(self, now: int) -> bool:
        """Whether a message is reason to claim it again."""
        if self.left_at is not None:
            return now - self.left_at >= TAKE_BACK_AFTER
        return self.claimed_as != self.app_version_name and now - self.since >= SAY_VERSION_AFTER


class Presence:
    """The endpoints of this replica. Times are UNIX milliseconds, as in the events."""

    def __init__(self, replica_id: str) -> None:
        self._replica_id = replica_id
        self._places: dict[str, _Place] = {}
        self._by_connection: dict[int, set[str]] = {}

    def identified(self, endpoint_id: str, session: Session, now: int) -> Change:
        """The endpoint sent a message, or subscribed, on a connection.

        Raises TooManyRequests when there are too many others on it.
        """
        place = self._places.get(endpoint_id)
        known = None if place is None else place.sessions.get(session.connection_id)
        if place is None or known is None:
            return self._arrived(endpoint_id, place, session, now)
        if session.qos < known.qos:
            session = session._replace(qos=known.qos)
        if session != known:
            place.sessions[session.connection_id] = session
            place.app_version_name = session.app_version_name
        if place.is_due(now):
            return Change(connected={endpoint_id: self._claim(place, now)})
        return NO_CHANGE

    def connection_ended(self, connection_id: int) -> Change:
        """Everything that was on the connection is gone."""
        endpoints = self._by_connection.pop(connection_id, set())
        disconnected: dict[str, str] = {}
        for endpoint_id in endpoints:
            disconnected |= self._end(endpoint_id, connection_id)
        return Change(disconnected=disconnected, ended_sessions=len(endpoints))

    def revoked(self, endpoint_id: str, token_ids: Collection[str]) -> Change:
        """Tokens of the endpoint are no longer good."""
        place = self._places.get(endpoint_id)
        if place is None:
            return NO_CHANGE
        gone = [number for number, session in place.sessions.items() if session.token_id in token_ids]
        disconnected: dict[str, str] = {}
        for connection_id in gone:
            self._leave(endpoint_id, connection_id)
            disconnected |= self._end(endpoint_id, connection_id)
        return Change(disconnected=disconnected, ended_sessions=len(gone))

    def connected_elsewhere(self, endpoint_ids: Iterable[str], replica_id: str, timestamp: int, now: int) -> None:
        """Another replica claims endpoints, since the time of the timestamp."""
        for endpoint_id in endpoint_ids:
            place = self._places.get(endpoint_id)
            if place is not None and (place.since, self._replica_id) < (timestamp, replica_id):
                place.left_at = now

    def disconnected_elsewhere(self, endpoint_ids: Iterable[str], now: int) -> Change:
        """Another replica says that endpoints have gone; those that are still here have not."""
        still_here = {endpoint_id: place for endpoint_id in endpoint_ids if (place := self._places.get(endpoint_id))}
        return Change(connected={endpoint_id: self._claim(place, now) for endpoint_id, place in still_here.items()})

    def claim_again(self, endpoint_ids: Iterable[str], now: int) -> dict[str, str]:
        """Endpoint id to application version name, of those that are held here, to be announced as of now."""
        places = {name: place for name in endpoint_ids if (place := self._places.get(name)) and place.left_at is None}
        return {endpoint_id: self._claim(place, now) for endpoint_id, place in places.items()}

    # To be read

    def routes(self, endpoint_id: str) -> tuple[Session, ...]:
        """Where to send what is for the endpoint; nowhere when another replica holds it."""
        place = self._places.get(endpoint_id)
        return () if place is None or place.left_at is not None else tuple(place.sessions.values())

    def sessions_of(self, endpoint_id: str) -> tuple[Session, ...]:
        """All of the endpoint's connections to this replica."""
        place = self._places.get(endpoint_id)
        return () if place is None else tuple(place.sessions.values())

    def endpoints_of(self, connection_id: int) -> frozenset[str]:
        return frozenset(self._by_connection.get(connection_id, ()))

    def held(self) -> dict[str, str]:
        """Endpoint id to application version name, of those that this replica holds."""
        return {name: place.app_version_name for name, place in self._places.items() if place.left_at is None}

    def held_since(self) -> dict[str, tuple[str, int]]:
        """As `held`, with the time at which this replica claimed it."""
        places = self._places.items()
        return {name: (place.app_version_name, place.since) for name, place in places if place.left_at is None}

    def tokens(self) -> set[tuple[str, str]]:
        """Endpoint id and token id of each session."""
        places = self._places.items()
        return {(endpoint_id, session.token_id) for endpoint_id, place in places for session in place.sessions.values()}

    # How it is done

    def _arrived(self, endpoint_id: str, place: _Place | None, session: Session, now: int) -> Change:
        endpoints = self._by_connection.get(session.connection_id, ())
        if len(endpoints) >= MAX_ENDPOINTS_OF_CONNECTION:
            raise TooManyRequests("too many endpoints on this connection")
        version = session.app_version_name
        is_news = place is None or place.left_at is not None or place.claimed_as != version
        if place is None:
            place = self._places[endpoint_id] = _Place(version, version, now)
        place.app_version_name = version
        others = tuple(place.sessions)
        if len(others) >= MAX_CONNECTIONS_OF_ENDPOINT:
            self._leave(endpoint_id, others[0])
            del place.sessions[others[0]]
        self._by_connection.setdefault(session.connection_id, set()).add(endpoint_id)
        place.sessions[session.connection_id] = session
        connected = {endpoint_id: self._claim(place, now)} if is_news else {}
        return Change(connected, other_connections=others)

    def _claim(self, place: _Place, now: int) -> str:
        place.since, place.left_at, place.claimed_as = now, None, place.app_version_name
        return place.claimed_as

    def _end(self, endpoint_id: str, connection_id: int) -> dict[str, str]:
        """The endpoint, if it is disconnected now."""
        place = self._places[endpoint_id]
        del place.sessions[connection_id]
        if place.sessions:
            return {}
        del self._places[endpoint_id]
        return {} if place.left_at is not None else {endpoint_id: place.app_version_name}

    def _leave(self, endpoint_id: str, connection_id: int) -> None:
        endpoints = self._by_connection[connection_id]
        endpoints.discard(endpoint_id)
        if not endpoints:
            del self._by_connection[connection_id]


class Listeners:
    """The connections on which an endpoint-unaware extension was addressed, by application version and extension."""

    def __init__(self) -> None:
        self._connections: dict[tuple[str, str], dict[int, int]] = {}
        self._by_connection: dict[int, dict[tuple[str, str], None]] = {}

    def heard(self, app_version_name: str, extension: str, connection_id: int, qos: int) -> None:
        key = (app_version_name, extension)
        keys = self._by_connection.setdefault(connection_id, {})
        if key not in keys and len(keys) >= MAX_HEARD_ON_CONNECTION:
            self._forget(next(iter(keys)), connection_id)
        keys[key] = None
        connections = self._connections.setdefault(key, {})
        connections[connection_id] = max(qos, connections.get(connection_id, 0))

    def connection_ended(self, connection_id: int) -> None:
        for key in tuple(self._by_connection.get(connection_id, ())):
            self._forget(key, connection_id)

    def of(self, app_version_name: str, extension: str) -> dict[int, int]:
        """Connection id to the highest QoS that the client has used."""
        return dict(self._connections.get((app_version_name, extension), {}))

    def _forget(self, key: tuple[str, str], connection_id: int) -> None:
        del self._by_connection[connection_id][key]
        if not self._by_connection[connection_id]:
            del self._by_connection[connection_id]
        del self._connections[key][connection_id]
        if not self._connections[key]:
            del self._connections[key]
