"""The MQTT connections of this replica, by their number and by the client id that they gave.

Many devices of the field share one client id, as tutorials have them do: that alone ends no connection.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from kpc.mqtt_connection import Connection


class Clients:
    def __init__(self) -> None:
        self._connections: dict[int, Connection] = {}
        self._by_client_id: dict[str, dict[int, Connection]] = {}

    @property
    def connections(self) -> Mapping[int, Connection]:
        return MappingProxyType(self._connections)

    def add(self, connection: Connection) -> None:
        self._connections[connection.id] = connection
        if connection.client_id:
            self._by_client_id.setdefault(connection.client_id, {})[connection.id] = connection

    def remove(self, connection: Connection) -> None:
        del self._connections[connection.id]
        if connection.client_id:
            same = self._by_client_id[connection.client_id]
            del same[connection.id]
            if not same:
                del self._by_client_id[connection.client_id]

    def others_of(self, connection: Connection) -> Iterator[Connection]:
        """The other connections with its client id; an empty one is nobody's."""
        for other in tuple(self._by_client_id.get(connection.client_id, {}).values()):
            if other is not connection:
                yield other

    def others_among(self, connection_ids: Iterable[int], connection: Connection) -> Iterator[Connection]:
        """Those of its others that are among these: few of what may be thousands."""
        for connection_id in connection_ids:
            other = self._connections.get(connection_id)
            if other is not None and other is not connection and other.client_id == connection.client_id != "":
                yield other
