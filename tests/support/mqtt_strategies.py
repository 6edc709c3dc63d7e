"""Every packet of every version of MQTT, as hypothesis strategies."""

from typing import Any

from hypothesis import strategies as st

from kpc.mqtt.acknowledgements import Puback, Pubcomp, Pubrec, Pubrel
from kpc.mqtt.checks import MAX_UINT16
from kpc.mqtt.packet_types import PacketType
from kpc.mqtt.packets import (
    Auth,
    ClientPacket,
    Connack,
    Connect,
    Disconnect,
    Pingreq,
    Pingresp,
    Publish,
    ServerPacket,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Will,
)
from kpc.mqtt.properties import NO_PROPERTIES, PROPERTY_TYPES, WILL, Holder, Properties
from kpc.mqtt.reasons import FROM_CLIENT, REASONS, ReasonCode
from kpc.mqtt.versions import VERSIONS, Version
from kpc.mqtt.wire import MAX_VARIABLE
from support.mqtt_codec import FROM_RETURN_CODE

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
topic_names = st.text(st.characters(codec="utf-8", exclude_characters="\0+#"), min_size=1, max_size=12)
topic_filters = (
    st.lists(st.one_of(st.just("+"), topic_names, st.just("")), min_size=1, max_size=4)
    .map("/".join)
    .flatmap(lambda name: st.sampled_from([name, f"{name}/#"]) if name else st.just("#"))
)
packet_ids = st.integers(1, MAX_UINT16)
blobs = st.binary(max_size=20)
versions = st.sampled_from(list(VERSIONS.values()))

numbers = st.integers(1, MAX_UINT16)
longer_numbers = st.integers(1, 2**32 - 1)
flags = st.integers(0, 1)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "response_topic": topic_names,
    "subscription_identifiers": st.lists(st.integers(1, MAX_VARIABLE), max_size=1).map(tuple),
    "user_properties": st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
    **dict.fromkeys(("correlation_data", "authentication_data"), blobs),
    **dict.fromkeys(("receive_maximum", "topic_alias", "topic_alias_maximum", "server_keep_alive"), numbers),
    **dict.fromkeys(("message_expiry_interval", "will_delay_interval", "session_expiry_interval"), longer_numbers),
    "maximum_packet_size": longer_numbers,
    **dict.fromkeys(("payload_format_indicator", "maximum_qos", "retain_available"), flags),
    **dict.fromkeys(("request_problem_information", "request_response_information"), flags),
    **dict.fromkeys(("wildcard_subscription_available", "shared_subscription_available"), flags),
    "subscription_identifier_available": flags,
}
"""Of each property that is not a plain text."""


def properties(version: Version, holder: Holder, *without: str) -> st.SearchStrategy[Properties]:
    """Any properties that *holder* may carry, in a version that has some."""
    if not version.has_properties:
        return st.just(NO_PROPERTIES)
    names = [row.name for row in PROPERTY_TYPES if holder in row.holders and row.name not in without]
    some = st.fixed_dictionaries({}, optional={name: VALUES.get(name, texts) for name in names})
    return some.map(lambda values: Properties(**values)).map(
        lambda made: NO_PROPERTIES if made == NO_PROPERTIES else made
    )


def reasons(version: Version, packet_type: PacketType, *, from_client: bool = False) -> st.SearchStrategy[ReasonCode]:
    if not version.has_properties:
        return st.just(ReasonCode.SUCCESS)
    allowed = FROM_CLIENT.get(packet_type, REASONS[packet_type]) if from_client else REASONS[packet_type]
    return st.sampled_from(sorted(allowed))


def acknowledgements(version: Version, *kinds: type[Puback | Pubrec | Pubrel | Pubcomp]) -> st.SearchStrategy[Any]:
    return st.one_of(
        *(
            st.builds(
                kind,
                packet_id=packet_ids,
                reason_code=reasons(version, kind.packet_type),
                properties=properties(version, kind.packet_type),
            )
            for kind in kinds
        )
    )


@st.composite
def connects(draw: st.DrawFn, version: Version) -> Connect:
    will = st.builds(
        Will,
        topic=topic_names,
        payload=blobs,
        qos=st.integers(0, 2),
        retain=st.booleans(),
        properties=properties(version, WILL),
    )
    username = draw(st.none() | texts)
    without = ("authentication_data",) if draw(st.booleans()) else ("authentication_method", "authentication_data")
    return Connect(
        version=version,
        client_id=draw(texts),
        keep_alive=draw(st.integers(0, MAX_UINT16)),
        clean_session=draw(st.booleans()),
        username=username,
        password=draw(st.none() | blobs) if username is not None or not version.password_needs_user_name else None,
        will=draw(st.none() | will),
        properties=draw(properties(version, PacketType.CONNECT, *without)),
    )


