"""How long the register's lists and searches take among many endpoints: `make bench-register-pages`.

The endpoints are written through the store as the register writes them; then each kind of page is asked for again and
again through the REST interface, in this process. Printed are the median and the slowest tenth, in milliseconds.

    make bench-register-pages ARGS="--endpoints 1000000"
"""

import argparse
import asyncio
import statistics
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import uvloop

from epr.app import SERVICE
from epr.filters.documents import FILTERS
from epr.filters.model import Filter, Status
from epr.model import Endpoint, State
from epr.register import ENDPOINTS
from kaa_common.access import hash_api_key
from kaa_common.clock import now_ms
from kaa_common.service import run
from kaa_common.store.sqlite import SqliteStore
from support.nats_server import NatsServer
from support.ports import free_port

ROUNDS = 40
APPLICATIONS = 4
CITIES = ("Kyiv", "Lviv", "Odesa", "Kharkiv", "Dnipro")
WRITERS = 512
FILTER_ID = "kyiv"
WIDTH = 46

SCANS = 20
Query = Mapping[str, Any]

SCANNED: Mapping[str, Query] = {
    "many match a comparison": {"query": {"metadata.floor": {"$gt": 20}}},
    "many, in an application": {"query": {"metadata.floor": {"$gt": 20}}, "applicationName": "app-1"},
    "few match a comparison": {"query": {"metadata.temperature": {"$gt": 97.5}}},
    "none matches a comparison": {"query": {"metadata.floor": {"$gt": 99}}},
    "none matches from below": {"query": {"metadata.floor": {"$lt": 0}}},
    "none, in an application": {"query": {"metadata.floor": {"$gt": 99}}, "applicationName": "app-1"},
    "a range of numbers": {"query": {"metadata.temperature": {"$gte": 50, "$lt": 50.2}}},
    "two ranges of numbers": {"query": {"metadata.temperature": {"$gt": 90}, "metadata.floor": {"$lt": 3}}},
    "a number that seldom occurs": {"metadataFilter": "temperature=97.6"},
    "a number that often occurs": {"metadataFilter": "floor=3"},
    "one of several numbers": {"query": {"metadata.floor": {"$in": [3, 5, 99]}}},
    "a string later than most": {"query": {"metadata.serial": {"$gt": "SN-00099990"}}},
    "another string than most": {"query": {"metadata.city": {"$nin": list(CITIES)}}},
    "anything but a string": {"query": {"metadata.city": {"$ne": "Kyiv"}}},
    "not a comparison": {"query": {"metadata.floor": {"$not": {"$gte": 0}}}},
    "a key that none has": {"query": {"metadata.place": {"$exists": True}}},
    "a key that all have, missing": {"query": {"metadata.floor": {"$exists": False}}},
    "within a value": {"query": {"metadata.place.room": {"$gt": 3}}},
    "either of two keys": {"query": {"$or": [{"metadata.floor": 99}, {"metadata.temperature": 97.6}]}},
    "the array form": {"query": {"metadata": {"$elemMatch": {"key": "floor", "value": {"$gt": 99}}}}},
    "a pattern": {"metadataFilter": "serial=^SN-0009999", "regex": True},
    "a pattern anywhere": {"multiFilter": "SN-0009999.", "regex": True},
    "a text that many have": {"multiFilter": "kyiv"},
    "a text that none has": {"multiFilter": "no such text"},
    "a number anywhere": {"multiFilter": "97.6"},
}
"""Bodies of searches that no index answers."""


def endpoint(number: int, now: int) -> Endpoint:
    application = f"app-{number % APPLICATIONS}"
    city = CITIES[number % len(CITIES)]
    return Endpoint(
        id=str(uuid.UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128)),
        revision=now + number,
        state=State.REGISTERED,
        tenant="kaa",
        application=application,
        app_version=f"{application}-v{number % 3}",
        app_version_at=now,
        created_at=now + number,
        metadata={
            "serial": f"SN-{number:08}",
            "city": city,
            "model": "BFG 9000",
            "floor": number % 40,
            "temperature": number % 977 / 10,
        },
        metadata_updated_at=now,
        token_id="0" * 24,
        filters=(FILTER_ID,) if city == "Kyiv" and not number % APPLICATIONS else (),
    )


async def fill(path: Path, count: int) -> None:
    now = now_ms()
    numbers = iter(range(count))
    async with SqliteStore(path) as store:
        await store.ensure([ENDPOINTS, FILTERS])
        kyiv = Filter(
            id=FILTER_ID,
            revision=1,
            tenant="kaa",
            application="app-0",
            name=None,
            description=None,
            mongo_query={"metadata.city": "Kyiv"},
            status=Status.ACTIVE,
            created_at=now,
            updated_at=now,
        )
        await store.insert(FILTERS, kyiv.to_document())

        async def write() -> None:
            for number in numbers:
                await store.insert(ENDPOINTS, endpoint(number, now).to_document())

        async with asyncio.TaskGroup() as tasks:
            for writer in range(WRITERS):
                tasks.create_task(write(), name=f"writer {writer}")


