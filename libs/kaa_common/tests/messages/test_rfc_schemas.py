"""Every record against the schema of its RFC, by the fingerprint of the parsed canonical form (Avro specification)."""

import pkgutil
from importlib import import_module
from typing import Any

import pytest
from fastavro.schema import fingerprint, to_parsing_canonical_form

from kaa_common import messages
from kaa_common.avro import schema_of
from kaa_common.messages.declared import Endpoint, Event
from kaa_common.messages.protocols import PROTOCOLS, records

# CRC-64-AVRO of the parsed canonical form of the schemas published with the RFCs.
SCMP = "org.kaaproject.scmp.event.gen.v1"
RFC_FINGERPRINTS = {
    "org.kaaproject.ipc.esp.gen.v1.ClientData": "d81cfa6261d44d90",
    "org.kaaproject.ipc.esp.gen.v1.ExtensionData": "bbcf4cfd1b794c32",
    "org.kaaproject.ipc.event.gen.v1.endpoint.lifecycle.RegisteredEvent": "a0e0a51ff590e0f8",
    "org.kaaproject.ipc.event.gen.v1.endpoint.lifecycle.UnregisteredEvent": "cee303caa843efff",
    "org.kaaproject.ipc.event.gen.v1.endpoint.lifecycle.AppVersionUpdatedEvent": "0a05d793d8119853",
    "org.kaaproject.ipc.event.gen.v1.endpoint.connectivity.ConnectedEvent": "cb26871c2811de6e",
    "org.kaaproject.ipc.event.gen.v1.endpoint.connectivity.DisconnectedEvent": "201d87a8835c0541",
    "org.kaaproject.ipc.event.gen.v1.endpoint.traffic.reporting.TrafficReportEvent": "1f73ef9e3c1a2aea",
    "org.kaaproject.ipc.event.gen.v1.endpoint.metadata.MetadataUpdatedEvent": "e24e568f61f7f2db",
    "org.kaaproject.ipc.ecap.gen.v1.EndpointTokenValidationRequest": "57017d09e5d26383",
    "org.kaaproject.ipc.ecap.gen.v1.EndpointTokenValidationResponse": "7b83e5962794ee1d",
    "org.kaaproject.ipc.ecap.gen.v1.EndpointTokenStatusTransitionRequest": "ccec65bd8df1cbb3",
    "org.kaaproject.ipc.ecap.gen.v1.EndpointTokenStatusTransitionResponse": "ae80a70f2f36f4d1",
    "org.kaaproject.ipc.ecap.gen.v1.ClientUsernamePasswordValidationRequest": "ed788e7aad95546f",
    "org.kaaproject.ipc.ecap.gen.v1.ClientUsernamePasswordValidationResponse": "487362a4fdaf57da",
    "org.kaaproject.ipc.ecap.gen.v1.ClientCertificateValidationRequest": "066b272e98544b03",
    "org.kaaproject.ipc.ecap.gen.v1.ClientCertificateValidationResponse": "6d2a422745939cd0",
    "org.kaaproject.ipc.ecap.gen.v1.EndpointTokenRevokedEvent": "a0f91d9103c8cb96",
    "org.kaaproject.ipc.ecap.gen.v1.ClientCredentialRevokedEvent": "eeab8cf10f57a22f",
    f"{SCMP}.service.configuration.BroadcastConfigurationUpdateEvent": "8c18d39ec207ac81",
    f"{SCMP}.service.configuration.ServiceSpecificConfigurationUpdateEvent": "99a2a6008777d5fe",
    "org.kaaproject.ipc.event.gen.v1.endpoint.filter.EndpointFilterActivatedEvent": "a445921c09b44e62",
    "org.kaaproject.ipc.event.gen.v1.endpoint.filter.EndpointFilterPendingEvent": "89cd372460e8c574",
    "org.kaaproject.ipc.event.gen.v1.endpoint.filter.EndpointFilterDeletedEvent": "6e13890d33fe5865",
    "org.kaaproject.ipc.event.gen.v1.endpoint.filter.EndpointMatchedFilterEvent": "84dc581913477fa0",
    "org.kaaproject.ipc.event.gen.v1.endpoint.filter.EndpointUnmatchedFilterEvent": "f05c49e7505705d0",
    "org.kaaproject.ipc.epmmp.gen.v1.EndpointMetadataGetRequest": "606b3847a81fc9f0",
    "org.kaaproject.ipc.epmmp.gen.v1.EndpointMetadataGetResponse": "e2f7ce9beef62dc5",
    "org.kaaproject.ipc.epmmp.gen.v1.EndpointMetadataPatchRequest": "5be6a6334a5b9400",
    "org.kaaproject.ipc.epmmp.gen.v1.EndpointMetadataPatchResponse": "f08cbb6a2d0af085",
    "org.kaaproject.ipc.epmmp.gen.v1.EndpointMetadataKeysGetRequest": "a304d2af76597ab0",
    "org.kaaproject.ipc.epmmp.gen.v1.EndpointMetadataKeysGetResponse": "84a6e8b02e49b867",
    "org.kaaproject.ipc.epmmp.gen.v1.EndpointMetadataKeyUpdateRequest": "7f215396c2567b7f",
    "org.kaaproject.ipc.epmmp.gen.v1.EndpointMetadataKeyUpdateResponse": "075cd9d9ae0c01ca",
    "org.kaaproject.ipc.epmmp.gen.v1.EndpointMetadataKeyBatchUpdateRequest": "a198d098c00bf7e0",
    "org.kaaproject.ipc.epmmp.gen.v1.EndpointMetadataKeyBatchUpdateResponse": "ceb419883f47e319",
    "org.kaaproject.ipc.epmmp.gen.v1.AppVersionsByEndpointsRequest": "e3a784df7156f3aa",
    "org.kaaproject.ipc.epmmp.gen.v1.AppVersionsByEndpointsResponse": "720c1cc8b2bf3f48",
    "org.kaaproject.ipc.efmp.gen.v1.EndpointFiltersRequest": "d9ca3c6f72ad96c4",
    "org.kaaproject.ipc.efmp.gen.v1.EndpointFiltersResponse": "b8c0fd7f7db8fc32",
    "org.kaaproject.ipc.efmp.gen.v1.EndpointListByFilterRequest": "af278c4121bac1a0",
    "org.kaaproject.ipc.efmp.gen.v1.EndpointListByFilterResponse": "f23b006d9f873458",
    "org.kaaproject.ipc.cap.gen.v1.ClientBasicAuthenticationRequest": "6c1070063ccb6610",
    "org.kaaproject.ipc.cap.gen.v1.ClientBasicAuthenticationResponse": "ec9a6a75a5dc2b8f",
    "org.kaaproject.ipc.cap.gen.v1.ClientCertificateAuthenticationRequest": "6cb683738b3813c7",
    "org.kaaproject.ipc.cap.gen.v1.ClientCertificateAuthenticationResponse": "f11498c31f707179",
    "org.kaaproject.ipc.cap.gen.v1.ClientCredentialsRevokedEvent": "6c7e5957a5b424be",
    "org.kaaproject.ipc.eprmp.gen.v1.EndpointRelationsGetRequest": "1a287dde01cc73cf",
    "org.kaaproject.ipc.eprmp.gen.v1.EndpointRelationsGetResponse": "f3ffd68d3515778f",
    "org.kaaproject.ipc.eprmp.gen.v1.EndpointRelationsUpdated": "a4d1468f3b611ce3",
}
OWN_NAMESPACES = tuple(f"open.kaa.ipc.{protocol}.v1" for protocol in ("etp", "acp", "cop", "csp", "tap"))


