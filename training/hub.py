"""The Hugging Face Hub: what is sent there is verified, and can be sent again after any interruption.

    hub = Hub()
    hub.claim("anna/ember", "model", public=False)
    receipt = hub.send(Parcel("anna/ember", "model", "base-000400", files, "ember@base-000400"))

What is sent is one commit: all of it is there or nothing. Big files that arrived before a connection was cut
are not sent again. What somebody else put there stays, and nothing local is ever changed here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from selves.errors import HubError
from selves.files import sha256_file
from selves.speech import Frozen

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Kind = Literal["model", "dataset", "space"]
ENDPOINT = "https://huggingface.co"
"""The Hub, where no other is named."""
ATTRIBUTES = ".gitattributes"
"""The Hub's own file in every repository."""
MANIFEST = "selves.json"
"""Says of a repository that it was made here, and of what."""
EXAMPLE = frozenset({"README.md", "index.html", "style.css"})
"""What the Hub puts into a new static Space."""


class Receipt(Frozen):
    """Proof that a revision is on the Hub, and what is in it."""

    what: str
    """An address, or what else was sent: `book ember`, `export 3`."""
    endpoint: str
    repo: str
    kind: Kind
    revision: str
    """The branch; `commit` is what stays."""
    commit: str
    files: dict[str, str]
    """Path -> sha256."""
    bytes: int
    verified_at: datetime = Field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is to be one revision of a repository."""

    repo: str
    kind: Kind
    revision: str
    files: Mapping[str, Path | bytes]
    """Path in the repository -> a file here, or its bytes."""
    title: str
    """Of the commit."""
    message: str = ""
    replaces: Collection[str] = ()
    """What was sent there before and goes if it is not in `files`. Whatever else is there stays."""

    @property
    def bytes(self) -> int:
        return sum(len(f) if isinstance(f, bytes) else f.stat().st_size for f in self.files.values())


class There(Frozen):
    """A file as the Hub lists it: a big one by its sha256, another by git's own hash."""

    sha256: str | None
    git_oid: str


