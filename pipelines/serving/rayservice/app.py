"""What a RayService names as its `import_path`: `pipelines.serving.rayservice.app:app_builder`.

Ray Serve imports this file in a task of the cluster and calls `app_builder` with the `args` of its configuration. It
deploys the application that this returns. An actor beside it follows the registry, as `salus serve` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ray
from pydantic import ValidationError
from ray.exceptions import GetTimeoutError, RayTaskError

from actors.errors import SalusError, own_error
from pipelines.serving.rayservice.settings import ServiceSettings

if TYPE_CHECKING:
    from ray.serve import Application


def service_settings(args: dict[str, Any]) -> ServiceSettings:
    """The settings in the `args` of Ray Serve's configuration.

    Raises:
        SalusError: they do not fit; names the first that does not.
    """
    try:
        return ServiceSettings.model_validate(args)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "together"
        said = first["msg"].removeprefix("Value error, ")
        raise SalusError(f"The args of the Serve application do not fit ({where}): {said}; change them.") from error


def app_builder(args: dict[str, Any]) -> Application:
    """The application that serves the registry's current policy; its replicas keep to what the follower says.

    Args:
        args: as `ServiceSettings` has them.

    Raises:
        SalusError: settings that do not fit, an endpoint without keys, or no policy that could be served.
    """
    # Both import what only a cluster's processes need; this file is imported to be checked, too.
    from actors.serve.replica.app import build_app
    from pipelines.serving.rayservice.actor import start_follower

    settings = service_settings(args)
    settings.check()
    follower = start_follower(settings)
    try:
        policy, layers = ray.get(follower.begin.remote(), timeout=settings.publish.start_timeout_s)
    except GetTimeoutError as error:
        raise SalusError(
            f"The guard and the feedback of {settings.application} were not up after"
            f" {settings.publish.start_timeout_s:g} s; raise publish.start_timeout_s."
        ) from error
    except RayTaskError as error:
        if (said := own_error(error)) is not None:
            raise said from None
        raise
    return build_app(settings.publish, policy, settings.address, layers)
