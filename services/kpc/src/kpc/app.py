"""The communication service put together: devices over MQTT and HTTP on one side, extensions over NATS on the other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kaa_common.app_versions import AppVersions
from kaa_common.service import Platform, Service
from kaa_common.settings import load
from kpc.cut_off import CutOff
from kpc.cut_off import working as cut_off_working
from kpc.device_http import DeviceHttp
from kpc.device_mqtt import DeviceMqtt
from kpc.edge import Edge, EdgeLimits
from kpc.extensions import parse_extensions
from kpc.settings import KpcSettings
from kpc.tokens import Tokens
from kpc.transports import load_certificates, serving_mqtt


@asynccontextmanager
async def work(platform: Platform) -> AsyncIterator[None]:
    settings = load(KpcSettings, platform.environ, "KPC_")
    names = platform.settings
    certificates = load_certificates(settings)
    rpc = platform.rpc
    app_versions = AppVersions(rpc, names.tekton_instance, names.kpc_instance)
    await app_versions.start()
    tokens = Tokens(rpc, names.cm_instance)
    extensions = parse_extensions(settings.extensions)
    limits = EdgeLimits(max_payload=settings.max_payload, request_timeout=settings.request_timeout)
    edge = Edge(rpc, app_versions, tokens, extensions, limits)
    device_mqtt = DeviceMqtt(edge, rpc, names.kpc_instance)
    cut_off = CutOff(rpc, tokens, device_mqtt, names.kpc_instance, names.cm_instance)
    async with cut_off_working(cut_off), serving_mqtt(settings, device_mqtt, certificates, platform.gateway):
        # Kaa's cloud has devices behind its ingress use /kpc/kp1/..., Kaa's service itself /kp1/...
        platform.gateway.mount("kp1", DeviceHttp(edge, settings.max_payload))
        platform.gateway.mount("kpc", DeviceHttp(edge, settings.max_payload, "/kpc/"))
        try:
            yield
        finally:
            platform.gateway.unmount("kpc")
            platform.gateway.unmount("kp1")


SERVICE = Service("kpc", work)
