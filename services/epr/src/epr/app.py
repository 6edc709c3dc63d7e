"""The register put together: endpoints in the store, REST and NATS in front of it, events behind it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from epr.applications import Applications
from epr.batch_task import BATCHES
from epr.batches import Batches
from epr.bus_api import Extension, MetadataManagement
from epr.bus_relations import RelationsManagement
from epr.filters.activation import Activation
from epr.filters.bus_api import FilterManagement
from epr.filters.documents import FILTER_SETS, FILTERS
from epr.filters.filters import Filters
from epr.filters.rest_api import FilterApi
from epr.http_api import EndpointApi
from epr.leases import REPLICAS
from epr.listing import Listing
from epr.metadata_keys import MetadataKeys
from epr.register import ENDPOINTS, Register
from epr.registration import Registrar
from epr.relations import RELATIONS, Relations
from epr.sessions import Names, following
from epr.settings import EprSettings
from epr.tokens import Tokens
from epr.whitelists import Whitelists
from kaa_common.app_versions import AppVersions
from kaa_common.event_stream import EventStream, StreamLimits
from kaa_common.outbox import open_outbox
from kaa_common.rest import rest_api
from kaa_common.service import Platform, Service
from kaa_common.settings import load

TITLE = "EPR: endpoint register"
DESCRIPTION = "Endpoints and their metadata. An endpoint is the platform's record of a device, its digital twin."


@asynccontextmanager
async def work(platform: Platform) -> AsyncIterator[None]:
    settings = load(EprSettings, platform.environ, "EPR_")
    names = platform.settings
    rpc = platform.rpc
    limits = StreamLimits(max_age=settings.events_max_age, max_bytes=settings.events_max_bytes)
    stream = EventStream(rpc.bus, names.epr_instance, limits, time.monotonic)
    await stream.start()
    async with (
        platform.store(ENDPOINTS, FILTERS, FILTER_SETS, REPLICAS, RELATIONS, BATCHES) as store,
        open_outbox(store, stream, ENDPOINTS) as outbox,
        open_outbox(store, stream, FILTERS) as filter_outbox,
        open_outbox(store, stream, RELATIONS) as relation_outbox,
        asyncio.TaskGroup() as tasks,
    ):
        register = Register(
            store, outbox, tenant=names.tenant_id, instance=names.epr_instance, replica_id=rpc.replica_id
        )
        registrar = Registrar(store, register, Tokens(rpc, names.cm_instance, settings.token_timeout))
        # With the configuration of the extension; the register itself needs an application version's name only.
        app_versions = AppVersions(rpc, names.tekton_instance, names.epmx_instance)
        await app_versions.start()
        epl_versions = AppVersions(rpc, names.tekton_instance, settings.epl_instance)
        await epl_versions.start()
        whitelists = Whitelists(app_versions, epl_versions)
        sender = {"instance": names.epr_instance, "replica_id": rpc.replica_id}
        activation = Activation(store, filter_outbox, register, **sender)
        filters = Filters(store, filter_outbox, activation.wake, tenant=names.tenant_id, **sender)
        applications = Applications(rpc, names.tekton_instance, settings.request_timeout)
        relations = Relations(store, relation_outbox, register, tenant=names.tenant_id, instance=names.epr_instance)
        batches = Batches(store, registrar, app_versions, tenant=names.tenant_id)
        listing = Listing(store, register, filters, tenant=names.tenant_id)
        api = EndpointApi(
            register=register,
            registrar=registrar,
            relations=relations,
            batches=batches,
            listing=listing,
            filters=filters,
            keys=MetadataKeys(store, applications, tenant=names.tenant_id),
            app_versions=app_versions,
            tenant=names.tenant_id,
            request_timeout=settings.request_timeout,
        )
        router = api.router()
        router.routes.extend(FilterApi(filters, listing, applications).router().routes)
        sweeping = tasks.create_task(registrar.keep_sweeping(), name="reservations")
        activating = tasks.create_task(activation.keep_activating(), name="filters")
        working = tasks.create_task(batches.keep_working(), name="batch registrations")
        tidying = tasks.create_task(relations.keep_sweeping(), name="relations")
        indexing = tasks.create_task(listing.keep_indexing(), name="terms")
        await Extension(register, whitelists, names.epmx_instance).serve(rpc)
        await MetadataManagement(register, whitelists, names.epr_instance).serve(rpc)
        await RelationsManagement(relations, names.epr_instance).serve(rpc)
        await FilterManagement(register, filters, names.epr_instance).serve(rpc)
        platform.gateway.mount("epr", rest_api(TITLE, DESCRIPTION, "/epr", router, platform.access))
        session_names = Names(epr=names.epr_instance, kpc=names.kpc_instance, epl=settings.epl_instance)
        try:
            async with following(rpc, store, register, epl_versions, session_names, lease=settings.replica_lease):
                yield
        finally:
            platform.gateway.unmount("epr")
            sweeping.cancel()
            activating.cancel()
            working.cancel()
            tidying.cancel()
            indexing.cancel()


SERVICE = Service("epr", work)
