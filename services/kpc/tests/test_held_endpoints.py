from kaa_common.clock import Deadline
from kaa_common.messages.cop import HELD_ENDPOINTS, HeldEndpointsRequest, HeldEndpointsResponse
from kaa_common.rpc import Rpc, request_header
from kpc.held_endpoints import HeldEndpoints
from kpc.presence import Presence, Session


def arrive(presence: Presence, endpoint_id: str, at: int) -> None:
    session = Session(
        connection_id=at,
        app_version_name="kettle-v1",
        tenant_id="tenant",
        app_name="kettle",
        token="token",
        token_id="id",
        qos=0,
    )
    presence.identified(endpoint_id, session, at)


async def ask(rpc: Rpc, after: str = "", limit: int = 2) -> HeldEndpointsResponse:
    request = HeldEndpointsRequest(**request_header(Deadline.after(10)), after=after, limit=limit)
    return (await rpc.call(HELD_ENDPOINTS, rpc.replica_id, request)).message


async def test_it_tells_what_is_held_page_by_page(rpc: Rpc) -> None:
    presence = Presence(rpc.replica_id)
    await HeldEndpoints(presence).serve(rpc)
    for at, name in enumerate(("c", "a", "b"), 1):
        arrive(presence, name, at)

    first = await ask(rpc)
    assert [(held.endpoint_id, held.app_version_name, held.since) for held in first.endpoints] == [
        ("a", "kettle-v1", 2),
        ("b", "kettle-v1", 3),
    ]
    second = await ask(rpc, after="b")
    assert [held.endpoint_id for held in second.endpoints] == ["c"]
    assert (first.is_complete, second.is_complete) == (False, True)


async def test_what_another_replica_holds_is_none_of_it(rpc: Rpc) -> None:
    presence = Presence(rpc.replica_id)
    await HeldEndpoints(presence).serve(rpc)
    arrive(presence, "a", 1)
    presence.connected_elsewhere(["a"], "another", timestamp=2, now=3)
    answer = await ask(rpc)
    assert (answer.endpoints, answer.is_complete) == ((), True)
