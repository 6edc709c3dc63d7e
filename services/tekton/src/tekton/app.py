"""The composition root: builds the service's parts, from the inside out, and takes them apart again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kaa_common.outbox import open_outbox
from kaa_common.rest import rest_api
from kaa_common.service import Platform, Service
from tekton import bus_api
from tekton.applications import Applications
from tekton.documents import APPLICATIONS
from tekton.rest_api import RestApi

PREFIX = "tekton"


@asynccontextmanager
async def work(platform: Platform) -> AsyncIterator[None]:
    rpc, settings = platform.rpc, platform.settings
    async with platform.store(APPLICATIONS) as store, open_outbox(store, rpc.bus, APPLICATIONS) as outbox:
        applications = Applications(
            store,
            outbox,
            instance=settings.tekton_instance,
            replica_id=rpc.replica_id,
            tenant_id=settings.tenant_id,
        )
        await bus_api.serve(rpc, settings.tekton_instance, applications)
        router = RestApi(applications).router()
        api = rest_api("Tekton", "Applications and their versions.", f"/{PREFIX}", router, platform.access)
        platform.gateway.mount(PREFIX, api)
        try:
            yield
        finally:
            platform.gateway.unmount(PREFIX)


SERVICE = Service("tekton", work)
