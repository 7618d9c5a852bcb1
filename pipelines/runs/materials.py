"""The models that a run begins with: the deployed policy and the judge's weights, built, fetched or checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from actors.contract.records import PolicyRef, Record
from actors.engine.chat_format import ChatFormat, own_template, write_deployed
from actors.engine.model_files import OTHER_WEIGHTS
from actors.engine.tokenizer import check_chat_model
from actors.errors import SalusError
from actors.files.atomic import make_folder
from actors.judges.regimens import Regimen
from actors.training.adapter import check_adapter
from pipelines.cluster.progress import Bar, Reporter
from pipelines.config.recipe import Recipe
from pipelines.data.clinic.config import ClinicConfig
from pipelines.data.tiny.cache import cached, content_key, default_cache_root
from pipelines.runs.prompts.sets import clinic_config, medsafety_config

BASE_VERSION = "c0-base"
_FETCHED = ("*.json", "*.safetensors", "*.jinja", "*.model", "README.md")
# Mistral's own copies of weights and tokenizer, and folders with other formats of the same weights.
_NOT_FETCHED = (OTHER_WEIGHTS, "tekken.json", "*/*")


class Materials(Record):
    """The models of a run; `judge` is None where the policy, a rule or a server judges."""

    policy: PolicyRef
    judge: PolicyRef | None

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where the models are."""
        return tuple(Path(model.path) for model in (self.policy, self.judge) if model is not None)


def gather_models(recipe: Recipe, reporter: Reporter) -> Materials:
    """The policy's and the judge's folders, built (tiny ones), fetched (hub) or checked (folder).

    Raises:
        SalusError: a folder is missing or is not a chat model in safetensors, or the hub cannot be reached.
    """
    return Materials(policy=gather_policy(recipe, reporter), judge=gather_own_judge(recipe, reporter))


def gather_judge(recipe: Recipe, reporter: Reporter) -> PolicyRef | None:
    """The weights that judge before the first cycle, and no others: the deployed policy's where it judges itself.

    None for rules, which need no weights. Raises as `gather_models` does.
    """
    if recipe.judge.row.champion_judges:
        return gather_policy(recipe, reporter)
    return gather_own_judge(recipe, reporter)


def gather_policy(recipe: Recipe, reporter: Reporter) -> PolicyRef:
    """The deployed policy alone. Raises as `gather_models` does."""
    return PolicyRef(
        version=BASE_VERSION, path=str(deployed_model(_policy_folder(recipe, reporter), recipe.model.chat))
    )


def gather_own_judge(recipe: Recipe, reporter: Reporter) -> PolicyRef | None:
    """The judge's own weights; None where it has none. Raises as `gather_models` does."""
    judge = _judge_folder(recipe, reporter)
    if judge is not None:
        judge = deployed_model(judge, judge_chat(recipe, own_template(judge) or ""))
    return PolicyRef(version=judge_name(recipe.judge.regimen, judge), path=str(judge)) if judge is not None else None


def judge_name(regimen: Regimen, folder: Path) -> str:
    """The name of a judge with weights of its own, in judgments and reports."""
    return f"{regimen.lower()}-{folder.name}"


def judge_clinic(recipe: Recipe, kind: Literal["EXT", "LMA"]) -> ClinicConfig:
    """The clinic with those settings alone that its judge is made from: policies of any shape share one judge."""
    made_from = {
        "EXT": ("judge_rows", "judge_spliced_rows", "judge_pretraining"),
        "LMA": ("corpus", "lma_pretraining"),
    }[kind]
    clinic = clinic_config(recipe)
    return ClinicConfig(seed=clinic.seed, judge=clinic.judge).model_copy(
        update={name: getattr(clinic, name) for name in ("untrained_acts", *made_from)}
    )


