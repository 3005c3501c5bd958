"""`Hub`: a Hugging Face Hub of one's own for tests, on loopback, for the real huggingface_hub.

    with Hub() as hub:
        token = hub.add_user("anna")
        HfApi(endpoint=hub.url, token=token).create_repo("anna/ember")
        hub.fail("POST", r"/commit/", status=503)               # once, before it did anything
        hub.fail("PUT", r"/lfs/", status=500, times=9)
        hub.world.big[sha256] = b"..."                          # damage a big file
        with hub.held("PUT", r"/lfs/") as arrived: ...          # a request that never gets its answer

What is there: who am I; creating and deleting repositories of all kinds; the commit API with its preupload,
regular and LFS files and deletions; branches, tags, refs, history; tree, paths, files with ranges; gating and
private repositories; collections. What is missing: Xet (set HF_HUB_DISABLE_XET), multipart uploads, pull
requests, search.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from tests.hub_double.state import Blob, Refusal, Repo, World, check_card, upload_mode

KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
REPO = r"(?P<id>[\w.-]+/[\w.-]+)"
API = r"/api/(?P<kind>models|datasets|spaces)/" + REPO


@dataclass
class Fault:
    """What goes wrong with the next requests of one kind."""

    method: str
    pattern: str
    status: int
    times: int
    message: str
    applied: bool
    """Whether the request does its work before it is refused: an answer that was lost."""


@dataclass
class Answer:
    """What a request gets."""

    content: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    """What was asked."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str]
    match: re.Match[str]

    def __getitem__(self, name: str) -> str:
        return unquote(self.match[name])

    @property
    def said(self) -> Any:
        return json.loads(self.body or b"{}")

    @property
    def token(self) -> str | None:
        return self.headers.get("authorization", "").removeprefix("Bearer ") or None

    @property
    def kind(self) -> str:
        return KINDS[self.match["kind"]]


