"""A consumer that misses nothing: reads the register's events from its stream, from a time or a revision on.

Usage: python examples/replay_events.py [--since 2026-01-31T12:00:00Z] [--endpoint ID [--after REVISION]] [--follow]
NATS is expected at NATS_URL, by default nats://127.0.0.1:4222. Needs nats-py, and kaa_common for the records.

Each event is printed once: one that was published again has a `Nats-Msg-Id` that was seen already, or a revision that
is not higher than the last one of its endpoint. Whoever keeps that revision goes on where it stopped (--after).
"""

import argparse
import asyncio
import os
from collections import OrderedDict
from datetime import datetime

import nats
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, DeliverPolicy

from kaa_common.avro import decode
from kaa_common.messages.protocols import PROTOCOLS

EVENTS = {event.path: event.record for protocol in PROTOCOLS for event in protocol.events}
SILENCE = 5.0
REMEMBERED = 100_000


async def main(arguments: argparse.Namespace) -> None:
    client = await nats.connect(os.environ.get("NATS_URL") or "nats://127.0.0.1:4222")
    start = ConsumerConfig(deliver_policy=DeliverPolicy.ALL)
    if arguments.since:
        start = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=arguments.since)
    # An ordered consumer: the client starts it anew, where it was, when something gets lost on the way.
    events = await client.jetstream().subscribe(
        f"kaa.v1.events.{arguments.instance}.>",
        stream=f"kaa-{arguments.instance}-events",
        config=start,
        ordered_consumer=True,
    )
    seen: OrderedDict[str, None] = OrderedDict()
    info = await events.consumer_info()
    waiting = info.num_pending or (info.delivered and info.delivered.consumer_seq)  # which are on their way already
    while waiting or arguments.follow:
        try:
            message = await events.next_msg(timeout=SILENCE)
        except nats.errors.TimeoutError:
            if arguments.follow:
                continue
            break
        waiting = message.metadata.num_pending
        show(message, arguments, seen)
    await client.close()


def show(message: Msg, arguments: argparse.Namespace, seen: "OrderedDict[str, None]") -> None:
    headers = message.headers or {}
    message_id = headers.get("Nats-Msg-Id", "")
    revision = int(headers.get("Kaa-Endpoint-Revision", 0))
    endpoint = message_id.rpartition(f":{revision}:")[0]
    if message_id in seen or (arguments.endpoint and (endpoint != arguments.endpoint or revision <= arguments.after)):
        return
    seen[message_id] = None
    if len(seen) > REMEMBERED:
        seen.popitem(last=False)
    path = message.subject.split(".")[4:]
    if path[0] == "endpoint-filter":
        path[1] = "*"
    print(revision, endpoint or "-", ".".join(path), decode(EVENTS[tuple(path)], message.data))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Read the register's events from its stream.")
    parser.add_argument("--since", type=datetime.fromisoformat, help="time of the first one")
    parser.add_argument("--endpoint", help="only those of this endpoint")
    parser.add_argument("--after", type=int, default=0, help="only those behind this revision of it")
    parser.add_argument("--follow", action="store_true", help="go on with those that come")
    parser.add_argument("--instance", default="epr", help="service instance of the register")
    asyncio.run(main(parser.parse_args()))
