"""The composition root: builds the service's parts, from the inside out, and takes them apart again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from creds.bus_api import BusApi
from creds.cut_off import CutOff
from creds.documents import TOKENS
from creds.register import Register
from creds.rest_api import RestApi
from creds.settings import CredsSettings
from creds.tokens import Tokens
from kaa_common.outbox import open_outbox
from kaa_common.rest import rest_api
from kaa_common.service import Platform, Service
from kaa_common.settings import load

PREFIX = "cm"


@asynccontextmanager
async def work(platform: Platform) -> AsyncIterator[None]:
    rpc, common = platform.rpc, platform.settings
    settings = load(CredsSettings, platform.environ, "CREDS_")
    async with platform.store(TOKENS) as store, open_outbox(store, rpc.bus, TOKENS) as outbox:
        tokens = Tokens(
            store,
            outbox,
            settings.keys(),
            instance=common.cm_instance,
            replica_id=rpc.replica_id,
            generated_length=settings.token_length,
        )
        await BusApi(tokens).serve(rpc, common.cm_instance, common.epr_instance)
        cut_off = CutOff(rpc, common.kpc_instance)
        await cut_off.start()
        router = RestApi(tokens, Register(rpc, common.epr_instance), cut_off, common.tenant_id).router()
        api = rest_api("Credentials", "Tokens of endpoints.", f"/{PREFIX}", router, platform.access)
        platform.gateway.mount(PREFIX, api)
        try:
            yield
        finally:
            platform.gateway.unmount(PREFIX)


SERVICE = Service("creds", work)