class Hub:
    """One endpoint, as the user whose token is in the environment or was kept by `hf auth login`."""

    def __init__(self) -> None:
        try:
            from huggingface_hub import HfApi, constants
        except ModuleNotFoundError as error:
            raise HubError("the package huggingface_hub is not here", 'pip install "selves[hub]"') from error
        self.endpoint = constants.ENDPOINT
        self.api: HfApi = HfApi(endpoint=self.endpoint, library_name="selves")

    def who(self) -> str:
        """Return the token's owner. Raises HubError without a token that is good."""
        with asked("asking who you are"):
            return str(self.api.whoami()["name"])

    def claim(self, repo: str, kind: Kind, *, public: bool, sdk: str | None = None) -> bool:
        """Make the repository if there is none; return whether it is new. Raises HubError."""
        if self.exists(repo, kind):
            return False
        with asked(f"making {repo}"):
            self.api.create_repo(repo, repo_type=kind, private=not public, space_sdk=sdk)
            return True

    def exists(self, repo: str, kind: Kind) -> bool:
        """Return whether there is such a repository that may be seen. Raises HubError."""
        with asked(f"looking for {repo}"):
            return bool(self.api.repo_exists(repo, repo_type=kind))

    def is_new(self, repo: str, kind: Kind) -> bool:
        """Return whether nothing is in a repository but a README and what the Hub puts into a new Space."""
        names = self.tree(repo, kind, "main").keys() - {"README.md"}
        if not names or kind != "space" or names - EXAMPLE:
            return not names
        return b"Welcome to your static Space" in (self.read(repo, kind, "index.html") or b"")

    def read(self, repo: str, kind: Kind, path: str, revision: str = "main") -> bytes | None:
        """Return a small file of a repository; None if it, or the revision, is not there. Raises HubError."""
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, RevisionNotFoundError

        with asked(f"reading {path} of {repo}"):
            try:
                file = hf_hub_download(
                    repo, path, repo_type=kind, revision=revision, endpoint=self.endpoint, force_download=True
                )
            except (EntryNotFoundError, RevisionNotFoundError):
                return None
            return Path(file).read_bytes()

    def tree(self, repo: str, kind: Kind, revision: str) -> dict[str, There]:
        """Return every file of a revision but the Hub's own. Raises HubError."""
        from huggingface_hub.hf_api import RepoFile

        with asked(f"looking at {repo}, revision {revision}"):
            found = self.api.list_repo_tree(repo, repo_type=kind, revision=revision, recursive=True)
            return {
                entry.path: There(sha256=entry.lfs.sha256 if entry.lfs else None, git_oid=entry.blob_id)
                for entry in found
                if isinstance(entry, RepoFile) and entry.path != ATTRIBUTES
            }

    def send(self, parcel: Parcel, what: str) -> Receipt:
        """Make a revision be what the parcel says, and verify that it is. Raises HubError.

        A revision that is so already is not committed again.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        repo, kind, revision = parcel.repo, parcel.kind, parcel.revision
        head, is_new = self._branch(repo, kind, revision)
        there = self.tree(repo, kind, head)
        # what the Hub has already is not sent again, though the commit names it
        wrong = differences(parcel.files, there)
        # a new branch begins with what is on others, where it stays
        old = there.keys() if is_new else there.keys() & set(parcel.replaces)
        extra = sorted(old - parcel.files.keys())
        if wrong or extra:
            operations: list[CommitOperationAdd | CommitOperationDelete] = [
                CommitOperationAdd(path, file if isinstance(file, bytes) else str(file))
                for path, file in parcel.files.items()
                if path in wrong
            ]
            operations += [CommitOperationDelete(path) for path in extra]
            with asked(f"sending {what} to {repo}"):
                head = self.api.create_commit(
                    repo,
                    operations,
                    repo_type=kind,
                    revision=revision,
                    commit_message=parcel.title,
                    commit_description=parcel.message,
                    parent_commit=head,  # whoever else commits meanwhile is not written over
                ).oid
        receipt = Receipt(
            what=what,
            endpoint=self.endpoint,
            repo=repo,
            kind=kind,
            revision=revision,
            commit=head,
            files={path: _sha256(file) for path, file in sorted(parcel.files.items())},
            bytes=parcel.bytes,
        )
        self.verify(receipt, parcel.files)
        return receipt

    def verify(self, receipt: Receipt, files: Mapping[str, Path | bytes]) -> None:
        """Compare files here with a commit on the Hub. Raises HubError naming what differs or is missing."""
        if wrong := differences(files, self.tree(receipt.repo, receipt.kind, receipt.commit)):
            listed = ", ".join(f"{path} ({why})" for path, why in wrong.items())
            raise HubError(
                f"{receipt.repo} at {receipt.commit[:12]} is not what is here: {listed}",
                "nothing was deleted; publish it again, or restore the file that was damaged",
            )

    def fetch(self, receipt: Receipt, path: str, folder: Path) -> None:
        """Write one file that was sent into a folder, verified. Raises HubError.

        What is there already, also a part of it, is not fetched again. If the commit is gone, since the
        repository's history was squashed, the head of its branch may still have the file.
        """
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import RevisionNotFoundError

        def download(revision: str) -> None:
            hf_hub_download(
                receipt.repo,
                path,
                repo_type=receipt.kind,
                revision=revision,
                local_dir=folder,
                endpoint=receipt.endpoint,
            )

        file, sha256 = folder / path, receipt.files.get(path)
        if file.is_file() and sha256_file(file) == sha256:
            return
        with asked(f"fetching {receipt.what} from {receipt.repo}"):
            try:
                download(receipt.commit)
            except RevisionNotFoundError:
                download(receipt.revision)
        if sha256_file(file) != sha256:
            file.unlink()
            raise HubError(
                f"{path} of {receipt.repo} at {receipt.commit[:12]} is not what was sent there",
                "keep what you have here; the copy on the Hub is damaged",
            )

    def tagged(self, repo: str, kind: Kind, tag: str, files: Mapping[str, Path | bytes]) -> bool:
        """Return whether this name is given, to a commit with these files.

        Raises HubError when what it names has them otherwise.
        """
        with asked(f"looking at {repo}"):
            refs = self.api.list_repo_refs(repo, repo_type=kind)
        if tag not in {ref.name for ref in refs.tags}:
            return False
        if wrong := differences(files, self.tree(repo, kind, tag)):
            raise HubError(
                f"{repo} has another {tag} already: {', '.join(wrong)} differ", "choose the next edition"
            )
        return True

    def tag(self, receipt: Receipt, tag: str) -> None:
        """Name a commit. Raises HubError when the name is given."""
        with asked(f"naming {tag} in {receipt.repo}"):
            self.api.create_tag(receipt.repo, tag=tag, revision=receipt.commit, repo_type=receipt.kind)

    def delete(self, repo: str, kind: Kind, revision: str | None = None) -> None:
        """Take a repository, or one of its branches, off the Hub; what is gone already is no trouble.

        Raises HubError, also when it is still there afterwards, and when it is not seen by a token to which
        the Hub would not show it.
        """
        if not self.exists(repo, kind):
            self._trust_absence(repo)
            return
        with asked(f"deleting {repo}"):
            if revision is None:
                self.api.delete_repo(repo, repo_type=kind, missing_ok=True)
            elif revision in self._branches(repo, kind):
                self.api.delete_branch(repo, branch=revision, repo_type=kind)
            is_there = self.exists(repo, kind) if revision is None else revision in self._branches(repo, kind)
        if is_there:
            raise HubError(f"{repo} is still there", "run the same command again, or delete it on its page")

    def _trust_absence(self, repo: str) -> None:
        """Raise HubError unless the token may write there: from others the Hub hides what is private."""
        with asked("asking who you are"):
            told = self.api.whoami()
        if not may_write(told, repo):
            raise HubError(
                f"{repo} is not seen by {told['name']}, whose token may not write there",
                f"use a token of {repo.partition('/')[0]} that may write; what is noted here stays",
            )

    def _branches(self, repo: str, kind: Kind) -> set[str]:
        return {ref.name for ref in self.api.list_repo_refs(repo, repo_type=kind).branches}

    def shelve(self, title: str, namespace: str, repo: str, kind: Kind) -> str:
        """Put a repository into the collection with this title, made if need be; return its slug."""
        with asked(f"putting {repo} into the collection {title!r}"):
            shelf = self.api.create_collection(title, namespace=namespace, exists_ok=True)
            self.api.add_collection_item(shelf.slug, repo, kind, exists_ok=True)
            return str(shelf.slug)

    def _branch(self, repo: str, kind: Kind, revision: str) -> tuple[str, bool]:
        """Return the head of a branch, made from the repository's first commit if there is none.

        And whether it was made.
        """
        with asked(f"looking at {repo}"):
            refs = self.api.list_repo_refs(repo, repo_type=kind)
            heads = {ref.name: ref.target_commit for ref in refs.branches}
            is_new = revision not in heads
            if is_new:
                first = self.api.list_repo_commits(repo, repo_type=kind)[-1].commit_id
                self.api.create_branch(repo, branch=revision, revision=first, repo_type=kind, exist_ok=True)
                heads[revision] = first
            return str(heads[revision]), is_new


def may_write(told: Mapping[str, Any], repo: str) -> bool:
    """Return whether the token that `/api/whoami-v2` tells of may write in a repository's namespace (pure).

    https://huggingface.co/docs/hub/security-tokens
    """
    namespace = repo.partition("/")[0]
    if namespace not in {told["name"], *(org["name"] for org in told.get("orgs", ()))}:
        return False
    token = told.get("auth", {}).get("accessToken", {})
    scopes = token.get("fineGrained", {}).get("scoped", ())
    return token.get("role") == "write" or any(
        scope["entity"].get("name") in (namespace, repo) and "repo.write" in scope["permissions"]
        for scope in scopes
    )


def differences(files: Mapping[str, Path | bytes], there: Mapping[str, There]) -> dict[str, str]:
    """Return path -> what is wrong, of the files here that the Hub does not have just so."""
    wrong = {}
    for path, file in files.items():
        entry = there.get(path)
        if entry is None:
            wrong[path] = "not there"
        elif (_sha256(file) if entry.sha256 else _git_oid(file)) != (entry.sha256 or entry.git_oid):
            wrong[path] = "other bytes"
    return wrong


def _sha256(file: Path | bytes) -> str:
    return hashlib.sha256(file).hexdigest() if isinstance(file, bytes) else sha256_file(file)


def _git_oid(file: Path | bytes) -> str:
    data = file if isinstance(file, bytes) else file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@contextmanager
def asked(doing: str) -> Iterator[None]:
    """Turn what the Hub, or the way to it, answers into a HubError that says what to do."""
    from huggingface_hub import errors

    try:
        yield
    except HubError:
        raise
    except errors.LocalTokenNotFoundError as error:
        raise no_token() from error
    except errors.OfflineModeIsEnabled as error:
        raise HubError(f"{doing} failed: HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE") from error
    except errors.HFValidationError as error:
        raise HubError(f"{doing} failed: {error}", "a repository is called NAMESPACE/NAME") from error
    except errors.HfHubHTTPError as error:
        raise refusal(doing, error) from error
    except (errors.EntryNotFoundError, errors.HTTPError, OSError) as error:  # type: ignore[attr-defined]
        raise cut_off(doing, error) from error
    except RuntimeError as error:  # what the client makes of a failed upload
        cause = error.__cause__
        if isinstance(cause, errors.HfHubHTTPError):
            raise refusal(doing, cause) from error
        raise cut_off(doing, cause or error) from error


def no_token() -> HubError:
    """Return the error of one who is not known to the Hub."""
    return HubError(
        "there is no Hugging Face token",
        "make one at https://huggingface.co/settings/tokens, then run `hf auth login` or set HF_TOKEN",
    )


def cut_off(doing: str, error: BaseException) -> HubError:
    """Return the error of a connection that failed."""
    said = " ".join(str(error).split())[:200] or type(error).__name__
    return HubError(
        f"{doing} failed: {said}", "run the same command again: what has arrived is not sent twice"
    )


def refusal(doing: str, error: object) -> HubError:
    """Return the error of an answer that is no success; `error` is huggingface_hub's HfHubHTTPError."""
    status = getattr(getattr(error, "response", None), "status_code", 0)
    said = getattr(error, "server_message", None) or str(error)
    said = " ".join(str(said).split())[:300]
    quota = any(word in said.lower() for word in ("quota", "storage limit", "storage space", "exceeded"))
    match status:
        case _ if quota and status in (402, 403, 413):
            fix = "make room on the Hub, or choose another namespace; what is here stays"
        case 401:
            fix = "the token is wrong or expired: `hf auth login`, or set HF_TOKEN to one that may write"
        case 403:
            fix = "use a token that may write there, or publish under a namespace of your own"
        case 404:
            fix = "check the name; a private repository is seen only with its owner's token"
        case 409 | 412:
            fix = "somebody else changed it meanwhile: run the same command again"
        case 429:
            fix = "the Hub asks for patience: run the same command again later"
        case _ if status >= 500:
            fix = "the Hub is in trouble: run the same command again; what has arrived is not sent twice"
        case _:
            fix = "see what the Hub says; nothing here was changed"
    return HubError(f"{doing} failed ({status or 'no answer'}): {said}", fix)
