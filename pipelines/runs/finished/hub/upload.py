"""An upload to the hub, through its own client: what would go, and one commit of it.

The address is huggingface_hub's `HF_ENDPOINT`, and the token its own (`HF_TOKEN`, or `hf auth login`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from actors.contract.records import Record
from actors.contract.untrusted import visible
from actors.errors import SalusError

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, HfApi

Kind = Literal["model", "dataset"]
CARD = "README.md"
# As the hub's own rules are: no name in it begins or ends with a dot or hyphen.
_PART = r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?"
_REPO = re.compile(rf"(?!.*(--|\.\.|\.git$)){_PART}/{_PART}")
_LONGEST = 96
# Characters of a server's own words that are shown.
_SHOWN = 300


@dataclass(frozen=True)
class HubFile:
    """One file of a repository, and where its bytes are."""

    # Within the repository.
    path: str
    content: Path | bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


@dataclass(frozen=True)
class HubPush:
    """Everything that an upload would send, and where to.

    Raises:
        SalusError: the name is none of a repository.
    """

    repo: str
    kind: Kind
    public: bool
    files: tuple[HubFile, ...]
    message: str
    # Patterns of files that an earlier upload may have left, and that would be read with these ones.
    replaces: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_repo(self.repo)

    @property
    def visibility(self) -> str:
        return "public" if self.public else "private"

    @property
    def front_matter(self) -> str:
        """The YAML at the top of the card."""
        content = next(file.content for file in self.files if file.path == CARD)
        text = content.decode() if isinstance(content, bytes) else content.read_text(encoding="utf-8")
        return text.removeprefix("---\n").partition("\n---\n")[0]

    def facts(self) -> dict[str, object]:
        """What goes where, for `--json`."""
        files = [{"path": file.path, "size": file.size} for file in self.files]
        return {"repo": self.repo, "kind": self.kind, "visibility": self.visibility, "files": files}


class Uploaded(Record):
    """A commit that the hub has."""

    url: str
    commit: str
    # Files of an earlier upload that it removed.
    removed: tuple[str, ...]


def check_repo(name: str) -> None:
    """Raises SalusError for what is no name of a repository."""
    if _REPO.fullmatch(name) is None or len(name) > _LONGEST:
        raise SalusError(f"{name!r} is no name of a repository; write it as ORGANISATION/NAME.")


def check_client() -> None:
    """Raises SalusError where no upload can be: offline, or without a token."""
    from huggingface_hub import get_token, is_offline_mode

    if is_offline_mode():
        raise SalusError("HF_HUB_OFFLINE is set, so nothing is uploaded; unset it, or look at it with --dry-run.")
    if get_token() is None:
        raise SalusError(
            "There is no token of the hub; set HF_TOKEN, or run `hf auth login`, with a token that may write."
        )


def upload(push: HubPush) -> Uploaded:
    """Create the repository where there is none, and commit all files at once; what is the same stays.

    Nothing is sent before the hub has confirmed who may see the repository.

    Raises:
        SalusError: offline, no token, the hub refuses or is out of reach, the repository has another visibility, or
            it lacks a file afterwards.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    check_client()
    api = HfApi()
    with _hub_faults(push, api.endpoint):
        held = _repository(api, push)
        new = {file.path for file in push.files}
        old = [name for name in held.files if any(fnmatchcase(name, each) for each in push.replaces)]
        removed = sorted(set(old) - new)
        operations = [CommitOperationAdd(file.path, _given(file)) for file in push.files]
        info: CommitInfo = api.create_commit(
            push.repo,
            [*operations, *(CommitOperationDelete(name, is_folder=False) for name in removed)],
            commit_message=push.message,
            repo_type=push.kind,
            parent_commit=held.sha,
        )
        _check_whole(api, push, info.oid)
    place = f"{'datasets/' if push.kind == 'dataset' else ''}{push.repo}"
    return Uploaded(url=f"{api.endpoint}/{place}", commit=info.oid, removed=tuple(removed))


