"""MQTT as a server speaks it, without I/O: bytes go in, events and bytes come out.

    versions.py   the protocol versions, as data
    packets.py    one frozen value per packet, valid or not built
    codec.py      one packet <-> its bytes
    reader.py     a stream of bytes -> packets, within limits
    events.py     what a session tells its owner
    states.py     what may happen when, as a table
    session.py    one connection: what each packet and each command leads to
    errors.py     whose fault it was

Nothing here knows sockets, clocks or what the messages mean. `[MQTT-x.y.z-n]` are clauses of MQTT 3.1.1.
"""
