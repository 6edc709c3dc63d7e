"""MQTT as a server speaks it, without I/O: bytes go in, events and bytes come out.

    versions.py       the protocol versions, as data
    limits.py         how much one client may ask for
    packet_types.py   the kinds of packets
    reasons.py        reason codes, which packet has which, and what is left of them before MQTT 5
    properties.py     the properties of MQTT 5, as a typed value and a table
    checks.py, topics.py
                      what the parts of packets must be
    packets.py, acknowledgements.py
                      one frozen value per packet, valid or not built
    wire.py           the data types that packets are made of
    decoder.py        the bytes of one packet -> the packet
    encoder.py        a packet -> its bytes
    reader.py         a stream of bytes -> packets, within limits
    events.py         what a session tells its owner
    states.py         what may happen when, as a table
    terms.py          what client and server agree on with CONNECT
    inbound.py        the acknowledgements that are owed
    outbound.py       what is sent, and what waits for the client
    subscriptions.py, topic_aliases.py
                      what a client subscribed to, and how it abbreviates its topics
    deadlines.py      when a session ends by itself
    last_words.py     what a client is told before its connection is closed
    session.py        one connection: what each packet and each command leads to
    errors.py         whose fault it was

Nothing here knows sockets, clocks or what the messages mean. `[MQTT-x.y.z-n]` are clauses of MQTT 3.1.1, where nothing
else is said.
"""
