"""Every protocol of the suite: what the generated documentation and the contract tests go through."""

from dataclasses import dataclass
from typing import Any

from kaa_common.messages import acp, cap, cop, csp, ecap, efe, efmp, elce, eme, epmmp, eprmp, esp, etp, scmp, tap
from kaa_common.messages.declared import Endpoint, Event


@dataclass(frozen=True, slots=True)
class Protocol:
    name: str
    endpoints: tuple[Endpoint[Any, Any], ...] = ()
    events: tuple[Event[Any], ...] = ()
    notices: tuple[type[Any], ...] = ()
    """Records sent to a service that never answers."""


PROTOCOLS = (
    Protocol("4/ESP", esp.ENDPOINTS),
    Protocol("9/ELCE", events=elce.EVENTS),
    Protocol("15/EME", events=eme.EVENTS),
    Protocol("16/ECAP", ecap.ENDPOINTS, ecap.EVENTS),
    Protocol(
        "17/SCMP",
        events=(scmp.CONFIGURATION_UPSERTED, scmp.CONFIGURATION_DELETED),
        notices=(scmp.ServiceSpecificConfigurationUpdateEvent,),
    ),
    Protocol("18/EFE", events=efe.EVENTS),
    Protocol("19/EPMMP", epmmp.ENDPOINTS),
    Protocol("20/EFMP", efmp.ENDPOINTS),
    Protocol("22/CAP", cap.ENDPOINTS, cap.EVENTS),
    Protocol("24/EPRMP", eprmp.ENDPOINTS, eprmp.EVENTS),
    Protocol("ETP (our own)", etp.ENDPOINTS),
    Protocol("ACP (our own)", acp.ENDPOINTS),
    Protocol("COP (our own)", cop.ENDPOINTS, cop.EVENTS),
    Protocol("TAP (our own)", tap.ENDPOINTS),
    Protocol("CSP (our own)", csp.ENDPOINTS),
)


def records() -> list[type[Any]]:
    """Every record that is a message of its own, each once."""
    found: dict[type[Any], None] = {}
    for protocol in PROTOCOLS:
        for endpoint in protocol.endpoints:
            found |= {endpoint.request: None, endpoint.response: None}
        found |= {event.record: None for event in protocol.events}
        found |= dict.fromkeys(protocol.notices)
    return list(found)
