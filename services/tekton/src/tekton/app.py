"""The composition root: builds the service's parts, from the inside out, and takes them apart again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kaa_common.outbox import open_outbox
from kaa_common.rest import rest_api
from kaa_common.service import Platform, Service
from kaa_common.settings import load
from tekton import bus_api
from tekton.applications import Applications
from tekton.documents import APPLICATIONS, TENANTS
from tekton.rest_api import RestApi
from tekton.service_instances import ServiceInstances
from tekton.settings import TektonSettings
from tekton.tenants import Tenants

PREFIX = "tekton"


@asynccontextmanager
async def work(platform: Platform) -> AsyncIterator[None]:
    rpc, settings = platform.rpc, platform.settings
    service_instances = ServiceInstances.read(load(TektonSettings, platform.environ, "TEKTON_").service_instances)
    async with (
        platform.store(APPLICATIONS, TENANTS) as store,
        open_outbox(store, rpc.bus, APPLICATIONS) as outbox,
        open_outbox(store, rpc.bus, TENANTS) as tenants_outbox,
    ):
        applications = Applications(
            store,
            outbox,
            instance=settings.tekton_instance,
            replica_id=rpc.replica_id,
            tenant_id=settings.tenant_id,
        )
        tenants = Tenants(store, tenants_outbox, settings.tenant_id)
        await bus_api.serve(rpc, settings.tekton_instance, applications, tenants)
        router = RestApi(applications, tenants, service_instances).router()
        api = rest_api(
            "Tekton", "Applications, their versions, and configurations.", f"/{PREFIX}", router, platform.access
        )
        platform.gateway.mount(PREFIX, api)
        try:
            yield
        finally:
            platform.gateway.unmount(PREFIX)


SERVICE = Service("tekton", work)
