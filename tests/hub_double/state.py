"""What a Hub holds: repositories of commits, big files by their sha256, collections, and who may do what."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

ATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n*.pdf filter=lfs diff=lfs merge=lfs -text\n"
EXAMPLE = {
    "README.md": b"---\ntitle: A Space\nsdk: static\n---\n",
    "index.html": b"<h1>Welcome to your static Space!</h1>\n",
    "style.css": b"h1 { font-size: 16px }\n",
}
"""What is in a new static Space."""
LFS_ENDINGS = (".safetensors", ".pdf", ".bin", ".parquet")
LFS_FROM = 10 * 1024 * 1024
"""Bytes from which on a file is a big one whatever it is called."""


class Refusal(Exception):
    """An answer that is no success, with the code that huggingface_hub reads in `X-Error-Code`."""

    def __init__(self, status: int, code: str = "", message: str = "", **more: Any) -> None:
        super().__init__(message or code)
        self.status, self.code, self.message, self.more = status, code, message or code, more


@dataclass(frozen=True)
class Blob:
    """A file of a commit. Of a big one the bytes are elsewhere."""

    content: bytes = b""
    sha256: str = ""
    size: int = 0

    @property
    def pointer(self) -> bytes:
        version = "version https://git-lfs.github.com/spec/v1"
        return f"{version}\noid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @property
    def oid(self) -> str:
        data = self.pointer if self.sha256 else self.content
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    def info(self, path: str) -> dict[str, Any]:
        said: dict[str, Any] = {"type": "file", "path": path, "oid": self.oid, "size": self.size}
        if self.sha256:
            said["lfs"] = {"oid": self.sha256, "size": self.size, "pointerSize": len(self.pointer)}
        return said


@dataclass(frozen=True)
class Commit:
    """A tree and what was said of it."""

    oid: str
    parent: str | None
    title: str
    message: str
    at: datetime
    tree: Mapping[str, Blob]

    @property
    def date(self) -> str:
        return f"{self.at:%Y-%m-%dT%H:%M:%S}.000Z"


@dataclass
class Repo:
    """One repository."""

    kind: str
    id: str
    private: bool = False
    gated: bool = False
    sdk: str = ""
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)

    def find(self, revision: str) -> Commit:
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        if oid not in self.commits:
            raise Refusal(404, "RevisionNotFound")
        return self.commits[oid]

    def history(self, revision: str) -> Iterator[Commit]:
        commit: Commit | None = self.find(revision)
        while commit is not None:
            yield commit
            commit = self.commits.get(commit.parent or "")

    def squash(self, branch: str = "main") -> None:
        """Make one commit of a branch's history."""
        tree = self.find(branch).tree
        del self.branches[branch]
        made = self.commit(branch, "squashed", "", tree)
        kept = {oid for name in (*self.branches, *self.tags) for oid in (c.oid for c in self.history(name))}
        self.commits = {oid: commit for oid, commit in self.commits.items() if oid in kept | {made.oid}}

    def commit(self, branch: str, title: str, message: str, tree: Mapping[str, Blob]) -> Commit:
        parent = self.branches.get(branch)
        said = repr((self.id, len(self.commits), parent, title, message, sorted(tree)))
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=len(self.commits))
        made = Commit(hashlib.sha1(said.encode()).hexdigest(), parent, title, message, at, dict(tree))
        self.commits[made.oid] = made
        self.branches[branch] = made.oid
        return made


@dataclass
class World:
    """Everything there is on this Hub."""

    tokens: dict[str, tuple[str, bool]] = field(default_factory=dict)
    """Token -> whose it is, and whether it may write."""
    repos: dict[tuple[str, str], Repo] = field(default_factory=dict)
    big: dict[str, bytes] = field(default_factory=dict)
    """sha256 -> the bytes that were put there; a test may damage them."""
    collections: dict[str, dict[str, Any]] = field(default_factory=dict)
    ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def who(self, token: str | None) -> str:
        if token is None or token not in self.tokens:
            raise Refusal(401, "", "Invalid username or password.")
        return self.tokens[token][0]

    def writer(self, token: str | None, namespace: str) -> None:
        name = self.who(token)
        if not self.tokens[token or ""][1]:
            raise Refusal(403, "", "This token has role read; a write token is needed.")
        if name != namespace:
            raise Refusal(403, "", f"You don't have the rights to write under the namespace {namespace}.")

    def create(self, kind: str, namespace: str, name: str, *, private: bool, sdk: str) -> Repo:
        key = (kind, f"{namespace}/{name}")
        if key in self.repos:
            raise Refusal(409, "", "You already created this repo", url=f"/{key[1]}")
        repo = self.repos[key] = Repo(kind, key[1], private=private, sdk=sdk)
        files = {".gitattributes": ATTRIBUTES} | (EXAMPLE if sdk == "static" else {})
        repo.commit("main", "initial commit", "", {n: Blob(f, size=len(f)) for n, f in files.items()})
        return repo

    def repo(self, kind: str, repo_id: str, token: str | None, *, files: bool = False) -> Repo:
        """Return a repository that this token may see; of a gated one only its owner has the files."""
        found = self.repos.get((kind, repo_id))
        owner = token in self.tokens and self.tokens[token or ""][0] == repo_id.split("/")[0]
        if found is None or (found.private and not owner):
            raise Refusal(404 if token else 401, "RepoNotFound", "Repository not found")
        if found.gated and files and not owner:
            raise Refusal(403, "GatedRepo", "Access to this repo is restricted")
        return found


def upload_mode(path: str, size: int) -> str:
    return "lfs" if path.endswith(LFS_ENDINGS) or size >= LFS_FROM else "regular"


def check_card(content: str) -> list[str]:
    """Return what is wrong with a card's front matter, as the Hub would say it."""
    if not content.startswith("---\n"):
        return []
    front, mark, _ = content.removeprefix("---\n").partition("\n---")
    if not mark:
        return ["the front matter has no end"]
    try:
        said = yaml.safe_load(front)
    except yaml.YAMLError as error:
        return [" ".join(f"the front matter is no YAML: {error}".split())]
    if not isinstance(said, dict):
        return ["the front matter is no mapping"]
    wrong = [
        f'"{key}" must be a string'
        for key in ("license", "base_model", "sdk")
        if key in said and not said[key]
    ]
    if not all(isinstance(tag, str) for tag in said.get("tags", [])):
        wrong.append('"tags" must be an array of strings')
    return wrong
