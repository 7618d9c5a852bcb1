"""`salus cluster`: what a Kubernetes cluster needs to run Salus: manifests, an image, a board of its metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from actors.errors import SalusError
from pipelines.cli.console.commands import SalusCommand
from pipelines.cli.console.options import AcceptUnreliable, DataFolder, Overrides, RecipeName, Seed, resolve

if TYPE_CHECKING:
    from pipelines.cluster.kubernetes.image import Build
    from pipelines.cluster.kubernetes.manifest import Kind

KINDS = "rayjob, raycluster or rayservice"


def register(app: typer.Typer) -> None:
    cluster = typer.Typer(help="What a Kubernetes cluster needs to run Salus.", no_args_is_help=True)
    cluster.command(
        cls=SalusCommand, epilog="Example: salus cluster manifest rayjob llama-3.1-8b --image IMAGE > job.yaml"
    )(manifest)
    cluster.command(cls=SalusCommand, epilog="Example: salus cluster image cuda | docker build -t salus:cuda -f - .")(
        image
    )
    cluster.command(cls=SalusCommand, epilog="Example: salus cluster board > salus.json")(board)
    app.add_typer(cluster, name="cluster")


def manifest(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"{KINDS}.")],
    recipe: RecipeName,
    image: Annotated[str, typer.Option(help="The image of all pods, as salus cluster image makes it.")],
    claim: Annotated[
        str, typer.Option(metavar="NAME", help="The ReadWriteMany volume claim for runs, registry, data and models.")
    ] = "salus",
    cache_claim: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Another such claim for the hub's models; else the first has them."),
    ] = None,
    namespace: Annotated[str | None, typer.Option(help="The Kubernetes namespace; else that of kubectl.")] = None,
    ray_secret: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A secret with Ray's token (auth_token); else KubeRay makes one."),
    ] = None,
    hub_secret: Annotated[
        str | None, typer.Option(metavar="NAME", help="A secret with a hub's token (token), for models behind a login.")
    ] = None,
    keys_secret: Annotated[
        str | None, typer.Option(metavar="NAME", help="A secret with the clients' keys (keys), for a rayservice.")
    ] = None,
    gpus_per_node: Annotated[int, typer.Option(help="GPUs of one worker at the most.")] = 8,
    gpu_resource: Annotated[str, typer.Option(help="What Kubernetes calls one GPU.")] = "nvidia.com/gpu",
    node_selector: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="A label that workers' nodes have; may be repeated.")
    ] = None,
    toleration: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY[=VALUE][:EFFECT]", help="A taint that workers tolerate; may be repeated."),
    ] = None,
    idle: Annotated[int, typer.Option(metavar="SECONDS", help="How long a worker may be idle before it goes.")] = 600,
    data: DataFolder = None,
    seed: Seed = None,
    overrides: Overrides = None,
    accept_unreliable: AcceptUnreliable = False,
) -> None:
    """Print KubeRay's manifest of a recipe: a CPU head, and workers from none to what its plan needs."""
    from pipelines.cluster.kubernetes.manifest import manifest as made
    from pipelines.cluster.kubernetes.pods import PodOptions, selector_of, toleration_of

    given: dict[str, Any] = {
        "image": image,
        "claim": claim,
        "cache_claim": cache_claim,
        "namespace": namespace,
        "ray_secret": ray_secret,
        "hub_secret": hub_secret,
        "keys_secret": keys_secret,
        "gpus_per_node": gpus_per_node,
        "gpu_resource": gpu_resource,
        "node_selector": selector_of(node_selector or []),
        "tolerations": tuple(map(toleration_of, toleration or ())),
        "idle_s": idle,
    }
    try:
        options = PodOptions.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        option = str(first["loc"][0]).removesuffix("_s").replace("_", "-")
        said = first["msg"].removeprefix("Value error, ")
        raise SalusError(f"--{option} {first['input']!r} does not fit Kubernetes: {said}; change it.") from error
    print(made(_kind(kind), resolve(recipe, overrides, seed, data, accept_unreliable), options), end="")


def image(build: Annotated[str, typer.Argument(metavar="BUILD", help="cpu or cuda.")]) -> None:
    """Print a Dockerfile of Salus, made from its pins and the lock file of its repository."""
    from pipelines.cluster.kubernetes.image import dockerfile

    print(dockerfile(_build(build)), end="")


def board() -> None:
    """Print a Grafana board of a run's metrics and of the endpoint's, as JSON that Grafana imports."""
    from pipelines.report.metrics.board import board_json

    print(board_json(), end="")


def _kind(kind: str) -> Kind:
    from pipelines.cluster.kubernetes.manifest import KINDS as known

    found = next((each for each in known if each == kind), None)
    if found is None:
        raise SalusError(f"There is no manifest of kind {kind!r}; give {KINDS}.")
    return found


def _build(build: str) -> Build:
    if build == "cpu":
        return "cpu"
    if build == "cuda":
        return "cuda"
    raise SalusError(f"There is no image for {build!r}; give cpu or cuda.")
