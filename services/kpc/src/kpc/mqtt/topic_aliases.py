"""The numbers with which a client abbreviates its topics (MQTT 5 §3.3.2.3.4); before MQTT 5 there are none."""

from dataclasses import replace

from kpc.mqtt.errors import RemoteProtocolError
from kpc.mqtt.packets import Publish
from kpc.mqtt.reasons import ReasonCode


class TopicAliases:
    """The topic aliases of one connection."""

    __slots__ = ("_maximum", "_topics")

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._topics: dict[int, str] = {}

    def resolve(self, publish: Publish) -> Publish:
        """The message with its topic in full, which the alias stands for from now on."""
        alias = publish.properties.topic_alias
        if alias is None:
            return publish
        if alias > self._maximum:  # [MQTT-3.3.2-9]
            raise RemoteProtocolError(f"the topic alias {alias}", ReasonCode.TOPIC_ALIAS_INVALID)
        if publish.topic:
            self._topics[alias] = publish.topic
        topic = self._topics.get(alias)
        if topic is None:
            raise RemoteProtocolError(f"the topic alias {alias} stands for nothing")
        return replace(publish, topic=topic, properties=replace(publish.properties, topic_alias=None))
