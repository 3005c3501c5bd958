"""What a vLLM of ours does that cannot be had here: sleep on a GPU, and an architecture without adapters.

A program stands in for vLLM that knows those of its endpoints and refusals, as vLLM 0.32's source has them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from selves.lineage import find_age
from serving import process
from serving.api import make_app
from serving.catalog import Catalog
from serving.facts import read_facts
from serving.fleet import Fleet
from serving.members import VllmMember
from serving.plan import EnginePlan, Plan
from serving.process import Watched
from tests.servers import listening

CHAT = "tiny@chat-000008"
STAND_IN = """#!{python}
import http.server, json, os, sys, time
asleep = False
port = int(sys.argv[sys.argv.index("--port") + 1])
if "--enable-lora" in sys.argv:
    while not os.path.exists({may_fail!r}):
        time.sleep(0.01)
    how_often = open({may_fail!r}).read()
    if how_often != "never":
        open({may_fail!r}, "w").write("never" if how_often == "once" else "always")
        sys.exit("this architecture does not support LoRA, or something else was wrong")

class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, said):
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(200, {{"version": "0.32.0"}})

    def do_POST(self):
        global asleep
        self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path.startswith("/sleep") or self.path == "/wake_up":
            asleep = self.path != "/wake_up"
            self.answer(200, {{}})
        elif asleep:
            self.answer(500, {{"error": {{"message": "the engine sleeps"}}}})
        else:
            self.answer(200, {{"object": "text_completion", "choices": [], "arguments": sys.argv}})

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


@contextmanager
def on_a_gpu(checkpoints: Path, program: Path, *, sleep_s: float, **changes: Any) -> Iterator[httpx.Client]:
    """An address with one vLLM behind it that computes on a GPU, as far as the plan knows."""
    program.write_text(STAND_IN.format(python=sys.executable, may_fail=str(may_fail(program))))
    program.chmod(0o755)
    plan = EnginePlan(
        name="vllm-1",
        kind="vllm",
        url=f"http://127.0.0.1:{free_port()}",
        ages=(CHAT,),
        devices=(0,),
        context_tokens=256,
        why="a test",
        **changes,
    )
    member = VllmMember(
        plan,
        program=str(program),
        more=(),
        sleep_s=sleep_s,
        find=lambda address: find_age(checkpoints, address),
        facts=read_facts,
        one_at_a_time=asyncio.Lock(),
        environment=os.environ,
    )
    whole = Plan(program=str(program), engines=(plan,), ages=(), left_out=(), notes=())
    app = make_app(Catalog(checkpoints), Fleet([member], whole), house="gpu")
    with listening(app) as url, httpx.Client(base_url=url, timeout=600, trust_env=False) as http:
        yield http


def may_fail(program: Path) -> Path:
    """A file for which the program waits before it finds that it cannot start with adapters."""
    return program.with_suffix(".may-fail")


def tell(program: Path, how_often: str) -> None:
    """Let it fail: `once` or `always`."""
    partial = may_fail(program).with_suffix(".partial")
    partial.write_text(how_often)
    partial.rename(may_fail(program))


def until(http: httpx.Client, path: str, said: str) -> None:
    while said not in http.get(path).text:
        pass  # another process is on its way; the test's own time limit ends this


def ask(http: httpx.Client) -> httpx.Response:
    return http.post("/v1/completions", json={"model": CHAT, "prompt": "Hi"})


@pytest.mark.slow
def test_who_is_not_asked_falls_asleep_and_wakes_up_to_answer(checkpoints: Path, tmp_path: Path) -> None:
    with on_a_gpu(checkpoints, tmp_path / "vllm", sleep_s=0.1) as http:
        until(http, "/health", '"vllm-1":"ok"')
        for _ in range(2):
            until(http, "/metrics", 'selves_engine_asleep{engine="vllm-1"} 1.0')
            answer = ask(http)
            assert answer.status_code == 200
            assert "--enable-sleep-mode" in answer.json()["arguments"]


@pytest.mark.slow
def test_where_adapters_are_not_supported_it_is_started_without(checkpoints: Path, tmp_path: Path) -> None:
    with on_a_gpu(checkpoints, tmp_path / "vllm", sleep_s=0, lora_slots=4, lora_rank=16) as http:
        assert ask(http).json()["error"]["message"] == "vllm-1 is starting"
        tell(tmp_path / "vllm", "always")
        until(http, "/health", '"vllm-1":"ok"')
        assert "--enable-lora" not in ask(http).json()["arguments"]


@pytest.mark.slow
def test_one_failed_start_does_not_cost_it_its_adapters(checkpoints: Path, tmp_path: Path) -> None:
    with on_a_gpu(checkpoints, tmp_path / "vllm", sleep_s=0, lora_slots=4, lora_rank=16) as http:
        tell(tmp_path / "vllm", "once")
        until(http, "/health", '"vllm-1":"ok"')
        assert "--enable-lora" in ask(http).json()["arguments"]


async def test_a_start_that_hangs_does_not_hold_back_the_next_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "HOLD_S", 0.1)
    monkeypatch.setattr(process, "POLL_S", 0.02)
    (tmp_path / "health").write_text("well")
    ready = {"hangs": asyncio.Event(), "starts": asyncio.Event()}
    programs = {
        "hangs": ["-c", "import time; time.sleep(10**6)"],
        "starts": ["-m", "http.server", "--directory", str(tmp_path)],
    }
    line = asyncio.Lock()
    async with AsyncExitStack() as life:
        for name, program in programs.items():

            async def launch(port: int, of: list[str] = program) -> Any:
                return [sys.executable, *of, str(port)], os.environ

            async def note(of: str = name) -> None:
                ready[of].set()

            url = f"http://127.0.0.1:{free_port()}"
            http = await life.enter_async_context(httpx.AsyncClient(base_url=url, trust_env=False))
            watched = Watched(name, http, launch, when_ready=note, when_down=lambda: None, one_at_a_time=line)
            keeping = asyncio.create_task(watched.keep())
            life.push_async_callback(asyncio.wait, [keeping])
            life.callback(keeping.cancel)
        async with asyncio.timeout(600):  # far less than the program that hangs, and than HOLD_S as it is
            await ready["starts"].wait()
