"""Several engines behind one address: who is asked, who steps in, what a client is told when nobody can."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from selves.errors import AgeError, EngineError
from selves.lineage import find_age, read_age
from selves.speech import Prompt, Sampling
from serving.answers import EmbeddedBackend
from serving.api import make_app
from serving.catalog import Catalog
from serving.engine import Delivery, Engine, Job
from serving.fleet import EmbeddedMember, Fleet, Member
from serving.plan import NOT_MADE, LeftOut, Plan
from serving.process import Watched
from serving.remote import RemoteMember
from serving.upstream import Upstream
from serving.voice import Voice
from serving.walking import Turns
from tests.servers import listening, serving

BASE, CHAT = "tiny@base-000016", "tiny@chat-000008"
EMPTY = Plan(program="", engines=(), ages=(), left_out=(), notes=())


@contextmanager
def fleet(checkpoints: Path, members: Sequence[Member], plan: Plan = EMPTY) -> Iterator[httpx.Client]:
    """A client of an address with these engines behind it."""
    app = make_app(Catalog(checkpoints), Fleet(members, plan), house="fleet")
    with listening(app) as url, httpx.Client(base_url=url, timeout=600, trust_env=False) as http:
        yield http


def embedded(plan: Plan = EMPTY) -> EmbeddedMember:
    return EmbeddedMember(EmbeddedBackend(Engine(threads=1)), plan)


def unused_url() -> str:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{trial.getsockname()[1]}"


def ask(http: httpx.Client, address: str = CHAT, **more: Any) -> httpx.Response:
    body = {"model": address, "prompt": "<Ash> Hi!\n<Ember>", "max_tokens": 4, "temperature": 0, **more}
    return http.post("/v1/completions", json=body)


def events(response: httpx.Response) -> Iterator[Any]:
    for line in response.iter_lines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))


@pytest.fixture(scope="module")
def elsewhere(own_checkpoints: Path) -> Iterator[str]:
    """Another house's address with the same ages."""
    with serving(own_checkpoints) as url:
        yield url


def test_the_preferred_engine_answers_in_our_words(own_checkpoints: Path, elsewhere: str) -> None:
    with fleet(own_checkpoints, [RemoteMember("remote", elsewhere), embedded()]) as http:
        answer = ask(http)
        age = find_age(own_checkpoints, CHAT)
        assert answer.json()["model"] == CHAT
        assert answer.json()["system_fingerprint"] == age.card.weights_sha256[:16]
        assert answer.headers["x-selves-engine"].startswith("embedded transformers")
        assert http.get("/health").json()["engines"] == {"remote": "ok", "embedded": "ok"}
        with http.stream(
            "POST", "/v1/completions", json={"model": CHAT, "prompt": "Hi", "stream": True}
        ) as said:
            assert {event["model"] for event in events(said)} == {CHAT}


def test_who_is_not_there_is_stepped_in_for(own_checkpoints: Path) -> None:
    with fleet(own_checkpoints, [RemoteMember("remote", unused_url()), embedded()]) as http:
        assert ask(http).status_code == 200
        health = http.get("/health")
        assert health.status_code == 200
        assert "does not answer" in health.json()["engines"]["remote"]


def test_nobody_left_is_a_503_that_says_when_to_come_back(own_checkpoints: Path, elsewhere: str) -> None:
    nobody = RemoteMember("remote", unused_url())
    with fleet(own_checkpoints, [nobody]) as http:
        answer = ask(http)
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "engine_unavailable"
        assert int(answer.headers["retry-after"]) > 0


def test_an_age_that_was_made_after_the_plan_is_answered(own_checkpoints: Path) -> None:
    plan = EMPTY.model_copy(update={"left_out": (LeftOut(address=CHAT, why=NOT_MADE),)})
    with fleet(own_checkpoints, [embedded(plan)], plan) as http:
        assert ask(http).status_code == 200


