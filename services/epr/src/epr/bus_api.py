"""What the register answers on NATS: 4/ESP as the extension `epmx`, and 19/EPMMP.

Each handler takes the endpoint's turn before it waits for anything else, so that requests are answered in the order in
which they arrived. Errors become responses in `kaa_common.rpc`.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from epr import epmx, metadata
from epr.metadata import Metadata
from epr.model import Endpoint, metadata_changes
from epr.register import REVISION_HEADER, Register
from epr.whitelists import Whitelists
from kaa_common import jsontext
from kaa_common.app_versions import AppVersion
from kaa_common.clock import Deadline
from kaa_common.errors import BadRequest, KaaError, NotFound
from kaa_common.messages.declared import Expiring
from kaa_common.messages.epmmp import (
    GET_APP_VERSIONS,
    GET_METADATA,
    GET_METADATA_KEYS,
    PATCH_METADATA,
    UPDATE_METADATA_KEY,
    UPDATE_METADATA_KEY_BATCH,
    AppVersionsByEndpointsRequest,
    AppVersionsByEndpointsResponse,
    EndpointMetadataGetRequest,
    EndpointMetadataGetResponse,
    EndpointMetadataKeyBatchUpdateRequest,
    EndpointMetadataKeyBatchUpdateResponse,
    EndpointMetadataKeysGetRequest,
    EndpointMetadataKeysGetResponse,
    EndpointMetadataKeyUpdateRequest,
    EndpointMetadataKeyUpdateResponse,
    EndpointMetadataPatchRequest,
    EndpointMetadataPatchResponse,
)
from kaa_common.messages.esp import CLIENT_DATA, ClientData, ExtensionData
from kaa_common.rest import check_if_match, etag_of
from kaa_common.rpc import LONGEST_HANDLING, Reply, Rpc, answer_header

BATCH_CONCURRENCY = 512
"""Endpoints of a batch update that are changed at once: enough to fill the store's batches."""

RestrictedChange = Callable[[Endpoint, epmx.Whitelist], Metadata]
"""The metadata an endpoint shall have; raises Forbidden when the whitelist does not allow it."""


class Extension:
    """The 4/ESP extension that speaks 10/EPMP."""

    def __init__(self, register: Register, whitelists: Whitelists, instance: str) -> None:
        self._register = register
        self._whitelists = whitelists
        self._instance = instance

    async def serve(self, rpc: Rpc) -> None:
        await rpc.serve(CLIENT_DATA, self._instance, self.handle)

    async def handle(self, request: ClientData) -> Reply[ExtensionData]:
        if request.endpoint_id is None:
            raise BadRequest("the request names no endpoint")
        async with self._register.turn(request.endpoint_id):
            found = self._whitelists.kept_of_devices(request.app_version_name)
            if found is None:
                deadline = Deadline.of(request.timestamp, request.timeout, longest=LONGEST_HANDLING)
                found = await self._whitelists.of_devices(request.app_version_name, deadline)
            app_version, whitelist = found
            planned = epmx.plan(request.resource_path, request.payload, whitelist)
            payload = await self._answer(request.endpoint_id, planned, app_version)
        return Reply(
            ExtensionData(
                **answer_header(request),
                app_version_name=request.app_version_name,
                extension_instance_name=self._instance,
                endpoint_id=request.endpoint_id,
                resource_path=request.resource_path,
                request_id=request.request_id,
                payload=payload,
                status_code=200,
            )
        )

    async def _answer(self, endpoint_id: str, planned: epmx.Read | epmx.Change, app_version: AppVersion) -> bytes:
        match planned:
            case epmx.Read(answer):
                endpoint = await self._register.get(endpoint_id)
                _check_application(endpoint, app_version)
                return jsontext.dump(answer(endpoint.metadata))
            case epmx.Change(operation):

                def change(endpoint: Endpoint) -> Metadata:
                    _check_application(endpoint, app_version)
                    return operation(endpoint.metadata)

                await self._register.change_metadata(endpoint_id, change)
                return b""