def _policy_folder(recipe: Recipe, reporter: Reporter) -> Path:
    cache = default_cache_root()
    source = recipe.model.source
    if source == "clinic":
        from pipelines.data.clinic.models import build_policy

        with _Bar(reporter, "pretraining the deployed policy") as bar:
            return build_policy(clinic_config(recipe), cache, bar)
    if source == "medsafety":
        from pipelines.data.medsafety.policy import build_medsafety_policy

        with _Bar(reporter, "pretraining the deployed policy") as bar:
            return build_medsafety_policy(medsafety_config(recipe), cache, bar)
    system = recipe.model.system_prompt
    return _model_folder(
        source, str(recipe.model.path), lambda folder: check_chat_model(folder, system), recipe.model.revision
    )


def judge_chat(recipe: Recipe, template: str) -> ChatFormat:
    """How the judge is asked: at once, where its template has a switch for that, and on the same day always."""
    quick = {"enable_thinking": False} if "enable_thinking" in template else {}
    switches = {**quick, **recipe.judge.chat_template_kwargs}
    return ChatFormat(template_kwargs=switches, date=recipe.model.template_date)


def deployed_model(model: Path, chat: ChatFormat) -> Path:
    """The model as it is asked: itself, or a folder of its name with links to its files beside another template."""
    template = own_template(model)
    if template is None or not chat.changes(template):
        return model
    # A model that changed in its place is another one.
    state = [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in sorted(model.iterdir()) if f.is_file()]
    key = content_key("deployed", [str(model), state, chat.model_dump(mode="json")])

    def build(out: Path) -> None:
        # Judgments are found by the name of the judge's folder.
        make_folder(out / model.name)
        write_deployed(model, chat, out / model.name)

    return cached(default_cache_root(), key, build) / model.name


def _judge_folder(recipe: Recipe, reporter: Reporter) -> Path | None:
    judge = recipe.judge
    if judge.row.weights != "own":
        return None
    if judge.source == "clinic":
        from pipelines.data.clinic.models import build_judge

        kind = judge.row.clinic
        # The recipe refuses another regimen with this source.
        assert kind is not None
        with _Bar(reporter, f"training the {kind} judge") as bar:
            return build_judge(judge_clinic(recipe, kind), kind, default_cache_root(), bar)
    folder = _model_folder(judge.source, str(judge.path), judge.row.check_folder, judge.revision)
    judge.row.check_prompt(folder, judge.prompt)
    return folder


def _model_folder(source: str, path: str, check: Callable[[Path], object], revision: str | None) -> Path:
    folder = Path(path).expanduser()
    if source == "hub":
        folder = _download(path, revision)
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        check_adapter(folder)
        raise SalusError(
            f"{folder} is a LoRA adapter, not a model; merge it into its base model first and give that folder."
        )
    check(folder)
    return folder.absolute()


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        return Path(
            snapshot_download(
                name, revision=revision, allow_patterns=list(_FETCHED), ignore_patterns=list(_NOT_FETCHED)
            )
        )
    except GatedRepoError as error:
        raise SalusError(
            f"Model {name} is gated: accept the licence on its page, then run `hf auth login` with a token of that"
            " account."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise SalusError(
            f"The hub has no model {name!r} that you may see; write its name as ORGANISATION/NAME, as on its page. For"
            " a private one, run `hf auth login`; for a folder, --set model.source=folder."
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        which = f"{name} at revision {revision}" if revision is not None else name
        raise SalusError(
            f"Model {which} cannot be fetched from the hub ({type(error).__name__}); fetch it where there is a"
            " network and give its folder: --set model.source=folder --set model.path=DIR."
        ) from error


class _Bar:
    """A progress callback of `pipelines.data.tiny`, shown as a bar only if it is ever called (nothing cached)."""

    def __init__(self, reporter: Reporter, name: str) -> None:
        self._reporter, self._name = reporter, name
        self._bar: Bar | None = None

    def __enter__(self) -> _Bar:
        return self

    def __call__(self, step: int, steps: int, loss: float) -> None:
        if self._bar is None:
            self._bar = self._reporter.bar(self._name, steps, "steps")
        self._bar.at(step, steps)

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.close()
