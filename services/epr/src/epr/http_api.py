"""The register's REST interface put together, but for that of filters."""

from dataclasses import dataclass

from fastapi import APIRouter

from epr.batches import Batches
from epr.filters.filters import Filters
from epr.listing import Listing
from epr.metadata_keys import MetadataKeys
from epr.register import Register
from epr.registration import Registrar
from epr.relations import Relations
from epr.rest_batch import BatchApi
from epr.rest_endpoints import EndpointsApi
from epr.rest_metadata import MetadataApi
from epr.rest_relations import RelationsApi
from epr.rest_routes import router_of
from kaa_common.app_versions import AppVersions


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointApi:
    """What the calls are made of."""

    register: Register
    registrar: Registrar
    relations: Relations
    batches: Batches
    listing: Listing
    filters: Filters
    keys: MetadataKeys
    app_versions: AppVersions
    tenant: str
    request_timeout: float

    def router(self) -> APIRouter:
        endpoints = EndpointsApi(
            self.register,
            self.registrar,
            self.app_versions,
            self.listing,
            self.filters,
            self.relations,
            tenant=self.tenant,
            request_timeout=self.request_timeout,
        )
        return router_of(
            BatchApi(self.batches, self.app_versions, self.request_timeout),
            endpoints,
            MetadataApi(self.register, self.keys, self.request_timeout),
            RelationsApi(self.relations, self.request_timeout),
        )
