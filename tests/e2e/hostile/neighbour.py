"""The device beside every attack: a process of its own, as what attacks keeps its interpreter busy.

It updates and reads its own metadata, one request at a time, and prints a line for each: the seconds until the answer
and the acknowledgement were there, and for how many of them a thread that may have been needed for it was kept waiting
for a processor. Arguments: the port, the topics of both requests, and the processes that such threads may be of, or
none if they are not known.

A thread's waits are the second number of its `schedstat`, in nanoseconds: it could have run, and another one did. The
sum over all threads is at least what the machine has added to the answer's time, whatever else it is busy with; a
service that computes, sleeps or waits for another adds nothing to it. Where it cannot be known, it is -1.
"""

import os
import socket
import sys
import time
from typing import BinaryIO

PATIENCE = 10.0
PAUSE = 0.005
"""Seconds between two requests."""
CONNECT = b"\x10\x15\x00\x04MQTT\x04\x02\x00\x00\x00\x09neighbour"
CONNACK, PUBLISH, PUBACK = 0x20, 0x32, 0x40
PACKET_ID = b"\x00\x01"


class Device:
    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream: BinaryIO = self._socket.makefile("rb")
        self._socket.sendall(CONNECT)
        self._expect(CONNACK, b"\x00\x00")

    def ask(self, topic: str, payload: bytes, answer: bytes) -> float:
        """Seconds until it was answered, as it has to be, and acknowledged."""
        began = time.monotonic()
        name = _text(topic)
        self._socket.sendall(_packet(PUBLISH, name + PACKET_ID + payload))
        status = _text(f"{topic}/status")
        header, body = self._receive()
        packet_id = body[len(status) :][:2]
        assert (header, body) == (PUBLISH, status + packet_id + answer), body
        self._expect(PUBACK, PACKET_ID)
        seconds = time.monotonic() - began
        self._socket.sendall(_packet(PUBACK, packet_id))
        return seconds

    def _expect(self, header: int, body: bytes) -> None:
        received = self._receive()
        assert received == (header, body), received

    def _receive(self) -> tuple[int, bytes]:
        header, size = self._stream.read(2)
        assert size < 0x80
        return header, self._stream.read(size)


def _packet(header: int, body: bytes) -> bytes:
    assert len(body) < 0x80
    return bytes([header, len(body)]) + body


def _text(value: str) -> bytes:
    return len(value).to_bytes(2, "big") + value.encode()


def waits(processes: list[int]) -> dict[str, int]:
    """For how many nanoseconds each thread has waited for a processor in its life."""
    found = {}
    for process in processes:
        folder = f"/proc/{process}/task"
        for thread in os.listdir(folder):
            try:
                with open(f"{folder}/{thread}/schedstat", "rb") as schedstat:
                    found[thread] = int(schedstat.read().split()[1])
            except (FileNotFoundError, ProcessLookupError):  # the thread has ended
                pass
    return found


def main(port: int, topics: list[str], processes: list[int]) -> None:
    device = Device(port)
    is_told = bool(processes) and os.path.exists("/proc/self/schedstat")
    number = 0
    processes = [os.getpid(), *processes]
    before = waits(processes) if is_told else {}
    while True:
        number += 1
        metadata = b'{"n":%d}' % number
        for topic, payload, answer in ((topics[0], metadata, b""), (topics[1], b"", metadata)):
            seconds = device.ask(topic, payload, answer)
            now = waits(processes) if is_told else {}
            waited = sum(now[thread] - before.get(thread, 0) for thread in now) / 1e9 if is_told else -1.0
            before = now
            sys.stdout.write(f"{seconds:.6f} {waited:.6f}\n")
            sys.stdout.flush()
        time.sleep(PAUSE)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:4], [*map(int, sys.argv[4:])])