class Hub:
    """The server; a context."""

    def __init__(self) -> None:
        self.world = World()
        self.lock = threading.RLock()
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        """Method and path of everything that was asked, in order."""
        self._holds: list[tuple[str, str, threading.Event, threading.Event]] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # headers and body in one packet: a second would wait for the first's receipt
            disable_nagle_algorithm = True

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length) if length else self._chunks()
                answer = hub.answer(
                    self.command, self.path, body, {k.lower(): v for k, v in self.headers.items()}
                )
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in answer.headers:
                    self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.content)
                self.wfile.flush()

            def _chunks(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return b""
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def log_message(self, *_: object) -> None:
                return

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                return  # a client that was killed is what is being tested

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for *_rest, go_on in self._holds:
            go_on.set()
        self._server.shutdown()
        self._server.server_close()

    def add_user(self, name: str, *, writes: bool = True) -> str:
        """Return a token of theirs."""
        token = f"hf_{name}{'' if writes else 'read'}"
        self.world.tokens[token] = (name, writes)
        return token

    def fail(
        self,
        method: str,
        pattern: str,
        status: int,
        *,
        times: int = 1,
        message: str = "",
        applied: bool = False,
    ) -> None:
        """Refuse the next requests that match, before they do anything or (`applied`) after."""
        self.faults.append(Fault(method, pattern, status, times, message or f"injected {status}", applied))

    @contextmanager
    def held(self, method: str, pattern: str) -> Iterator[threading.Event]:
        """Leave the next request that matches without an answer; the event is set when it has arrived."""
        arrived, go_on = threading.Event(), threading.Event()
        self._holds.append((method, pattern, arrived, go_on))
        yield arrived
        go_on.set()

    def repo(self, repo_id: str, kind: str = "model") -> Repo:
        return self.world.repos[kind, repo_id]

    def files(self, repo_id: str, revision: str = "main", kind: str = "model") -> dict[str, bytes]:
        """Return what is in a revision, for tests to compare."""
        tree = self.repo(repo_id, kind).find(revision).tree
        return {path: self.world.big[b.sha256] if b.sha256 else b.content for path, b in tree.items()}

    def answer(self, method: str, target: str, body: bytes, headers: dict[str, str]) -> Answer:
        path = urlsplit(target).path
        with self.lock:
            self.requests.append((method, target))
            held = next((h for h in self._holds if h[0] == method and re.search(h[1], path)), None)
            if held:
                self._holds.remove(held)
        if held:
            held[2].set()
            held[3].wait()
            return Answer(status=503)
        try:
            with self.lock:
                fault = self._trip(method, path)
                if fault and not fault.applied:
                    raise Refusal(fault.status, "", fault.message)
                answer = self._route(method, path, body, headers)
                if fault:
                    raise Refusal(fault.status, "", fault.message)
                return answer
        except Refusal as refusal:
            said = {"error": refusal.message, **refusal.more}
            extra = {"X-Error-Code": refusal.code} if refusal.code else {}
            return Answer(
                json.dumps(said).encode(), refusal.status, {"X-Error-Message": refusal.message, **extra}
            )

    def _trip(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.method == method and re.search(fault.pattern, path):
                fault.times -= 1
                return fault
        return None

    def _route(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        for methods, pattern, handle in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and method in methods.split():
                said = handle(self, Request(method, path, body, headers, match))
                if isinstance(said, Answer):
                    return said
                return Answer(json.dumps(said).encode(), 200, {"Content-Type": "application/json"})
        raise Refusal(404, "", f"this Hub has no {method} {path}")


def who_am_i(hub: Hub, request: Request) -> Any:
    name = hub.world.who(request.token)
    role = "write" if hub.world.tokens[request.token or ""][1] else "read"
    return {"type": "user", "name": name, "orgs": [], "auth": {"accessToken": {"role": role}}}


def create_repo(hub: Hub, request: Request) -> Any:
    said = request.said
    namespace = said.get("organization") or hub.world.who(request.token)
    hub.world.writer(request.token, namespace)
    private = said.get("visibility") == "private" or bool(said.get("private"))
    kind = said.get("type") or "model"
    repo = hub.world.create(kind, namespace, said["name"], private=private, sdk=said.get("sdk", ""))
    return {"url": f"{hub.url}/{'' if kind == 'model' else kind + 's/'}{repo.id}"}


def delete_repo(hub: Hub, request: Request) -> Any:
    said = request.said
    hub.world.writer(request.token, said["organization"])
    del hub.world.repos[said.get("type") or "model", f"{said['organization']}/{said['name']}"]
    return {}


def validate_yaml(_: Hub, request: Request) -> Any:
    if wrong := check_card(request.said["content"]):
        raise Refusal(400, "", "; ".join(wrong), errors=[{"message": one} for one in wrong], warnings=[])
    return {"errors": [], "warnings": []}


def preupload(hub: Hub, request: Request) -> Any:
    repo = _writable(hub, request)
    tree = repo.find(request["v"]).tree
    files = []
    for file in request.said["files"]:
        known = tree.get(file["path"])
        mode = upload_mode(file["path"], file["size"])
        said = {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}
        files.append(said | ({"oid": known.sha256 or known.oid} if known else {}))
    return {"files": files}


def lfs_batch(hub: Hub, request: Request) -> Any:
    _writable(hub, request)
    objects = []
    for item in request.said["objects"]:
        said: dict[str, Any] = {"oid": item["oid"], "size": item["size"]}
        if item["oid"] not in hub.world.big:
            link = {"header": {"authorization": f"Bearer {request.token}"}}
            said["actions"] = {
                "upload": {"href": f"{hub.url}/lfs/{item['oid']}", **link},
                "verify": {"href": f"{hub.url}/verify/{item['oid']}", **link},
            }
        objects.append(said)
    return {"transfer": "basic", "objects": objects}


def lfs_put(hub: Hub, request: Request) -> Any:
    if hashlib.sha256(request.body).hexdigest() != request["oid"]:
        raise Refusal(400, "", "these bytes are not of this sha256")
    hub.world.big[request["oid"]] = request.body
    return {}


def lfs_verify(hub: Hub, request: Request) -> Any:
    if request["oid"] not in hub.world.big:
        raise Refusal(404, "", "no such object")
    return {}


def commit(hub: Hub, request: Request) -> Any:
    repo = _writable(hub, request)
    if request["v"] not in repo.branches:
        raise Refusal(404, "RevisionNotFound")
    head = repo.find(request["v"])
    tree = dict(head.tree)
    header: dict[str, Any] = {}
    for line in request.body.splitlines():
        said = json.loads(line)
        value = said["value"]
        match said["key"]:
            case "header":
                header = value
            case "file":
                content = base64.b64decode(value["content"])
                tree[value["path"]] = Blob(content, size=len(content))
            case "lfsFile":
                if value["oid"] not in hub.world.big:
                    raise Refusal(400, "", f"{value['path']} was not uploaded")
                tree[value["path"]] = Blob(sha256=value["oid"], size=value["size"])
            case "deletedFile":
                if tree.pop(value["path"], None) is None:
                    raise Refusal(404, "EntryNotFound", "A file with this name doesn't exist")
            case other:
                raise Refusal(400, "", f"this Hub does not know {other!r}")
    if header.get("parentCommit", head.oid) != head.oid:
        raise Refusal(412, "", "A commit has happened since. Please refresh and try again.")
    if "README.md" in tree and (wrong := check_card(tree["README.md"].content.decode())):
        raise Refusal(400, "", "; ".join(wrong))
    made = repo.commit(request["v"], header["summary"], header.get("description", ""), tree)
    return {"success": True, "commitOid": made.oid, "commitUrl": f"{hub.url}/{repo.id}/commit/{made.oid}"}


def branch(hub: Hub, request: Request) -> Any:
    repo = _writable(hub, request)
    if request.method == "DELETE":
        del repo.branches[request["v"]]
    elif request["v"] in repo.branches:
        raise Refusal(409, "", "Reference already exists")
    else:
        repo.branches[request["v"]] = repo.find(request.said.get("startingPoint", "main")).oid
    return {}


def tag(hub: Hub, request: Request) -> Any:
    repo = _writable(hub, request)
    if request.method == "DELETE":
        del repo.tags[request["v"]]
    elif request.said["tag"] in repo.tags:
        raise Refusal(409, "", "Tag reference exists already")
    else:
        repo.tags[request.said["tag"]] = repo.find(request["v"]).oid
    return {}


def refs(hub: Hub, request: Request) -> Any:
    repo = _visible(hub, request)

    def listed(kind: str, found: dict[str, str]) -> list[dict[str, str]]:
        return [{"name": n, "ref": f"refs/{kind}/{n}", "targetCommit": oid} for n, oid in found.items()]

    return {"branches": listed("heads", repo.branches), "tags": listed("tags", repo.tags), "converts": []}


def info(hub: Hub, request: Request) -> Any:
    repo = _visible(hub, request)
    found = repo.find(unquote(request.match.groupdict().get("v") or "main"))
    return {
        "_id": "0" * 24,
        "id": repo.id,
        "private": repo.private,
        "gated": "auto" if repo.gated else False,
        "tags": [],
        "downloads": 0,
        "likes": 0,
        "sha": found.oid,
        "lastModified": found.date,
        "createdAt": found.date,
        "siblings": [{"rfilename": path} for path in found.tree],
        **({"sdk": repo.sdk} if repo.sdk else {}),
    }


def tree(hub: Hub, request: Request) -> Any:
    found = _visible(hub, request).find(request["v"])
    under = (request.match.groupdict().get("path") or "").strip("/")
    names = [n for n in sorted(found.tree) if not under or n.startswith(f"{under}/")]
    if under and not names:
        raise Refusal(404, "EntryNotFound")
    return [found.tree[name].info(name) for name in names]


def paths_info(hub: Hub, request: Request) -> Any:
    found = _visible(hub, request).find(request["v"])
    asked = request.said["paths"]
    return [found.tree[path].info(path) for path in asked if path in found.tree]


def commits(hub: Hub, request: Request) -> Any:
    return [
        {"id": c.oid, "title": c.title, "message": c.message, "authors": [], "date": c.date}
        for c in _visible(hub, request).history(request["v"])
    ]


def resolve(hub: Hub, request: Request) -> Answer:
    kind = KINDS[request.match["kind"] or "models"]
    repo = hub.world.repo(kind, request["id"], request.token, files=True)
    found = repo.find(request["v"])
    blob = found.tree.get(request["path"])
    headers = {"X-Repo-Commit": found.oid}
    if blob is None:
        said = json.dumps({"error": "Entry not found"}).encode()
        return Answer(said, 404, headers | {"X-Error-Code": "EntryNotFound"})
    content = hub.world.big[blob.sha256] if blob.sha256 else blob.content
    etag = blob.sha256 or blob.oid
    headers |= {"ETag": f'"{etag}"', "Accept-Ranges": "bytes", "Content-Length": str(len(content))}
    if blob.sha256:
        headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(blob.size)}
    if span := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", "")):
        first, last = int(span[1]), int(span[2] or len(content) - 1)
        part = content[first : last + 1]
        headers |= {"Content-Range": f"bytes {first}-{last}/{len(content)}", "Content-Length": str(len(part))}
        return Answer(part, 206, headers)
    return Answer(content, 200, headers)


def settings(hub: Hub, request: Request) -> Any:
    repo = _writable(hub, request)
    said = request.said
    repo.private = said.get("visibility", "private" if repo.private else "public") == "private"
    repo.gated = bool(said.get("gated", repo.gated))
    return {}


def create_collection(hub: Hub, request: Request) -> Any:
    said = request.said
    hub.world.writer(request.token, said["namespace"])
    slug = f"{said['namespace']}/{re.sub('[^a-z0-9]+', '-', said['title'].lower())}-{'0' * 24}"
    if slug in hub.world.collections:
        raise Refusal(409, "", "this collection exists", slug=slug)
    hub.world.collections[slug] = {
        "slug": slug,
        "title": said["title"],
        "owner": {"type": "user", "name": said["namespace"]},
        "items": [],
        "lastUpdated": "2026-01-01T00:00:00.000Z",
        "position": 0,
        "private": bool(said.get("private")),
        "theme": "blue",
        "upvotes": 0,
    }
    return hub.world.collections[slug]


def collection(hub: Hub, request: Request) -> Any:
    if request["slug"] not in hub.world.collections:
        raise Refusal(404, "", "no such collection")
    return hub.world.collections[request["slug"]]


def add_to_collection(hub: Hub, request: Request) -> Any:
    found = collection(hub, request)
    hub.world.writer(request.token, found["owner"]["name"])
    item = request.said["item"]
    if any((known["id"], known["type"]) == (item["id"], item["type"]) for known in found["items"]):
        raise Refusal(409, "", "this item is in it already")
    number = f"{next(hub.world.ids):024d}"
    found["items"].append({"_id": number, **item, "position": len(found["items"])})
    return found


def _writable(hub: Hub, request: Request) -> Repo:
    repo = _visible(hub, request)
    hub.world.writer(request.token, repo.id.split("/")[0])
    return repo


def _visible(hub: Hub, request: Request) -> Repo:
    kind = KINDS[request.match.groupdict().get("kind") or "models"]
    return hub.world.repo(kind, request["id"], request.token)


V = r"(?P<v>[^/]+)"
OF_KIND = r"(?:/(?P<kind>datasets|spaces))?/"
ROUTES: list[tuple[str, str, Callable[[Hub, Request], Any]]] = [
    ("GET", r"/api/whoami-v2", who_am_i),
    ("POST", r"/api/repos/create", create_repo),
    ("DELETE", r"/api/repos/delete", delete_repo),
    ("POST", r"/api/validate-yaml", validate_yaml),
    ("POST", rf"{API}/preupload/{V}", preupload),
    ("POST", rf"{OF_KIND}{REPO}\.git/info/lfs/objects/batch", lfs_batch),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", lfs_put),
    ("POST", r"/verify/(?P<oid>[0-9a-f]{64})", lfs_verify),
    ("POST", rf"{API}/commit/{V}", commit),
    ("POST DELETE", rf"{API}/branch/{V}", branch),
    ("POST DELETE", rf"{API}/tag/{V}", tag),
    ("GET", rf"{API}/refs", refs),
    ("GET", rf"{API}(?:/revision/{V})?", info),
    ("GET", rf"{API}/tree/{V}(?:/(?P<path>.*))?", tree),
    ("POST", rf"{API}/paths-info/{V}", paths_info),
    ("GET", rf"{API}/commits/{V}", commits),
    ("PUT", rf"{API}/settings", settings),
    ("HEAD GET", rf"{OF_KIND}{REPO}/resolve/{V}/(?P<path>.+)", resolve),
    ("POST", r"/api/collections", create_collection),
    ("GET", r"/api/collections/(?P<slug>.+)", collection),
    ("POST", r"/api/collections/(?P<slug>.+)/items", add_to_collection),
]
