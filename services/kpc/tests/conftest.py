"""The services behind the edge, as small as can be, over a real bus; each test says what they answer."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from kaa_common import jsontext
from kaa_common.app_versions import AppVersions
from kaa_common.bus import NatsBus, connect
from kaa_common.messages.acp import (
    GET_APP_VERSION_CONFIG,
    GET_TENANT_CONFIG,
    AppVersionConfigRequest,
    AppVersionConfigResponse,
    TenantConfigRequest,
    TenantConfigResponse,
)
from kaa_common.messages.ecap import (
    VALIDATE_TOKEN,
    EndpointTokenValidationRequest,
    EndpointTokenValidationResponse,
)
from kaa_common.messages.esp import CLIENT_DATA, ClientData, ExtensionData
from kaa_common.rpc import Reply, Rpc, answer_header
from kpc.edge import Edge, EdgeLimits
from kpc.tokens import Tokens
from kpc.traffic import Traffic
from support.nats_server import NatsServer

APP, APP_VERSION = "app", "app-v1"
ENDPOINT, TOKEN, TOKEN_ID = "endpoint-1", "t0ken", "token-id-1"
OTHER_ENDPOINT, OTHER_TOKEN, OTHER_TOKEN_ID = "endpoint-2", "0ther", "token-id-2"


@dataclass
class Backend:
    """What the services behind the edge say, and what they were asked."""

    rpc: Rpc
    suffix: str
    """Makes the instance names of this test its own: the nats-server is shared."""
    config: dict[str, object] = field(default_factory=dict)
    tenants: dict[str, dict[str, object]] = field(default_factory=dict)
    """Their configurations."""
    tenant_lookups: int = 0
    on_tenant_lookup: Callable[[], None] | None = None
    token_status: int = 200
    token_reason: str | None = None
    answer: tuple[int, bytes | None, str | None] = (200, b"{}", None)
    lookups: int = 0
    validations: int = 0
    on_validation: Callable[[], None] | None = None
    """Called when the answer is made, and not on its way yet."""
    received: list[ClientData] = field(default_factory=list)
    silent_for: str | None = None
    """The endpoint that the extension never answers."""
    delay: float = 0.0
    """Seconds that the extension takes for a request."""
    versions: set[str] = field(default_factory=lambda: {APP_VERSION})
    tokens: dict[str, tuple[str, str]] = field(
        default_factory=lambda: {TOKEN: (ENDPOINT, TOKEN_ID), OTHER_TOKEN: (OTHER_ENDPOINT, OTHER_TOKEN_ID)}
    )
    """Each with its endpoint and its id."""

    @property
    def tekton(self) -> str:
        return f"tekton-{self.suffix}"

    @property
    def cm(self) -> str:
        return f"cm-{self.suffix}"

    @property
    def ccm(self) -> str:
        return f"ccm-{self.suffix}"

    @property
    def extension(self) -> str:
        return f"epmx-{self.suffix}"

    @property
    def unaware(self) -> str:
        return f"tsx-{self.suffix}"

    @property
    def kpc(self) -> str:
        return f"kpc-{self.suffix}"

    def path(self, rest: str) -> str:
        return f"kp1/{APP_VERSION}/{self.extension}/{rest}"

    async def serve(self) -> None:
        await self.rpc.serve(GET_APP_VERSION_CONFIG, self.tekton, self._app_version)
        await self.rpc.serve(GET_TENANT_CONFIG, self.tekton, self._tenant)
        await self.rpc.serve(VALIDATE_TOKEN, self.cm, self._validate)
        await self.rpc.bus.flush(5)

    async def serve_extension(self) -> None:
        await self.rpc.serve(CLIENT_DATA, self.extension, self.extend)
        await self.rpc.bus.flush(5)

    async def _app_version(self, request: AppVersionConfigRequest) -> Reply[AppVersionConfigResponse]:
        self.lookups += 1
        known = request.app_version_name in self.versions
        return Reply(
            AppVersionConfigResponse(
                **answer_header(request),
                app_version_name=request.app_version_name,
                tenant_id="default" if known else None,
                app_name=APP if known else None,
                config=jsontext.dump(self.config) if known else None,
                status_code=200 if known else 404,
            )
        )

    async def _tenant(self, request: TenantConfigRequest) -> Reply[TenantConfigResponse]:
        self.tenant_lookups += 1
        if self.on_tenant_lookup is not None:
            self.on_tenant_lookup()
        config = self.tenants.get(request.tenant_id)
        return Reply(
            TenantConfigResponse(
                **answer_header(request),
                tenant_id=request.tenant_id,
                config=None if config is None else jsontext.dump(config),
                status_code=200,
            )
        )

    async def _validate(self, request: EndpointTokenValidationRequest) -> Reply[EndpointTokenValidationResponse]:
        self.validations += 1
        known = self.tokens.get(request.token) if request.app_name == APP else None
        status_code = self.token_status if known else 404
        endpoint_id, token_id = known if known and status_code == 200 else (None, None)
        response = EndpointTokenValidationResponse(
            **answer_header(request),
            token_id=token_id,
            endpoint_id=endpoint_id,
            status_code=status_code,
            reason_phrase=self.token_reason,
        )
        if self.on_validation is not None:
            self.on_validation()
        return Reply(response)

    async def extend(self, request: ClientData) -> Reply[ExtensionData]:
        self.received.append(request)
        if request.endpoint_id is not None and request.endpoint_id == self.silent_for:
            await asyncio.Event().wait()
        await asyncio.sleep(self.delay)
        status_code, payload, reason_phrase = self.answer
        return Reply(
            ExtensionData(
                **answer_header(request),
                app_version_name=request.app_version_name,
                extension_instance_name=self.extension,
                endpoint_id=request.endpoint_id,
                resource_path=request.resource_path,
                request_id=request.request_id,
                payload=payload,
                status_code=status_code,
                reason_phrase=reason_phrase,
            )
        )


@pytest.fixture
async def backend(nats_server: NatsServer) -> AsyncIterator[Backend]:
    """Application version and token are known; the extension is not served until the test says so."""
    suffix = secrets.token_hex(4)
    async with connect(nats_server.url, "backend") as connection:
        rpc = Rpc(connection, f"backend-{suffix}")
        await rpc.start()
        started = Backend(rpc, suffix)
        await started.serve()
        yield started


@pytest.fixture
async def edge_rpc(bus: NatsBus, backend: Backend) -> Rpc:
    started = Rpc(bus, f"kpc-{backend.suffix}")
    await started.start()
    return started


@pytest.fixture
def tokens(edge_rpc: Rpc, backend: Backend) -> Tokens:
    trusting = Tokens(edge_rpc, backend.cm)
    trusting.trust(since=trusting.clock() + 1000)
    return trusting


@pytest.fixture
def traffic(edge_rpc: Rpc, backend: Backend) -> Traffic:
    return Traffic(edge_rpc, backend.kpc, period=1000)


@pytest.fixture
async def edge(edge_rpc: Rpc, backend: Backend, tokens: Tokens, traffic: Traffic) -> Edge:
    app_versions = AppVersions(edge_rpc, backend.tekton, f"kpc-{backend.suffix}")
    await app_versions.start()
    limits = EdgeLimits(max_payload=1000, request_timeout=10.0, endpoint_rate=10_000)
    extensions = {backend.extension: True, "other": True, backend.unaware: False}
    return Edge(edge_rpc, app_versions, tokens, extensions, limits, traffic)