def test_an_engine_with_other_weights_under_the_same_address_is_not_asked(
    own_checkpoints: Path, elsewhere: str, tmp_path: Path
) -> None:
    ours = tmp_path / "checkpoints"
    shutil.copytree(own_checkpoints, ours)
    shutil.copy(ours / "tiny" / "base-000004" / "model.safetensors", ours / "tiny" / "base-000016")
    folder = ours / "tiny" / "base-000016"
    sha256 = read_age(ours / "tiny" / "base-000004").card.weights_sha256
    card = read_age(folder).card.model_copy(update={"weights_sha256": sha256})
    (folder / "age.json").write_text(card.model_dump_json())
    with fleet(ours, [RemoteMember("remote", elsewhere), embedded()]) as http:
        models = {model["id"]: model["selves"] for model in http.get("/v1/models").json()["data"]}
        assert models[BASE]["weights_sha256"] == sha256
        assert ask(http, BASE).json()["choices"] == ask(http, "tiny@base-000004").json()["choices"]


@contextmanager
def faulty(behave: str) -> Iterator[str]:
    """A server that lists an age and then says nothing, breaks, breaks off, or answers with an error."""

    asked = asyncio.Event()

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({}, 503 if behave == "ill once asked" and asked.is_set() else 200)

    async def models(_: Request) -> JSONResponse:
        return JSONResponse({"data": [{"id": CHAT, "object": "model"}]})

    async def version(_: Request) -> JSONResponse:
        return JSONResponse({"version": "0.0.1"})

    async def post(request: Request) -> Any:
        asked.set()
        if behave in ("silent", "ill once asked"):
            await asyncio.sleep(3600)
        if behave == "broken":
            return JSONResponse({"error": {"message": "EngineCore died"}}, 500)
        if behave == "refusing":
            return JSONResponse({"error": {"message": "no such parameter", "code": 400}}, 400)

        async def stream() -> AsyncGenerator[str]:
            if behave == "failing at once":
                yield 'data: {"error": {"message": "EngineCore died", "code": 500}}\n\n'
                return
            # line ends of Unicode's own are none of an event stream's
            yield 'data: {"object": "text_completion", "choices": [{"text": "Hi\u2028\u0085you"}]}\n\n'

        return StreamingResponse(stream(), media_type="text/event-stream")

    posts = [Route("/v1/completions", post, methods=["POST"])]
    gets = [Route("/health", health), Route("/v1/models", models), Route("/version", version)]
    with listening(Starlette(routes=[*gets, *posts])) as url:
        yield url


@pytest.mark.parametrize(
    ("behave", "stream"), [("silent", False), ("silent", True), ("broken", False), ("failing at once", True)]
)
def test_an_engine_that_fails_before_it_said_anything_is_stepped_in_for(
    own_checkpoints: Path, behave: str, stream: bool
) -> None:
    with faulty(behave) as url:
        members = [RemoteMember("remote", url, silence_s=0.2), embedded()]
        with fleet(own_checkpoints, members) as http:
            answer = ask(http, stream=stream)
            assert answer.status_code == 200
            assert answer.headers["x-selves-engine"].startswith("embedded")
            assert 'selves_engine_failures_total{engine="remote"} 1' in http.get("/metrics").text


async def test_the_record_names_the_engine_that_stepped_in(own_checkpoints: Path) -> None:
    prompt = Prompt(form="transcript", text="<Ash> Hi!\n<Ember>")
    with faulty("broken") as url, fleet(own_checkpoints, [RemoteMember("remote", url), embedded()]) as http:
        async with Voice(str(http.base_url)) as voice:
            assert (await voice.info(CHAT)).engine == "vllm"
            said = await voice.say(CHAT, prompt, Sampling(max_tokens=4))
    assert (said.engine, said.engine_version.split()[0]) == ("embedded", "transformers")


