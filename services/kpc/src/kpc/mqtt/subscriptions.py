"""What a client subscribed to (MQTT 3.1.1 §3.8, MQTT 5 §3.8).

Messages reach a client whether or not it subscribed, and each once. A subscription is kept for what MQTT 5 wants said
about it: its identifier goes with the messages that match it, and ending one that never was is told from ending one.
"""

from kpc.mqtt.errors import RemoteProtocolError
from kpc.mqtt.limits import SessionLimits
from kpc.mqtt.packets import Subscribe, Subscription, Unsubscribe
from kpc.mqtt.reasons import ReasonCode
from kpc.mqtt.topics import SHARED, matches
from kpc.mqtt.versions import Version

MAX_QOS = 1
"""The highest QoS of what we send. Devices know no better: PubSubClient, the most common one, has no QoS 2."""


class Subscriptions:
    """The topic filters of one connection, and those among them that have an identifier."""

    __slots__ = ("_filters", "_identifiers", "_limits")

    def __init__(self, limits: SessionLimits) -> None:
        self._limits = limits
        # Dicts as ordered sets: an empty one takes a quarter of the memory of an empty set.
        self._filters: dict[str, None] = {}
        self._identifiers: dict[str, int] = {}

    def subscribe(self, subscribe: Subscribe, version: Version) -> tuple[ReasonCode, ...]:
        """For each subscription the QoS that is granted, or why there is none."""
        if version.has_properties and any(each.topic_filter.startswith(SHARED) for each in subscribe.subscriptions):
            # MQTT 5 §3.2.2.3.13: "this is a Protocol Error. The Server uses DISCONNECT with Reason Code 0x9E".
            reason_code = ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
            raise RemoteProtocolError("shared subscriptions are not supported", reason_code)
        identifier = next(iter(subscribe.properties.subscription_identifiers), None)
        return tuple(self._add(each, identifier) for each in subscribe.subscriptions)

    def unsubscribe(self, unsubscribe: Unsubscribe) -> tuple[ReasonCode, ...]:
        """For each topic filter whether it was there."""
        return tuple(map(self._remove, unsubscribe.topic_filters))

    def identifiers(self, topic: str) -> tuple[int, ...]:
        """The identifiers of the subscriptions that a message matches [MQTT-3.3.4-3]."""
        if not self._identifiers:
            return ()
        levels = topic.split("/")
        return tuple(identifier for name, identifier in self._identifiers.items() if matches(name, levels))

    def _add(self, subscription: Subscription, identifier: int | None) -> ReasonCode:
        name, limits = subscription.topic_filter, self._limits
        if len(name) > limits.max_filter_length or name.count("/") >= limits.max_filter_levels:
            return ReasonCode.TOPIC_FILTER_INVALID
        # [MQTT-3.8.4-3] "it MUST completely replace that existing Subscription with a new Subscription."
        self._remove(name)
        if len(self._filters) >= limits.max_subscriptions:
            return ReasonCode.QUOTA_EXCEEDED
        if identifier is not None:
            if len(self._identifiers) >= limits.max_subscription_identifiers:
                return ReasonCode.QUOTA_EXCEEDED
            self._identifiers[name] = identifier
        self._filters[name] = None
        return ReasonCode(min(subscription.qos, MAX_QOS))

    def _remove(self, topic_filter: str) -> ReasonCode:
        self._identifiers.pop(topic_filter, None)
        if topic_filter not in self._filters:
            return ReasonCode.NO_SUBSCRIPTION_EXISTED
        del self._filters[topic_filter]
        return ReasonCode.SUCCESS
