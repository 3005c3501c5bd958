"""What goes wrong, each with a clear answer and a healthy server after."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selves.files import sha256_file
from selves.lineage import find_age, read_age
from serving.asks import Ask, Piece
from serving.engine import Engine, Job
from tests.servers import serving

BASE, CHAT, ILL = "tiny@base-000016", "tiny@chat-000008", "tiny@base-000004"


@contextmanager
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=600, trust_env=False) as http:
        yield http


@pytest.fixture
def house(checkpoints: Path, tmp_path: Path) -> Path:
    """A checkpoints folder that a test may damage."""
    return shutil.copytree(checkpoints, tmp_path / "checkpoints")


def ask(http: httpx.Client, model: str = BASE, path: str = "/v1/completions", **more: Any) -> httpx.Response:
    return http.post(path, json={"model": model, "prompt": "Hi", "max_tokens": 3, **more})


def assert_healthy(http: httpx.Client) -> None:
    """The server answers, and nothing is left of what went wrong."""
    assert http.get("/health").status_code == 200
    assert ask(http).status_code == 200
    while "selves_requests_active 0" not in http.get("/metrics").text:
        pass


def rewrite(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a JSON file of an age, and its sha256 in the card, as whoever made the age would have."""
    path = folder / name
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content), "utf-8")
    card = read_age(folder).card
    files = {**card.files, name: sha256_file(path)}
    (folder / "age.json").write_text(card.model_copy(update={"files": files}).model_dump_json(), "utf-8")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = [
    (damage, name)
    for damage in (flip, cut, Path.unlink)
    for name in ("model.safetensors", "config.json", "tokenizer.json")
]


def test_a_damaged_age_says_so_and_costs_only_itself(house: Path, add_age: Any) -> None:
    ills = {f"tiny@ill-{number:06d}": damage for number, damage in enumerate(DAMAGES)}
    for address, (damage, name) in ills.items():
        damage(add_age(house, BASE, address) / name)
    with serving(house) as url, client(url) as http:
        for address, (_, name) in ills.items():
            for stream in (False, True):
                answer = ask(http, address, stream=stream)
                error = answer.json()["error"]
                assert (answer.status_code, error["code"]) == (500, "age_damaged"), error
                assert address in error["message"]
                assert name != "model.safetensors" or re.search("is damaged|is incomplete", error["message"])
                assert str(house) not in error["message"]
        assert_healthy(http)


def test_a_tokenizer_that_knows_more_tokens_than_its_model_is_named(house: Path) -> None:
    def add_token(tokenizer: dict[str, Any]) -> None:
        added = {**tokenizer["added_tokens"][0], "id": 320, "content": "<|strange|>"}
        tokenizer["added_tokens"].append(added)

    rewrite(house.joinpath(*ILL.split("@")), "tokenizer.json", add_token)
    with serving(house) as url, client(url) as http:
        answer = ask(http, ILL, prompt="Hi <|strange|>")
        assert answer.status_code == 500
        assert "320" in answer.json()["error"]["message"]
        assert "tokenizer" in answer.json()["error"]["message"]
        assert_healthy(http)


def test_token_ids_that_no_tokenizer_has_are_refused(house: Path) -> None:
    with serving(house) as url, client(url) as http:
        for more in ({"prompt": [320]}, {"logit_bias": {"320": 1}}, {"stop_token_ids": [5000]}):
            answer = ask(http, **more)
            assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
            assert "vocabulary" in answer.json()["error"]["message"]
        assert_healthy(http)


def test_an_age_that_does_not_fit_into_memory_says_how_much_it_takes(house: Path) -> None:
    with serving(house, engine=Engine(threads=1, memory_bytes=10_000)) as url, client(url) as http:
        answer = ask(http)
        assert (answer.status_code, answer.json()["error"]["code"]) == (501, "age_unfit")
        assert "memory_gb" in answer.json()["error"]["message"]
        assert http.get("/health").status_code == 200
        assert ask(http, path="/tokenize", max_tokens=None).status_code == 400  # it still listens


@given(st.binary(max_size=200) | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
@settings(max_examples=20, database=None)
def test_garbage_is_refused(url: str, garbage: Any) -> None:
    content = garbage if isinstance(garbage, bytes) else json.dumps(garbage).encode()
    with client(url) as http:
        for path in ("/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"):
            answer = http.post(path, content=content)
            assert answer.status_code == 400, answer.text
            assert answer.json()["error"]["message"]


def test_two_hundred_requests_at_once_are_all_answered(house: Path) -> None:
    addresses = ["tiny@base-000000", ILL, BASE, CHAT]

    async def crowd(url: str) -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=url, timeout=6000, limits=limits, trust_env=False) as http:
            asked = [
                {
                    "model": addresses[i % 4],
                    "prompt": f"Hi {i}",
                    "max_tokens": 4,
                    "seed": i,
                    "stream": i % 3 == 0,
                    "priority": i % 5,
                }
                for i in range(200)
            ]
            return await asyncio.gather(*(http.post("/v1/completions", json=body) for body in asked))

    with serving(house) as url, client(url) as http:
        answers = asyncio.run(crowd(url))
        assert {answer.status_code for answer in answers} == {200}
        assert all(a.text.endswith("[DONE]\n\n") or a.json()["choices"][0]["finish_reason"] for a in answers)
        assert_healthy(http)


def test_a_body_that_comes_too_slowly_is_not_waited_for(house: Path) -> None:
    with serving(house, body_s=3) as url, client(url) as http:
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 60) as slow:
            slow.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            said = b"".join(iter(lambda: slow.recv(4096), b""))  # until the server closes the connection
        assert said.startswith(b"HTTP/1.1 408")
        assert b"did not come within 3 s" in said
        assert_healthy(http)


@asynccontextmanager
async def speaking(url: str, model: str) -> AsyncIterator[AsyncIterator[str]]:
    """An answer without end, after its first line."""
    asked = {"model": model, "prompt": "Hi", "max_tokens": 900_000, "ignore_eos": True, "stream": True}
    async with (
        httpx.AsyncClient(base_url=url, timeout=600, trust_env=False) as http,
        http.stream("POST", "/v1/completions", json=asked) as response,
    ):
        lines = response.aiter_lines()
        await anext(lines)
        yield lines


async def test_a_client_that_hangs_up_is_not_spoken_to_any_longer(url: str, endless: str) -> None:
    async with speaking(url, endless):
        pass
    with client(url) as http:
        assert_healthy(http)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_an_engine_that_dies_is_a_503_for_all_and_no_hang(own_checkpoints: Path, endless: str) -> None:
    engine = Engine(threads=1)
    with serving(own_checkpoints, engine=engine) as url:
        async with speaking(url, endless) as lines:

            def die(delivered: object) -> None:
                if isinstance(delivered, Piece):
                    raise SystemExit  # the end of the thread, which nothing that a model does would be

            engine.submit(Job(find_age(own_checkpoints, BASE), [5], Ask(max_tokens=1), die))
            rest = [line async for line in lines]
        error = json.loads(rest[-2 if not rest[-1] else -1].removeprefix("data: "))["error"]
        assert error["code"] == "engine_unavailable"
        with client(url) as http:
            for stream in (False, True):
                answer = ask(http, stream=stream)
                assert answer.status_code == 503
                assert int(answer.headers["Retry-After"]) > 0
                assert answer.json()["error"]["code"] == "engine_unavailable"
            health = http.get("/health")
            assert health.status_code == 503
            assert health.json()["engines"]["embedded"] == health.json()["status"] != "ok"
            assert http.get("/metrics").status_code == 200
