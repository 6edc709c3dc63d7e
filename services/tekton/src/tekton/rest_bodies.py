"""The JSON bodies of the REST interface."""

from typing import Annotated

from pydantic import Field

from kaa_common.clock import iso_timestamp
from kaa_common.rest import Body
from tekton.model import Application, ApplicationVersion, Texts

DisplayName = Annotated[str | None, Field(description="What people read.", examples=["Water meters"])]
Description = Annotated[str | None, Field(description="What it is for.")]
Timestamp = Annotated[str, Field(examples=["2017-03-17T11:30:02.643Z"])]


class TextsBody(Body):
    """New texts; null removes one, a missing one stays as it is."""

    display_name: DisplayName = None
    description: Description = None

    def texts(self) -> Texts:
        texts: Texts = {}
        if "display_name" in self.model_fields_set:
            texts["display_name"] = self.display_name
        if "description" in self.model_fields_set:
            texts["description"] = self.description
        return texts


class NewApplicationBody(TextsBody):
    """An application to create."""

    name: Annotated[str | None, Field(description="A UUID is generated when it is missing.")] = None
    group: Annotated[
        str | None, Field(description="A group of users, which Kaa's clients name; access is not by groups here.")
    ] = None


class NewApplicationVersionBody(TextsBody):
    """An application version to create."""

    name_suffix: Annotated[str, Field(description="The name becomes `<application>-<suffix>`.", examples=["v1"])]


class ApplicationVersionBody(Body):
    name: str
    display_name: DisplayName = None
    description: Description = None
    created_date: Timestamp
    updated_date: Timestamp

    @classmethod
    def of(cls, version: ApplicationVersion) -> "ApplicationVersionBody":
        return cls(
            name=version.name,
            display_name=version.display_name,
            description=version.description,
            created_date=iso_timestamp(version.created_ms),
            updated_date=iso_timestamp(version.updated_ms),
        )


class ApplicationBody(ApplicationVersionBody):
    versions: list[ApplicationVersionBody]

    @classmethod
    def of_application(cls, application: Application) -> "ApplicationBody":
        return cls(
            name=application.name,
            display_name=application.display_name,
            description=application.description,
            created_date=iso_timestamp(application.created_ms),
            updated_date=iso_timestamp(application.updated_ms),
            versions=[ApplicationVersionBody.of(version) for version in application.versions.values()],
        )