class MetadataManagement:
    """19/EPMMP."""

    def __init__(self, register: Register, whitelists: Whitelists, instance: str) -> None:
        self._register = register
        self._whitelists = whitelists
        self._instance = instance

    async def serve(self, rpc: Rpc) -> None:
        await rpc.serve(GET_METADATA, self._instance, self.get)
        await rpc.serve(PATCH_METADATA, self._instance, self.patch)
        await rpc.serve(GET_METADATA_KEYS, self._instance, self.get_keys)
        await rpc.serve(UPDATE_METADATA_KEY, self._instance, self.update_key)
        await rpc.serve(UPDATE_METADATA_KEY_BATCH, self._instance, self.update_keys)
        await rpc.serve(GET_APP_VERSIONS, self._instance, self.get_app_versions)

    async def get(self, request: EndpointMetadataGetRequest) -> Reply[EndpointMetadataGetResponse]:
        async with self._register.turn(request.endpoint_id):
            endpoint = await self._register.get(request.endpoint_id)
        # 19/EPMMP: an empty list includes all keys.
        wanted = metadata.select(endpoint.metadata, request.include) if request.include else endpoint.metadata
        return Reply(
            EndpointMetadataGetResponse(
                **answer_header(request),
                endpoint_id=endpoint.id,
                e_tag=etag_of(endpoint.revision),
                payload=jsontext.dump(wanted) if request.include_metadata else None,
                status_code=200,
                app_version_name=endpoint.app_version,
            ),
            _revision_header(endpoint),
        )

    async def patch(self, request: EndpointMetadataPatchRequest) -> Reply[EndpointMetadataPatchResponse]:
        operation = metadata.parse_patch(request.patch)

        def change(endpoint: Endpoint, whitelist: epmx.Whitelist) -> Metadata:
            check_if_match(request.if_match, endpoint.revision)
            after = operation(endpoint.metadata)
            if whitelist.keys is not None:
                changes = metadata_changes(endpoint.metadata, after)
                whitelist.check_writing([*changes.removed, *changes.added, *changes.updated])
            return after

        endpoint = await self._change(request, request.endpoint_id, change)
        return Reply(
            EndpointMetadataPatchResponse(**answer_header(request), endpoint_id=endpoint.id, status_code=200),
            _revision_header(endpoint),
        )

    async def get_keys(self, request: EndpointMetadataKeysGetRequest) -> Reply[EndpointMetadataKeysGetResponse]:
        async with self._register.turn(request.endpoint_id):
            endpoint = await self._register.get(request.endpoint_id)
        return Reply(
            EndpointMetadataKeysGetResponse(
                **answer_header(request), endpoint_id=endpoint.id, keys=tuple(endpoint.metadata), status_code=200
            ),
            _revision_header(endpoint),
        )

    async def update_key(self, request: EndpointMetadataKeyUpdateRequest) -> Reply[EndpointMetadataKeyUpdateResponse]:
        change = _merge(_member(request.metadata_key, request.metadata_value))
        endpoint = await self._change(request, request.endpoint_id, change)
        return Reply(
            EndpointMetadataKeyUpdateResponse(**answer_header(request), endpoint_id=endpoint.id, status_code=200),
            _revision_header(endpoint),
        )

    async def update_keys(
        self, request: EndpointMetadataKeyBatchUpdateRequest
    ) -> Reply[EndpointMetadataKeyBatchUpdateResponse]:
        """Each endpoint's keys in one change; nothing is changed when a key or a value is malformed.

        When some endpoints cannot be changed the others are nevertheless; the status is that of the first failure.
        """
        members: dict[str, dict[str, Any]] = {}
        for command in request.commands:
            members.setdefault(command.endpoint_id, {}).update(_member(command.metadata_key, command.metadata_value))
        remaining = iter(members.items())
        failures: list[KaaError] = []

        async def work() -> None:
            for endpoint_id, wanted in remaining:
                try:
                    await self._change(request, endpoint_id, _merge(wanted))
                except KaaError as exc:
                    failures.append(exc)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(BATCH_CONCURRENCY, len(members))):
                tasks.create_task(work(), name="batch update")
        if failures:
            raise failures[0]
        return Reply(EndpointMetadataKeyBatchUpdateResponse(**answer_header(request), status_code=200))

    async def get_app_versions(self, request: AppVersionsByEndpointsRequest) -> Reply[AppVersionsByEndpointsResponse]:
        """Endpoints that are not registered are left out."""
        found: dict[str, tuple[str, ...]] = {}
        for endpoint in await self._register.get_many(list(dict.fromkeys(request.endpoint_ids))):
            found[endpoint.app_version] = (*found.get(endpoint.app_version, ()), endpoint.id)
        return Reply(
            AppVersionsByEndpointsResponse(
                **answer_header(request),
                endpoint_ids=request.endpoint_ids,
                app_versions_to_endpoints=found,
                status_code=200,
            )
        )

    async def _change(self, request: Expiring, endpoint_id: str, change: RestrictedChange) -> Endpoint:
        """Change metadata as far as the whitelist of the endpoint's application version, whichever that is, allows."""
        looked_up: dict[str, epmx.Whitelist] = {}

        def decide(endpoint: Endpoint) -> Metadata:
            name = endpoint.app_version
            whitelist = looked_up.get(name) or self._whitelists.kept_of_services(name)
            if whitelist is None:
                raise _NotLookedUp(name)
            return change(endpoint, whitelist)

        async with self._register.turn(endpoint_id):
            while True:
                try:
                    return await self._register.change_metadata(endpoint_id, decide)
                except _NotLookedUp as exc:
                    deadline = Deadline.of(request.timestamp, request.timeout, longest=LONGEST_HANDLING)
                    looked_up[str(exc)] = await self._whitelists.of_services(str(exc), deadline)


class _NotLookedUp(Exception):
    """The whitelist of the application version has to be known first."""


def _merge(members: Metadata) -> RestrictedChange:
    """Create or overwrite keys."""
    operation = metadata.merge(members)

    def change(endpoint: Endpoint, whitelist: epmx.Whitelist) -> Metadata:
        whitelist.check_writing(members)
        return operation(endpoint.metadata)

    return change


def _check_application(endpoint: Endpoint, app_version: AppVersion) -> None:
    """A device may move to another version of its application, not to another application."""
    if endpoint.application != app_version.app_name:
        raise NotFound("no endpoint with this id")


def _member(key: str, value: bytes) -> dict[str, Any]:
    metadata.check_keys([key])
    return {key: metadata.parse_value(value)}


def _revision_header(endpoint: Endpoint) -> Mapping[str, str]:
    return {REVISION_HEADER: str(endpoint.revision)}