@dataclass(frozen=True)
class _Held:
    """A repository before the commit."""

    sha: str | None
    files: tuple[str, ...]


def _repository(api: HfApi, push: HubPush) -> _Held:
    """The repository as it is, or a new one; who may see it is what was asked for."""
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    try:
        found: Any = api.repo_info(push.repo, repo_type=push.kind)
        cure = _cure(push)
    except RepositoryNotFoundError:
        try:
            api.create_repo(push.repo, repo_type=push.kind, private=not push.public)
        except HfHubHTTPError as error:
            if error.response.status_code == 409:
                raise SalusError(
                    f"{push.repo} is there already, and this token may not see it; name another repository."
                ) from error
            raise
        # An organisation may decide otherwise.
        found = api.repo_info(push.repo, repo_type=push.kind)
        cure = "its owner allows no other; name another owner, or change that in the owner's settings"
    if bool(found.private) == push.public:
        there = "private" if found.private else "public"
        raise SalusError(
            f"{push.repo} is {there} on the hub, and this upload is {push.visibility}, so nothing was uploaded: {cure}."
        )
    return _Held(found.sha, tuple(each.rfilename for each in found.siblings or ()))


def _cure(push: HubPush) -> str:
    if push.public:
        return "leave --public out, make it public on its page, or name another repository"
    way = "add --public, " if push.kind == "model" else ""
    return f"{way}make it private on its page, or name another repository"


def _given(file: HubFile) -> str | bytes:
    return file.content if isinstance(file.content, bytes) else str(file.content)


def _check_whole(api: HfApi, push: HubPush, commit: str) -> None:
    """Ask the hub what it has: it leaves out what a .gitignore of the repository names, and says nothing."""
    found = api.get_paths_info(push.repo, [file.path for file in push.files], revision=commit, repo_type=push.kind)
    sizes: Mapping[str, int] = {each.path: each.size for each in found if hasattr(each, "size")}
    lacking = [file.path for file in push.files if sizes.get(file.path) != file.size]
    if lacking:
        raise SalusError(
            f"{push.repo} has not taken {_few(lacking)}; see whether a .gitignore there names such files, and"
            " push again."
        )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@contextmanager
def _hub_faults(push: HubPush, endpoint: str) -> Iterator[None]:
    """What the client raises inside, as one sentence."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except SalusError:
        raise
    except Exception as error:  # The client raises HTTP's, Xet's and its own errors, which share no class.
        refused = next((each for each in _chain(error) if isinstance(each, HfHubHTTPError)), None)
        if refused is not None:
            raise SalusError(_refusal(push, endpoint, refused)) from error
        if isinstance(error, ValueError):
            raise SalusError(f"{endpoint} does not take {push.repo} as it is: {_line(str(error))}.") from error
        raise SalusError(
            f"{endpoint} cannot be reached for {push.repo} ({type(error).__name__}: {_line(str(error))}); look at"
            " HF_ENDPOINT and the network, or set HF_HUB_DISABLE_XET=1 for a server without Xet, and push again."
        ) from error


def _refusal(push: HubPush, endpoint: str, error: Any) -> str:
    status, said = error.response.status_code, _line(error.server_message or "no reason given")
    match status:
        case 401:
            cure = "run `hf auth login` again, or set HF_TOKEN to a token that may write"
        case 403:
            cure = f"take a token that may write to {push.repo.partition('/')[0]}, or name another repository"
        case 409 | 412:
            cure = "it was changed meanwhile; push again"
        case _ if status == 429 or status >= 500:
            cure = "push again later; what was uploaded is not sent again"
        case 404 if "xet" in str(error.response.url):
            cure = "set HF_HUB_DISABLE_XET=1, as this server has no Xet"
        case _:
            cure = "change what it names, and push again"
    return f"{endpoint} refuses {push.repo} with status {status} ({said}): {cure}."


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _line(text: str) -> str:
    """A server's words on one line, which steer no terminal."""
    return visible(" ".join(text.split()))[:_SHOWN].rstrip(".")