@st.composite
def publishes(draw: st.DrawFn, version: Version, *, from_client: bool) -> Publish:
    qos = draw(st.integers(0, 2))
    without = ("subscription_identifiers",) if from_client else ("topic_alias",)
    return Publish(
        topic=draw(topic_names),
        payload=draw(blobs),
        qos=qos,
        packet_id=draw(packet_ids) if qos else None,
        dup=draw(st.booleans()) if qos else False,
        retain=draw(st.booleans()),
        properties=draw(properties(version, PacketType.PUBLISH, *without)),
    )


@st.composite
def subscriptions(draw: st.DrawFn, version: Version) -> Subscription:
    if not version.has_properties:
        return Subscription(topic_filter=draw(topic_filters), qos=draw(st.integers(0, 2)))
    topic_filter = draw(topic_filters)
    return Subscription(
        topic_filter=topic_filter,
        qos=draw(st.integers(0, 2)),
        no_local=draw(st.booleans()) and not topic_filter.startswith("$share/"),
        retain_as_published=draw(st.booleans()),
        retain_handling=draw(st.integers(0, 2)),
    )


def client_packets(version: Version) -> st.SearchStrategy[ClientPacket]:
    """What a client of *version* may send."""
    kinds: list[st.SearchStrategy[Any]] = [
        connects(version),
        publishes(version, from_client=True),
        acknowledgements(version, Puback, Pubrec, Pubrel, Pubcomp),
        st.builds(
            Subscribe,
            packet_id=packet_ids,
            subscriptions=st.lists(subscriptions(version), min_size=1, max_size=4).map(tuple),
            properties=properties(version, PacketType.SUBSCRIBE),
        ),
        st.builds(
            Unsubscribe,
            packet_id=packet_ids,
            topic_filters=st.lists(topic_filters, min_size=1, max_size=4).map(tuple),
            properties=properties(version, PacketType.UNSUBSCRIBE),
        ),
        st.just(Pingreq()),
        st.builds(
            Disconnect,
            reason_code=reasons(version, PacketType.DISCONNECT, from_client=True),
            properties=properties(version, PacketType.DISCONNECT, "server_reference"),
        ),
    ]
    if version.has_properties:
        kinds.append(
            st.builds(
                Auth,
                reason_code=reasons(version, PacketType.AUTH, from_client=True),
                properties=properties(version, PacketType.AUTH),
            )
        )
    return st.one_of(*kinds)


def server_packets(version: Version) -> st.SearchStrategy[ServerPacket]:
    """What a server may send to a client of *version*."""
    connack_reasons = REASONS[PacketType.CONNACK] if version.has_properties else FROM_RETURN_CODE.values()
    granted = st.sampled_from([ReasonCode(0), ReasonCode(1), ReasonCode(2)])
    unsubscribed = st.lists(reasons(version, PacketType.UNSUBACK), min_size=1, max_size=4).map(tuple)
    kinds: list[st.SearchStrategy[Any]] = [
        st.builds(
            Connack,
            reason_code=st.sampled_from(sorted(connack_reasons)),
            properties=properties(version, PacketType.CONNACK),
        ),
        publishes(version, from_client=False),
        acknowledgements(version, Puback, Pubrec, Pubcomp),
        st.builds(
            Suback,
            packet_id=packet_ids,
            reason_codes=st.lists(
                reasons(version, PacketType.SUBACK) if version.has_properties else granted, min_size=1, max_size=4
            ).map(tuple),
            properties=properties(version, PacketType.SUBACK),
        ),
        st.builds(
            Unsuback,
            packet_id=packet_ids,
            reason_codes=unsubscribed if version.has_properties else st.just(()),
            properties=properties(version, PacketType.UNSUBACK),
        ),
        st.just(Pingresp()),
    ]
    if version.has_properties:
        kinds.append(
            st.builds(
                Disconnect,
                reason_code=reasons(version, PacketType.DISCONNECT),
                properties=properties(version, PacketType.DISCONNECT),
            )
        )
    return st.one_of(*kinds)