def test_what_only_an_engine_that_is_down_can_do_may_be_asked_again_later(own_checkpoints: Path) -> None:
    asked = {"response_format": {"type": "json_object"}}
    with faulty("broken") as url, fleet(own_checkpoints, [RemoteMember("remote", url), embedded()]) as http:
        answer = ask(http, **asked)
        assert answer.status_code == 503
        assert "response_format" in answer.json()["error"]["message"]
    with fleet(own_checkpoints, [embedded()]) as http:
        assert ask(http, **asked).status_code == 400


def test_who_waits_for_an_engine_that_is_found_to_be_ill_is_answered_by_another(
    own_checkpoints: Path,
) -> None:
    with faulty("ill once asked") as url:
        members = [RemoteMember("remote", url, watch_s=0.1), embedded()]
        with fleet(own_checkpoints, members) as http:
            assert ask(http).headers["x-selves-engine"].startswith("embedded")
            assert http.get("/health").json()["engines"]["remote"] == f"{url} answered 503 to /health: {{}}"


def test_what_is_the_clients_fault_is_passed_on(own_checkpoints: Path) -> None:
    with faulty("refusing") as url, fleet(own_checkpoints, [RemoteMember("remote", url), embedded()]) as http:
        answer = ask(http)
        assert (answer.status_code, answer.json()["error"]["message"]) == (400, "no such parameter")
        assert answer.headers["x-selves-engine"] == "vllm 0.0.1"


def test_a_stream_that_breaks_off_ends_with_an_error(own_checkpoints: Path) -> None:
    with faulty("breaking off") as url, fleet(own_checkpoints, [RemoteMember("remote", url)]) as http:
        first, last = (json.loads(line[6:]) for line in ask(http, stream=True).text.split("\n\n") if line)
        assert first["choices"][0]["text"] == "Hi\u2028\u0085you"
        assert "died while answering" in last["error"]["message"]


async def test_what_a_stream_needs_is_let_go_when_the_client_left_before_it_began(checkpoints: Path) -> None:
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "asgi": {"spec_version": "2.4"}}

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(_: Any) -> None:
        raise OSError("the client left")

    let_go: list[bool] = []
    with faulty("breaking off") as url:
        upstream = Upstream(url, called="vllm")
        async with AsyncExitStack() as held:
            held.callback(let_go.append, True)
            response = await upstream.pass_on(
                "/v1/completions", {}, find_age(checkpoints, CHAT), Request(scope, receive), held
            )
        assert not let_go
        with pytest.raises(ClientDisconnect):
            await response(scope, receive, send)
        assert let_go
        await upstream.close()


