"""How an API is addressed, and in which header the key goes there: the vendor's own form, which compatible servers share, and Azure's.

Azure (its REST reference of 2025-04 and the vendor's SDK 3.54.0): a model is reached through a deployment, whose name is in the path; every
call says which version of the API it means; the key is in a header of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.secret import Secret

GENERATIONS = "/images/generations"


class Form(Protocol):
    """How one kind of API is addressed."""

    def path(self, path: str) -> str:
        """Where something is that no model is asked for, behind the API's URL; ``path`` is the vendor's."""
        ...

    def call(self, path: str, model: str) -> str:
        """Where that model is asked for pictures."""
        ...

    def model(self, name: str) -> str:
        """What a request calls the model."""
        ...

    def header(self, secret: Secret) -> tuple[str, str]:
        """The header with the key: its name and its value."""
        ...


@attrs.frozen
class VendorForm:
    """The vendor's own."""

    def path(self, path: str) -> str:
        """The same."""
        return path

    def call(self, path: str, model: str) -> str:  # noqa: ARG002 - the body names the model
        """The same for every model."""
        return path

    def model(self, name: str) -> str:
        """Its name."""
        return name

    def header(self, secret: Secret) -> tuple[str, str]:
        """A bearer token."""
        return "Authorization", f"Bearer {secret.reveal()}"


@attrs.frozen(kw_only=True)
class AzureForm:
    """Azure OpenAI's."""

    api_version: str
    deployments: Mapping[str, str] = attrs.field(factory=dict)
    """Model -> the deployment that serves it; one that is not here has the model's name."""

    def path(self, path: str) -> str:
        """Below ``/openai``, with the version."""
        return f"/openai{path}{'&' if '?' in path else '?'}api-version={quote(self.api_version, safe='')}"

    def call(self, path: str, model: str) -> str:
        """Below the deployment."""
        return self.path(f"/deployments/{quote(self.model(model), safe='')}{path}")

    def model(self, name: str) -> str:
        """The name of its deployment."""
        return self.deployments.get(name, name)

    def header(self, secret: Secret) -> tuple[str, str]:
        """Azure's own."""
        return "api-key", secret.reveal()


VENDOR_FORM = VendorForm()