@asynccontextmanager
async def running(directory: Path, nats_url: str) -> AsyncIterator[httpx.AsyncClient]:
    port, ready, stop = free_port(), asyncio.Event(), asyncio.Event()
    environ = {
        "NATS_URL": nats_url,
        "KAA_DATA_DIR": str(directory),
        "KAA_HTTP_PORT": str(port),
        "KAA_API_KEY_HASHES": hash_api_key("key"),
        "KAA_TENANT_ID": "kaa",
    }
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run([SERVICE], environ, stop, ready.set), name="epr")
        await ready.wait()
        base_url = f"http://127.0.0.1:{port}/epr/api/v1"
        async with httpx.AsyncClient(base_url=base_url, headers={"X-API-Key": "key"}, timeout=30) as client:
            yield client
        stop.set()


async def measured(client: httpx.AsyncClient, name: str, requests: Sequence[tuple[str, Query]]) -> None:
    """Ask each in turn: pages by their query, searches by their body."""
    took = []
    total = 0
    for kind, query in requests:
        started = time.perf_counter()
        if kind == "search":
            answer = await client.post("/endpoints/search", json=dict(query))
        else:
            answer = await client.get("/endpoints", params=dict(query))
        took.append((time.perf_counter() - started) * 1000)
        answer.raise_for_status()
        total = answer.json()["totalElements"]
    slow = statistics.quantiles(took, n=10)[-1]
    print(f"{name:<{WIDTH}}{statistics.median(took):>9.1f}{slow:>9.1f}{total:>10}", flush=True)


def pages(count: int) -> dict[str, list[tuple[str, Query]]]:
    spread = [count * step // ROUNDS for step in range(ROUNDS)]
    numbers = [n * 7919 % count for n in range(ROUNDS)]
    return {
        "list: first page of all": [("list", {})] * ROUNDS,
        "list: 100 of an application, with metadata": [
            ("list", {"applicationName": "app-1", "limit": 100, "include": "metadata"})
        ]
        * ROUNDS,
        "list: 20 of a version": [("list", {"applicationVersionName": "app-1-v1"})] * ROUNDS,
        "list: any offset of all": [("list", {"offset": offset}) for offset in spread],
        "list: one page after the other from the middle": [
            ("list", {"offset": count // 2 + 20 * page}) for page in range(ROUNDS)
        ],
        "filter: first page": [("list", {"filterId": FILTER_ID})] * ROUNDS,
        "filter: any offset": [
            ("list", {"filterId": FILTER_ID, "offset": offset // (APPLICATIONS * len(CITIES))}) for offset in spread
        ],
        "search: a serial number": [("list", {"metadataFilter": f"serial=SN-{number:08}"}) for number in numbers],
        "search: a serial number in an application": [
            ("list", {"metadataFilter": f"serial=SN-{n:08}", "applicationName": f"app-{n % 4}"}) for n in numbers
        ],
        "search: a city, by query": [
            ("search", {"query": {"metadata.city": CITIES[n % 5]}, "applicationName": "app-1"}) for n in numbers
        ],
        "search: a city and a serial number, by query": [
            ("search", {"query": {"metadata.serial": f"SN-{n:08}", "metadata.floor": {"$gte": 0}}}) for n in numbers
        ],
        "search: two endpoints by id": [
            ("search", {"endpointIds": [endpoint(n, 0).id, endpoint(n + 1, 0).id]}) for n in numbers
        ],
        **{f"scan: {name}": [("search", body)] * SCANS for name, body in SCANNED.items()},
        "scan: a comparison, another each time": [
            ("search", {"query": {"metadata.temperature": {"$gt": n % 977 / 10}}}) for n in numbers
        ],
        "scan: a text that one has": [("list", {"multiFilter": f"sn-{n:08}"}) for n in numbers[:SCANS]],
    }


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        nats_server = NatsServer(directory)
        nats_server.start()
        try:
            started = time.perf_counter()
            await fill(directory / "epr.db", count)
            print(f"{count} endpoints written in {time.perf_counter() - started:.0f} s\n")
            print(f"{'':<{WIDTH}}{'median ms':>9}{'p90 ms':>9}{'total':>10}")
            async with running(directory, nats_server.url) as client:
                for name, requests in pages(count).items():
                    await measured(client, name, requests)
        finally:
            nats_server.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--endpoints", type=int, default=100_000)
    uvloop.run(main(parser.parse_args().endpoints))
