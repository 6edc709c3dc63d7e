"""A registration that is interrupted leaves nothing behind, and can be repeated."""

import asyncio
from collections.abc import Mapping
from uuid import uuid4

import httpx

from support.waiting import POLL, until

from .fleet import new_app_version
from .listener import Listener
from .logs import TOKEN
from .platform import Platform

AT_ONCE = 12
SWEPT_WITHIN = 20.0
"""Seconds: the register looks for what was left behind at its start, and then every 15."""
OUT_OF_REACH = (503, 504)

Registration = Mapping[str, object]
"""The body of a request to register."""


async def test_a_registration_without_creds_is_refused_and_leaves_nothing_behind(
    platform: Platform, listener: Listener, admin: httpx.AsyncClient
) -> None:
    wanted = registration_in(await new_app_version(platform, admin))
    await platform.kill("creds")

    refused = await register(platform, admin, wanted)
    read = await admin.get(url_of(platform, wanted))
    await platform.start("creds", listener)
    repeated = await register(platform, admin, wanted)

    assert refused.status_code == 503, refused.text
    assert read.status_code == 404
    assert repeated.status_code == 201, repeated.text
    assert (repeated.json()["endpointId"], repeated.json()["token"]) == (wanted["endpointId"], wanted["endpointToken"])
    assert await count_tokens(platform, admin, wanted) == 1


async def test_of_the_registrations_during_which_creds_is_killed_each_is_whole_or_not_at_all(
    platform: Platform, listener: Listener, admin: httpx.AsyncClient
) -> None:
    app_version = await new_app_version(platform, admin)
    whole: list[Registration] = []
    refused: list[Registration] = []

    async def register_until_refused() -> None:
        while True:
            wanted = registration_in(app_version)
            answer = await register(platform, admin, wanted)
            if answer.status_code != 201:
                assert answer.status_code in OUT_OF_REACH, answer.text
                return refused.append(wanted)
            whole.append(wanted)

    async with asyncio.TaskGroup() as tasks:
        for number in range(AT_ONCE):
            tasks.create_task(register_until_refused(), name=f"registrations {number}")
        await until(lambda: len(whole) >= AT_ONCE)
        await platform.kill("creds")
    for wanted in refused:
        assert (await admin.get(url_of(platform, wanted))).status_code == 404
    await platform.start("creds", listener)

    repeated, given_up = refused[::2], refused[1::2]
    for wanted in repeated:
        answer = await register(platform, admin, wanted)
        assert answer.status_code == 201, answer.text
    for wanted in (*whole, *repeated):
        assert await count_tokens(platform, admin, wanted) == 1

    # Nothing stays of those that nobody repeats: the ids and the tokens are free again.
    await platform.kill("epr")
    await platform.start("epr", listener)
    async with asyncio.timeout(SWEPT_WITHIN):
        for wanted in given_up:
            await register_until_accepted(platform, admin, {**wanted, "endpointId": unique("endpoint")})
            assert await count_tokens(platform, admin, wanted) == 0
            await register_until_accepted(platform, admin, {**wanted, "endpointToken": unique(TOKEN)})


def registration_in(app_version: str) -> Registration:
    return {
        "appVersion": {"name": app_version},
        "endpointId": unique("endpoint"),
        "endpointToken": unique(TOKEN),
    }


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid4()}"


def url_of(platform: Platform, wanted: Registration) -> str:
    return platform.url_of(f"/epr/api/v1/endpoints/{wanted['endpointId']}")


async def register(platform: Platform, admin: httpx.AsyncClient, wanted: Registration) -> httpx.Response:
    return await admin.post(platform.url_of("/epr/api/v1/endpoints"), json=wanted)


async def register_until_accepted(platform: Platform, admin: httpx.AsyncClient, wanted: Registration) -> None:
    while (await register(platform, admin, wanted)).status_code != 201:
        await asyncio.sleep(POLL)


async def count_tokens(platform: Platform, admin: httpx.AsyncClient, wanted: Registration) -> int:
    answer = await admin.get(platform.url_of(f"/cm/api/v1/endpoints/{wanted['endpointId']}/tokens"))
    total: int = answer.raise_for_status().json()["totalElements"]
    return total
