"""The communication service put together: devices over MQTT and HTTP on one side, extensions over NATS on the other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from kaa_common.app_versions import AppVersions
from kaa_common.rest import rest_api
from kaa_common.service import Platform, Service
from kaa_common.settings import load
from kpc.authorities import trusting
from kpc.bridge import bridging
from kpc.bridge_settings import BridgeSettings
from kpc.client_auth import ClientAuth, enforcing
from kpc.connectivity import Connectivity, announcing
from kpc.cut_off import CutOff, Instances
from kpc.cut_off import working as cut_off_working
from kpc.device_http import DeviceHttp
from kpc.device_mqtt import DeviceMqtt
from kpc.edge import Edge, EdgeLimits
from kpc.extensions import parse_extensions
from kpc.held_endpoints import HeldEndpoints
from kpc.pushes import Pushes
from kpc.rest_api import KpcPaths, RestApi
from kpc.settings import KpcSettings
from kpc.status import Status
from kpc.subscribers import asking
from kpc.tenants import Tenants
from kpc.tokens import Tokens
from kpc.traffic import Traffic, reporting
from kpc.transports import load_certificates, serving_mqtt

PREFIX = "kpc"


@asynccontextmanager
async def work(platform: Platform) -> AsyncIterator[None]:
    settings = load(KpcSettings, platform.environ, "KPC_")
    bridge = load(BridgeSettings, platform.environ, "KPC_BRIDGE_")
    names = platform.settings
    certificates = load_certificates(settings)
    rpc = platform.rpc
    app_versions = AppVersions(rpc, names.tekton_instance, names.kpc_instance)
    await app_versions.start()
    tokens = Tokens(rpc, names.cm_instance)
    extensions = parse_extensions(settings.extensions)
    limits = EdgeLimits(
        max_payload=settings.max_payload,
        request_timeout=settings.request_timeout,
        endpoint_rate=settings.endpoint_rate,
    )
    traffic = Traffic(rpc, names.kpc_instance, settings.traffic_period)
    edge = Edge(rpc, app_versions, tokens, extensions, limits, traffic)
    connectivity = Connectivity(rpc, names.kpc_instance)
    tenants = Tenants(rpc, names.tekton_instance, names.kpc_instance)
    client_auth = ClientAuth(rpc, names.ccm_instance, tenants, names.tenant_id)
    device_mqtt = DeviceMqtt(
        edge,
        connectivity,
        client_auth,
        connection_rate=settings.connection_rate,
        strict_take_over=settings.strict_take_over,
    )
    pushes = Pushes(rpc, names.kpc_instance, device_mqtt, connectivity.presence, device_mqtt.listeners, traffic)
    device_http = DeviceHttp(edge, settings.max_payload, settings.http_concurrency)
    instances = Instances(kpc=names.kpc_instance, cm=names.cm_instance, ccm=names.ccm_instance)
    cut_off = CutOff(rpc, tokens, device_mqtt, client_auth, instances)
    await tenants.start()
    await pushes.start()
    await HeldEndpoints(connectivity.presence).serve(rpc)
    async with (
        cut_off_working(cut_off),
        reporting(traffic),
        announcing(connectivity),
        asking(device_mqtt.subscribers),
        enforcing(client_auth),
        trusting(rpc, names.ccm_instance, names.tenant_id, certificates),
        serving_mqtt(settings, device_mqtt, certificates, platform.gateway) as server,
        bridging(edge, bridge, settings.max_payload),
    ):
        status = Status(rpc, names.kpc_instance, server, client_auth, connectivity.presence)
        await status.start()
        router = RestApi(status, certificates).router()
        rest = rest_api("Communication", "Connections of devices.", f"/{PREFIX}", router, platform.access)
        paths: dict[str, ASGIApp] = {PREFIX: rest}
        if settings.http_enabled:
            paths = {PREFIX: KpcPaths(rest, device_http), "kp1": device_http}
        for path, app in paths.items():
            platform.gateway.mount(path, app)
        try:
            yield
        finally:
            for path in paths:
                platform.gateway.unmount(path)


SERVICE = Service("kpc", work)