def full_name(record: type) -> str:
    schema = schema_of(record)
    return f"{schema['namespace']}.{schema['name']}"


@pytest.mark.parametrize("record", [r for r in records() if not full_name(r).startswith(OWN_NAMESPACES)], ids=full_name)
def test_a_record_is_the_one_of_its_rfc(record: type) -> None:
    assert (
        fingerprint(to_parsing_canonical_form(schema_of(record)), "CRC-64-AVRO") == RFC_FINGERPRINTS[full_name(record)]
    )


def test_no_record_of_the_rfcs_is_missing() -> None:
    assert set(RFC_FINGERPRINTS) <= {full_name(record) for record in records()}


@pytest.mark.parametrize("event", [event for protocol in PROTOCOLS for event in protocol.events])
def test_whoever_listens_to_kaa_v1_events_hears_records_of_the_rfcs_alone(event: Event[Any]) -> None:
    of_rfc = not full_name(event.record).startswith(OWN_NAMESPACES)
    assert event.subject("kpc", *("f" for part in event.path if part == "*")).startswith("kaa.v1.events.") is of_rfc


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(messages.__path__)])
def test_whatever_is_declared_is_part_of_a_protocol(name: str) -> None:
    known = [declared for protocol in PROTOCOLS for declared in (*protocol.endpoints, *protocol.events)]
    members = vars(import_module(f"{messages.__name__}.{name}")).items()
    assert [n for n, member in members if isinstance(member, Endpoint | Event) and member not in known] == []
