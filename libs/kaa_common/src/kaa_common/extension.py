"""What an extension needs: to answer the requests of devices, and to send to a device unasked (4/ESP).

A handler is given a request and returns the payload of its answer; an error that it raises becomes the status code that
`kaa_common.errors` has for it. docs/extensions.md shows one that is whole.
"""

from collections.abc import Awaitable, Callable

from kaa_common.avro import encode
from kaa_common.messages.esp import CLIENT_DATA, ClientData, ExtensionData
from kaa_common.rpc import Reply, Rpc, answer_header, event_header
from kaa_common.subjects import service_subject

Handler = Callable[[ClientData], Awaitable[bytes]]


async def serve(rpc: Rpc, instance: str, handler: Handler) -> None:
    """Answer what devices ask of the extension instance, shared with its other replicas."""

    async def handle(request: ClientData) -> Reply[ExtensionData]:
        payload = await handler(request)
        return Reply(
            ExtensionData(
                **answer_header(request),
                app_version_name=request.app_version_name,
                extension_instance_name=instance,
                endpoint_id=request.endpoint_id,
                resource_path=request.resource_path,
                request_id=request.request_id,
                payload=payload,
                status_code=200,
            )
        )

    await rpc.serve(CLIENT_DATA, instance, handle)


async def push(
    rpc: Rpc,
    kpc_instance: str,
    *,
    instance: str,
    app_version_name: str,
    endpoint_id: str,
    resource_path: str,
    payload: bytes,
) -> None:
    """Send an endpoint what it did not ask for: `kp1/<app version>/<instance>/<token><resource path>/status`.

    Whichever replica of KPC holds the endpoint's connections passes it on. Like an event it reaches nobody when the
    endpoint is not connected. Raises Unavailable when the bus is down.
    """
    message = ExtensionData(
        **event_header(),
        app_version_name=app_version_name,
        extension_instance_name=instance,
        endpoint_id=endpoint_id,
        resource_path=resource_path,
        request_id=None,
        payload=payload,
        status_code=200,
    )
    subject = service_subject(kpc_instance, CLIENT_DATA.protocol, CLIENT_DATA.response_type)
    await rpc.bus.publish(subject, encode(message))
