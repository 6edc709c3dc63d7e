"""Which endpoint is connected through which connection of this replica.

An endpoint belongs to a connection from its first identified message on it, until the connection ends, the endpoint
comes through another one, or its token is revoked.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Session:
    """An endpoint on a connection."""

    connection_id: int
    app_version_name: str
    token_id: str


@dataclass(frozen=True, slots=True)
class Change:
    """Endpoint id to application version name, of those that came and those that went."""

    connected: Mapping[str, str] = field(default_factory=dict)
    disconnected: Mapping[str, str] = field(default_factory=dict)
    left_connection: int | None = None
    """The connection that the endpoint was on before."""


NO_CHANGE = Change()


class Presence:
    """The connected endpoints."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._by_connection: dict[int, set[str]] = {}

    def identified(self, endpoint_id: str, session: Session) -> Change:
        """The endpoint sent a message on a connection."""
        before = self._sessions.get(endpoint_id)
        if before == session:
            return NO_CHANGE
        self._sessions[endpoint_id] = session
        if before is not None and before.connection_id == session.connection_id:
            return NO_CHANGE
        self._by_connection.setdefault(session.connection_id, set()).add(endpoint_id)
        connected = {endpoint_id: session.app_version_name}
        if before is None:
            return Change(connected)
        self._leave(before.connection_id, endpoint_id)
        return Change(connected, {endpoint_id: before.app_version_name}, before.connection_id)

    def connection_ended(self, connection_id: int) -> Change:
        """Everything that was on the connection is gone."""
        gone = self._by_connection.pop(connection_id, set())
        return Change(disconnected={endpoint: self._sessions.pop(endpoint).app_version_name for endpoint in gone})

    def tokens(self) -> dict[str, str]:
        """Endpoint id to the id of the token that its session uses."""
        return {endpoint_id: session.token_id for endpoint_id, session in self._sessions.items()}

    def revoked(self, endpoint_id: str, token_ids: Collection[str]) -> Change:
        """Tokens of the endpoint are no longer good."""
        session = self._sessions.get(endpoint_id)
        if session is None or session.token_id not in token_ids:
            return NO_CHANGE
        del self._sessions[endpoint_id]
        self._leave(session.connection_id, endpoint_id)
        return Change(disconnected={endpoint_id: session.app_version_name})

    def _leave(self, connection_id: int, endpoint_id: str) -> None:
        endpoints = self._by_connection[connection_id]
        endpoints.discard(endpoint_id)
        if not endpoints:
            del self._by_connection[connection_id]
