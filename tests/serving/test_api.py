"""The address as the world sees it: the official client, wrong requests, crowds, and clients that hang up."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from selves.errors import ConfigError
from serving.catalog import Catalog
from serving.wire import ApiError

BASE, CHAT = "tiny@base-000016", "tiny@chat-000008"
HELLO: Any = [{"role": "user", "content": "Hi!"}]


@pytest.fixture
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def http(url: str) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=6000, limits=limits, trust_env=False) as http:
        yield http


def test_the_official_client_sees_every_age_and_what_we_know_of_it(client: OpenAI) -> None:
    models = {model.id: model for model in client.models.list()}
    assert set(models) >= {"tiny@base-000000", BASE, CHAT}
    ours = models[CHAT].model_dump()["selves"]
    assert ours["form"] == "chat"
    assert ours["context_tokens"] == 256
    assert ours["engine"] == "embedded"
    assert len(ours["weights_sha256"]) == 64
    assert client.models.retrieve(CHAT) == models[CHAT]


def test_the_official_client_completes_and_chats(client: OpenAI) -> None:
    completion = client.completions.create(model=BASE, prompt="<Ash> Hi!\n<Ember>", max_tokens=8, seed=1)
    assert completion.choices[0].finish_reason in ("length", "stop")
    assert completion.usage is not None
    assert completion.usage.completion_tokens <= 8
    assert (
        completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    )
    chat = client.chat.completions.create(model=CHAT, messages=HELLO, max_completion_tokens=8, seed=1)
    assert chat.choices[0].message.role == "assistant"
    assert chat.system_fingerprint


def test_a_stream_says_the_same_as_the_whole_and_ends_with_its_usage(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": CHAT, "messages": HELLO, "max_tokens": 30, "seed": 5}
    whole = client.chat.completions.create(**asked)
    chunks = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.model_dump() == whole.usage.model_dump()


def test_several_choices_differ_and_each_is_repeatable(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": BASE, "prompt": "Hi", "max_tokens": 12, "n": 3, "seed": 9}
    texts = [choice.text for choice in client.completions.create(**asked).choices]
    assert len(set(texts)) == 3
    streamed = ["", "", ""]
    for chunk in client.completions.create(**asked, stream=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].text
    assert streamed == texts
    alone = client.completions.create(**{**asked, "n": 1, "seed": 11})
    assert alone.choices[0].text == texts[2]


def test_a_stop_string_ends_the_text_and_is_no_part_of_it(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": BASE, "prompt": "Hi", "max_tokens": 60, "seed": 3, "temperature": 0.9}
    free = client.completions.create(**asked).choices[0].text
    stop = free[12:15]
    stopped = client.completions.create(**asked, stop=["never to be said", stop]).choices[0]
    assert stopped.text == free[: free.index(stop)]
    assert stopped.finish_reason == "stop"
    assert stopped.model_dump()["stop_reason"] == stop


def test_logprobs_and_token_ids_come_with_the_text(client: OpenAI) -> None:
    chat = client.chat.completions.create(
        model=CHAT,
        messages=HELLO,
        max_tokens=5,
        logprobs=True,
        top_logprobs=3,
        extra_body={"return_token_ids": True, "ignore_eos": True},
    ).choices[0]
    assert chat.logprobs is not None
    assert chat.logprobs.content is not None
    assert len(chat.logprobs.content) == len(chat.model_dump()["token_ids"]) == 5
    for entry in chat.logprobs.content:
        assert entry.logprob <= entry.top_logprobs[0].logprob <= 0
        assert len(entry.top_logprobs) == 3
    completion = client.completions.create(
        model=BASE, prompt="Hi", max_tokens=5, logprobs=2, extra_body={"ignore_eos": True}
    ).choices[0]
    assert completion.logprobs is not None
    assert completion.logprobs.token_logprobs is not None
    assert len(completion.logprobs.token_logprobs) == 5


def test_a_prompt_may_be_token_ids(client: OpenAI, url: str) -> None:
    ids = httpx.post(f"{url}/tokenize", json={"model": BASE, "prompt": "<Ash> Hi!"}, timeout=600).json()[
        "tokens"
    ]
    asked: dict[str, Any] = {"model": BASE, "max_tokens": 9, "temperature": 0}
    by_text = client.completions.create(**asked, prompt="<Ash> Hi!")
    by_ids = client.completions.create(**asked, prompt=ids)
    assert by_ids.choices[0].text == by_text.choices[0].text


def test_an_unknown_model_is_404_and_near_ones_are_named(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match=BASE) as caught:
        client.completions.create(model="tiny@base-000061", prompt="Hi")
    assert caught.value.code == "model_not_found"


def test_a_prompt_past_the_window_is_refused_and_max_tokens_is_clipped_to_it(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="maximum context length is 256 tokens") as caught:
        client.completions.create(model=BASE, prompt="word " * 300)
    assert caught.value.code == "context_length_exceeded"
    completion = client.completions.create(
        model=BASE, prompt="Hi", max_tokens=100_000, seed=1, extra_body={"ignore_eos": True}
    )
    assert completion.usage is not None
    assert completion.usage.total_tokens == 256
    assert completion.choices[0].finish_reason == "length"


WRONG_BODIES: list[tuple[str, Any, str | None]] = [
    ("/v1/completions", b"{not json", None),
    ("/v1/completions", b"\xff\xfe", None),
    ("/v1/completions", b'{"model": "tiny@base-000016", "prompt": "\\ud800"}', None),
    ("/v1/completions", b"[" * 100_000, None),
    ("/v1/completions", b"[]", None),
    ("/v1/completions", b'{"model": "tiny@base-000016", "prompt": "a", "temperature": NaN}', None),
    ("/v1/completions", {"prompt": "a"}, "model"),
    ("/v1/completions", {"model": 3, "prompt": "a"}, "model"),
    ("/v1/completions", {"model": BASE}, "prompt"),
    ("/v1/completions", {"model": BASE, "prompt": ""}, "prompt"),
    ("/v1/completions", {"model": BASE, "prompt": []}, "prompt"),
    ("/v1/completions", {"model": BASE, "prompt": [[]]}, "prompt"),
    ("/v1/completions", {"model": BASE, "prompt": ["a", 1]}, None),
    ("/v1/completions", {"model": BASE, "prompt": ["a"] * 50, "n": 3}, "prompt"),
    ("/v1/completions", {"model": BASE, "prompt": [99999]}, None),
    ("/v1/completions", {"model": BASE, "prompt": [-1]}, None),
    ("/v1/completions", {"model": BASE, "prompt": "a", "max_tokens": 0}, "max_tokens"),
    ("/v1/completions", {"model": BASE, "prompt": "a", "max_tokens": "7"}, "max_tokens"),
    ("/v1/completions", {"model": BASE, "prompt": "a", "temperature": -1}, "temperature"),
    ("/v1/completions", {"model": BASE, "prompt": "a", "seed": 2**70}, "seed"),
    ("/v1/completions", {"model": BASE, "prompt": "a", "stop": [""]}, None),
    ("/v1/completions", {"model": BASE, "prompt": "a", "n": 99}, "n"),
    ("/v1/completions", {"model": BASE, "prompt": "a", "min_p": 1.5}, "min_p"),
    ("/v1/completions", {"model": BASE, "prompt": "a", "min_tokens": 9, "max_tokens": 3}, "min_tokens"),
    ("/v1/completions", {"model": BASE, "prompt": "a", "logit_bias": {"99999": 1}}, "logit_bias"),
    ("/v1/completions", {"model": BASE, "prompt": "a", "logit_bias": {"x": 1}}, None),
    ("/v1/completions", {"model": BASE, "prompt": "a", "stop_token_ids": [99999]}, "stop_token_ids"),
    (
        "/v1/completions",
        {"model": BASE, "prompt": "a", "stream": True, "prompt_logprobs": 1},
        "prompt_logprobs",
    ),
    ("/v1/completions", {"model": BASE, "prompt": "a", "stream_options": {}}, "stream_options"),
    ("/v1/completions", {"model": BASE, "prompt": "a", "guided_choice": ["a"]}, "guided_choice"),
    (
        "/v1/completions",
        {"model": BASE, "prompt": "a", "structured_outputs": {"regex": "a+"}},
        "structured_outputs",
    ),
    (
        "/v1/completions",
        {"model": BASE, "prompt": "a", "repetition_detection": {"max_pattern_size": 2, "min_count": 1}},
        "repetition_detection.min_count",
    ),
    ("/v1/completions", {"model": BASE, "prompt": "a", "tempurature": 1}, "tempurature"),
    ("/v1/chat/completions", {"model": CHAT, "messages": []}, "messages"),
    ("/v1/chat/completions", {"model": CHAT, "messages": [{"role": "judge", "content": "a"}]}, None),
    ("/v1/chat/completions", {"model": CHAT, "messages": HELLO, "top_logprobs": 3}, "top_logprobs"),
    (
        "/v1/chat/completions",
        {"model": CHAT, "messages": HELLO, "response_format": {"type": "json_object"}},
        "response_format",
    ),
    ("/v1/chat/completions", {"model": CHAT, "messages": HELLO, "tools": [{"type": "function"}]}, "tools"),
    (
        "/v1/chat/completions",
        {"model": CHAT, "messages": HELLO, "chat_template_kwargs": {"chat_template": "{% for a in b %}"}},
        None,
    ),
    ("/tokenize", {"model": BASE}, "prompt"),
    ("/tokenize", {"model": BASE, "prompt": 7}, "prompt"),
]


@pytest.mark.parametrize(("path", "body", "param"), WRONG_BODIES)
async def test_a_wrong_request_is_refused_in_openais_form(
    http: httpx.AsyncClient, path: str, body: Any, param: str | None
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body)
    answer = await http.post(path, content=content)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    if param is not None:
        assert error["param"] == param


async def test_wrong_paths_methods_and_sizes_are_refused_in_openais_form(http: httpx.AsyncClient) -> None:
    assert (await http.get("/v1/nothing")).json()["error"]["code"] == "not_found"
    assert (await http.get("/v1/completions")).status_code == 405
    assert (await http.post("/v1/completions", content=b" " * (5 * 1024 * 1024))).status_code == 413


def test_a_key_is_asked_for_where_one_is_set(own_checkpoints: Path, serve: Any) -> None:
    with serve(own_checkpoints, api_key="open sesame") as url:
        with OpenAI(base_url=f"{url}/v1", api_key="guess", max_retries=0) as stranger:
            with pytest.raises(openai.AuthenticationError, match="SELVES_API_KEY"):
                stranger.models.list()
            with pytest.raises(openai.AuthenticationError):
                stranger.completions.create(model=BASE, prompt="Hi")
        with OpenAI(base_url=f"{url}/v1", api_key="open sesame", max_retries=0) as friend:
            assert friend.completions.create(model=BASE, prompt="Hi").choices
        assert httpx.get(f"{url}/health", timeout=600).status_code == 200


async def test_any_of_several_keys_opens_and_none_is_ever_said(
    own_checkpoints: Path, serve: Any, caplog: pytest.LogCaptureFixture
) -> None:
    keys = (b"Bearer first-secret", b"Bearer second-secret")
    wrong = (b"", b"Bearer", b"Bearer first-secret , second-secret", b"Bearer \xff", b"first", b"Bearer ,")
    with (
        caplog.at_level("DEBUG", "serving"),
        serve(own_checkpoints, api_key="first-secret , second-secret") as url,
    ):
        async with httpx.AsyncClient(base_url=url, timeout=600, trust_env=False) as http:
            for method, path in (("GET", "/v1/models"), ("POST", "/v1/completions"), ("POST", "/detokenize")):
                for given in (*keys, *wrong):
                    headers = {b"Authorization": given}
                    answer = await http.request(method, path, headers=headers, content=b"{}")
                    assert (answer.status_code == 401) == (given in wrong), (path, given)
                    assert "secret" not in answer.text
    assert "secret" not in caplog.text


def test_a_key_that_is_set_but_empty_opens_nothing(own_checkpoints: Path, serve: Any) -> None:
    with pytest.raises(ConfigError, match="holds no key"), serve(own_checkpoints, api_key=" , "):
        pass


async def test_pages_of_other_origins_are_not_let_in(http: httpx.AsyncClient) -> None:
    origin = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    for answer in (
        await http.options("/v1/chat/completions", headers=origin),
        await http.get("/v1/models", headers=origin),
    ):
        assert not any(name.startswith("access-control-") for name in answer.headers)


def test_a_new_age_answers_without_a_restart(client: OpenAI, own_checkpoints: Path, add_age: Any) -> None:
    assert "tiny@base-000064" not in {model.id for model in client.models.list()}
    add_age(own_checkpoints, BASE, "tiny@base-000064")
    assert "tiny@base-000064" in {model.id for model in client.models.list()}
    assert client.completions.create(model="tiny@base-000064", prompt="Hi", max_tokens=3).choices


def test_an_age_that_was_deleted_and_trained_anew_is_the_new_one(
    own_checkpoints: Path, tmp_path: Path, serve: Any, add_age: Any
) -> None:
    copy = tmp_path / "checkpoints"
    shutil.copytree(own_checkpoints, copy)
    with serve(copy) as url, OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:

        def speak(address: str) -> str:
            asked: dict[str, Any] = {"prompt": "Hi", "temperature": 0}
            return client.completions.create(model=address, **asked).choices[0].text

        before = speak("tiny@base-000004")
        shutil.rmtree(copy / "tiny" / "base-000004")
        add_age(copy, BASE, "tiny@base-000004")
        assert speak("tiny@base-000004") == speak(BASE) != before


def test_who_asks_for_nobody_learns_how_many_there_are_and_who_is_alike(
    own_checkpoints: Path, tmp_path: Path, add_age: Any
) -> None:
    shutil.copytree(own_checkpoints / "tiny/base-000000", tmp_path / "tiny/base-000000")
    catalog = Catalog(tmp_path)
    with pytest.raises(ApiError, match=r"there are: tiny@base-000000$"):
        catalog.find("nobody")
    for step in range(1, 12):
        add_age(tmp_path, "tiny@base-000000", f"tiny@base-{step:06}")
    with pytest.raises(ApiError, match=r"there are: (\S+, ){8}and 4 more: GET /v1/models lists all$"):
        catalog.find("nobody")
    with pytest.raises(ApiError, match=r"there are: tiny@base-000011, (\S+, ){2}and 9 more: "):
        catalog.find("tiny@base-00011")


def test_one_damaged_age_costs_only_itself(own_checkpoints: Path, tmp_path: Path, serve: Any) -> None:
    copy = tmp_path / "checkpoints"
    shutil.copytree(own_checkpoints, copy)
    (copy / "tiny" / "base-000000" / "age.json").write_text("{")
    (copy / "tiny" / "base-000004" / "model.safetensors").write_bytes(b"not weights")
    with serve(copy) as url, OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        assert "tiny@base-000000" not in {model.id for model in client.models.list()}
        for stream in (False, True):
            with pytest.raises(openai.InternalServerError, match="is damaged") as caught:
                client.completions.create(model="tiny@base-000004", prompt="Hi", stream=stream)
            assert (caught.value.status_code, caught.value.code) == (500, "age_damaged")
        assert client.completions.create(model=BASE, prompt="Hi", max_tokens=3).choices
        assert httpx.get(f"{url}/health", timeout=600).status_code == 200


async def active(http: httpx.AsyncClient) -> float:
    lines = (await http.get("/metrics")).text.splitlines()
    numbers = dict(line.rsplit(" ", 1) for line in lines)
    return float(numbers["selves_requests_active"]) + float(numbers["selves_requests_waiting"])


@pytest.mark.parametrize("stream", [True, False])
async def test_hanging_up_stops_the_speaker(http: httpx.AsyncClient, endless: str, stream: bool) -> None:
    asked = {"model": endless, "prompt": "Hi", "max_tokens": 900_000, "ignore_eos": True, "stream": stream}

    async def listen() -> None:
        async with http.stream("POST", "/v1/completions", json=asked) as response:
            async for _ in response.aiter_lines():
                pass

    call = asyncio.create_task(listen())
    while not await active(http):
        assert not call.done()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    while await active(http):
        pass


async def test_a_transcript_age_in_a_chat_client_says_one_line(client: OpenAI, url: str) -> None:
    for seed in range(5):
        chat = client.chat.completions.create(model=BASE, messages=HELLO, max_tokens=80, seed=seed)
        assert "\n" not in (chat.choices[0].message.content or "")


async def test_tokenize_counts_texts_and_chats(http: httpx.AsyncClient) -> None:
    text = (await http.post("/tokenize", json={"model": BASE, "prompt": "Hi!"})).json()
    assert text["count"] == len(text["tokens"])
    assert text["max_model_len"] == 256
    chat = (await http.post("/tokenize", json={"model": CHAT, "messages": HELLO})).json()
    assert chat["count"] > text["count"]
