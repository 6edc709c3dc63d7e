"""Each part is killed and comes back while devices keep publishing; nobody else is restarted."""

import httpx
import pytest

from .fleet import Fleet, new_app_version, register
from .listener import Listener
from .platform import Platform


@pytest.mark.parametrize("part", ["nats", "epr"])
async def test_what_every_request_needs_is_refused_while_it_is_killed_and_nothing_acknowledged_is_lost(
    part: str, platform: Platform, listener: Listener, admin: httpx.AsyncClient
) -> None:
    fleet = await Fleet.registered(platform, admin)
    async with fleet.updating():
        await platform.kill(part)
        await fleet.until_refused()
        await platform.start(part, listener)
        await fleet.until_served()
    fleet.check_refusals()
    fleet.check_connections()
    await fleet.check_register(platform, admin)
    await fleet.check_events(platform, admin, listener)


async def test_a_change_without_nats_is_announced_when_it_is_back_even_after_a_crash(
    platform: Platform, listener: Listener, admin: httpx.AsyncClient
) -> None:
    device = await register(platform, admin, await new_app_version(platform, admin))
    await platform.kill("nats")
    metadata = platform.url_of(f"/epr/api/v1/endpoints/{device.endpoint_id}/metadata")
    changed = await admin.put(metadata, json={"level": 1})
    await platform.kill("epr")
    await platform.start("nats", listener)
    await platform.start("epr", listener)

    assert changed.status_code == 204
    await Fleet([device]).check_events(platform, admin, listener)


@pytest.mark.parametrize("platform", ["mongodb"], indirect=True)
async def test_a_killed_database_loses_nothing_that_was_acknowledged(
    platform: Platform, listener: Listener, admin: httpx.AsyncClient
) -> None:
    fleet = await Fleet.registered(platform, admin)
    async with fleet.updating():
        await platform.kill("database")
        await fleet.until_refused()
        await platform.start("database", listener)
        await fleet.until_served()
    fleet.check_refusals()
    fleet.check_connections()
    await fleet.check_register(platform, admin)
    await fleet.check_events(platform, admin, listener)


@pytest.mark.parametrize("platform", ["mongodb"], indirect=True)
async def test_a_database_that_hangs_is_told_to_devices_in_time(
    platform: Platform, listener: Listener, admin: httpx.AsyncClient
) -> None:
    fleet = await Fleet.registered(platform, admin)
    async with fleet.updating():
        with platform.database.hanging():
            await fleet.until_refused()
        await fleet.until_served()
    fleet.check_refusals()
    fleet.check_connections()
    await fleet.check_register(platform, admin)
    await fleet.check_events(platform, admin, listener)


async def test_devices_that_are_known_do_not_notice_that_creds_is_killed(
    platform: Platform, listener: Listener, admin: httpx.AsyncClient
) -> None:
    fleet = await Fleet.registered(platform, admin)
    stranger = await register(platform, admin, await new_app_version(platform, admin))
    async with fleet.updating():
        await platform.kill("creds")
        async with stranger.connected():
            refused = await stranger.ask("get")
            await platform.start("creds", listener)
            served = await stranger.ask("get")
        await fleet.until_served()
    assert (refused.status_code, served.status_code) == (503, 200)
    assert fleet.refusals == []
    fleet.check_connections()
    await fleet.check_register(platform, admin)
    await fleet.check_events(platform, admin, listener)


@pytest.mark.parametrize("platform", ["sqlite"], indirect=True)  # it has no part in this
async def test_an_application_version_that_cannot_be_looked_up_is_out_of_reach_not_unknown(
    platform: Platform, listener: Listener, admin: httpx.AsyncClient
) -> None:
    fleet = await Fleet.registered(platform, admin)
    stranger = await register(platform, admin, await new_app_version(platform, admin))
    async with fleet.updating():
        await platform.kill("tekton")
        async with stranger.connected():
            refused = await stranger.ask("get")
            await platform.start("tekton", listener)
            served = await stranger.ask("get")
        await fleet.until_served()
    assert (refused.status_code, served.status_code) == (503, 200)
    fleet.check_refusals()
    fleet.check_connections()
    await fleet.check_register(platform, admin)
    await fleet.check_events(platform, admin, listener)


@pytest.mark.parametrize("platform", ["sqlite"], indirect=True)  # it has no part in this
async def test_devices_that_come_back_to_a_killed_kpc_go_on(
    platform: Platform, listener: Listener, admin: httpx.AsyncClient
) -> None:
    fleet = await Fleet.registered(platform, admin)
    async with fleet.updating():
        await platform.kill("kpc")
        await platform.start("kpc", listener)
        await fleet.until_served()
    fleet.check_refusals()
    await fleet.check_register(platform, admin)
    await fleet.check_events(platform, admin, listener)