@pytest.mark.slow
def test_an_engine_killed_in_mid_stream_ends_the_stream_and_others_go_on(
    own_checkpoints: Path, elsewhere: str, endless: str, tmp_path: Path
) -> None:
    house = {"SELVES_HOME": str(own_checkpoints.parent), "SELVES_CAST": str(tmp_path / "none.toml")}
    command = [sys.executable, "-m", "selves", "serve", "--engine", "embedded", "--port", "0", "--json"]
    with ExitStack() as open_things:
        victim = open_things.enter_context(
            subprocess.Popen(
                [*command, "--while-parent-lives"],
                env={**os.environ, **house},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        )
        assert victim.stdout is not None
        url = json.loads(victim.stdout.readline())["url"]
        members = [RemoteMember("first", url), RemoteMember("second", elsewhere)]
        http = open_things.enter_context(fleet(own_checkpoints, members))
        body = {"model": endless, "prompt": "Hi", "max_tokens": 100_000, "stream": True, "ignore_eos": True}
        with http.stream("POST", "/v1/completions", json=body) as said:
            said_so_far = events(said)
            assert "choices" in next(said_so_far)
            victim.kill()
            last = list(said_so_far)[-1]
            assert "died while answering" in last["error"]["message"]
        answer = ask(http)
        assert answer.status_code == 200


async def test_those_who_want_the_same_share_it_and_others_wait_their_turn() -> None:
    story: list[str] = []

    async def change(wanted: str) -> None:
        story.append(f"load {wanted}")

    turns: Turns[str] = Turns(change, str)
    go_on = asyncio.Event()

    async def use(what: str) -> None:
        async with turns.hold(what):
            story.append(f"use {what}")
            await go_on.wait()

    uses = [asyncio.create_task(use(what)) for what in ("young", "young", "old", "young")]
    for _ in range(10):
        await asyncio.sleep(0)
    assert story == ["load young", "use young", "use young"]
    go_on.set()
    await asyncio.gather(*uses)
    assert story[3:] == ["load old", "use old", "load young", "use young"]


async def test_whoever_leaves_during_a_change_leaves_nothing_half_done() -> None:
    loaded: list[str] = []
    may_end = asyncio.Event()

    async def change(wanted: str) -> None:
        await may_end.wait()
        loaded.append(wanted)

    turns: Turns[str] = Turns(change, str)
    leaving = asyncio.create_task(turns.hold("young").__aenter__())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    may_end.set()
    async with turns.hold("old"):
        assert loaded == ["young", "old"]
        assert turns.holds("old")


async def test_a_change_that_fails_is_tried_again_by_the_next() -> None:
    failures = [EngineError("vLLM answered 500"), None]

    async def change(_: str) -> None:
        failure = failures.pop(0)
        if failure:
            raise failure

    turns: Turns[str] = Turns(change, str)
    with pytest.raises(EngineError, match="500"):
        async with turns.hold("young"):
            pass
    async with turns.hold("young"):
        assert turns.holds("young")


SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/die":
            os._exit(3)
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


async def test_a_process_that_died_is_started_again_and_ends_with_us() -> None:
    ready: asyncio.Queue[str] = asyncio.Queue()
    down: asyncio.Queue[str] = asyncio.Queue()

    async def launch(port: int) -> tuple[list[str], dict[str, str]]:
        return [sys.executable, "-c", SERVER, str(port)], dict(os.environ)

    async def when_ready() -> None:
        ready.put_nowait("ready")

    async with httpx.AsyncClient(base_url=unused_url(), timeout=600, trust_env=False) as http:
        watched = Watched(
            "the server",
            http,
            launch,
            when_ready=when_ready,
            when_down=lambda: down.put_nowait(watched.trouble),
            one_at_a_time=asyncio.Lock(),
        )
        keeping = asyncio.create_task(watched.keep())
        await ready.get()
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get("/die")
        assert await down.get() == "the server ended with exit code 3; it is started again"
        await ready.get()
        assert (await http.get("/health")).status_code == 200
        assert watched.restarts == 1
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        with pytest.raises(httpx.ConnectError):
            await http.get("/health")


class Breaking(Engine):
    """An engine that finds an age damaged after its first piece."""

    def __init__(self, age_file: Path) -> None:
        super().__init__(threads=1)
        self._age_file = age_file

    def submit(self, job: Job) -> None:
        deliver = job.deliver

        def deliver_and_break(drawn: Delivery) -> None:
            deliver(drawn)
            deliver(AgeError(f"{self._age_file} is damaged"))

        job.deliver = deliver_and_break
        super().submit(job)


def test_a_stream_that_breaks_says_nothing_of_where_ages_lie(own_checkpoints: Path) -> None:
    engine = Breaking(own_checkpoints / "tiny" / "age.json")
    with fleet(own_checkpoints, [EmbeddedMember(EmbeddedBackend(engine), EMPTY)]) as http:
        *pieces, last = events(ask(http, stream=True))
    assert pieces
    assert last["error"]["message"] == "tiny/age.json is damaged"


def test_health_says_nothing_of_where_ages_lie(own_checkpoints: Path) -> None:
    remote = RemoteMember("remote", unused_url(), watch_s=600)
    with fleet(own_checkpoints, [remote]) as http:
        while "does not answer" not in http.get("/health").text:
            pass  # it looks once in this test, and afterwards says of itself what it found
        remote.trouble = f"{own_checkpoints}/tiny/age.json is damaged"
        health = http.get("/health").json()
    assert health["status"] == health["engines"]["remote"] == "tiny/age.json is damaged"
