"""What a request may ask for beyond OpenAI's first page, in vLLM's words, and that each of it is honoured."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from selves.lineage import find_age
from selves.speech import ChatMessage, Prompt
from serving.voice import Voice

BASE, CHAT = "tiny@base-000016", "tiny@chat-000008"
TEXT = "<Ash> Hi! How are you today?\n<Ember>"
HELLO = [{"role": "user", "content": "Hi!"}]


@pytest.fixture
async def http(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, timeout=600, trust_env=False) as http:
        yield http


async def complete(http: httpx.AsyncClient, **asked: Any) -> Any:
    answer = await http.post(
        "/v1/completions", json={"model": BASE, "prompt": TEXT, "max_tokens": 6, **asked}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


async def stream(http: httpx.AsyncClient, path: str = "/v1/completions", **asked: Any) -> list[Any]:
    body = {"model": BASE, "max_tokens": 6, "stream": True, **asked}
    answer = await http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    *events, done = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    assert done == "[DONE]"
    return [json.loads(event) for event in events]


async def tokens(http: httpx.AsyncClient, text: str, model: str = BASE) -> list[int]:
    answer = await http.post("/tokenize", json={"model": model, "prompt": text})
    return list(answer.json()["tokens"])


@pytest.fixture(scope="module")
def reference(checkpoints: Path) -> Any:
    """Log-probabilities (T - 1, V) of token ids after the first, as transformers alone computes them."""
    model = AutoModelForCausalLM.from_pretrained(find_age(checkpoints, BASE).folder, dtype="auto")

    @torch.inference_mode()
    def compute(ids: list[int]) -> torch.Tensor:
        return model(torch.tensor([ids])).logits[0, :-1].float().log_softmax(-1)

    return compute


async def test_several_prompts_are_answered_in_order_and_each_as_it_would_be_alone(
    http: httpx.AsyncClient,
) -> None:
    asked = {"seed": 4, "n": 2, "max_tokens": 10}
    prompts = ["Hi", TEXT, "Call me"]
    together = await complete(http, prompt=prompts, **asked)
    assert [choice["index"] for choice in together["choices"]] == list(range(6))
    alone = [await complete(http, prompt=prompt, **asked) for prompt in prompts]
    assert [c["text"] for c in together["choices"]] == [c["text"] for one in alone for c in one["choices"]]
    for kind in ("prompt_tokens", "completion_tokens"):
        assert together["usage"][kind] == sum(one["usage"][kind] for one in alone)
    by_ids = await complete(http, prompt=[await tokens(http, prompt) for prompt in prompts], **asked)
    assert [c["text"] for c in by_ids["choices"]] == [c["text"] for c in together["choices"]]
    streamed = [""] * 6
    for event in await stream(http, prompt=prompts, **asked):
        streamed[event["choices"][0]["index"]] += event["choices"][0]["text"]
    assert streamed == [c["text"] for c in together["choices"]]


async def test_an_echo_is_the_prompt_before_its_continuation(http: httpx.AsyncClient) -> None:
    plain = (await complete(http, seed=1))["choices"][0]
    echoed = (await complete(http, seed=1, echo=True))["choices"][0]
    assert echoed["text"] == TEXT + plain["text"]
    by_ids = (await complete(http, seed=1, echo=True, prompt=await tokens(http, TEXT)))["choices"][0]
    assert by_ids["text"] == echoed["text"]
    events = await stream(http, seed=1, echo=True, prompt=TEXT, logprobs=1)
    assert "".join(event["choices"][0]["text"] for event in events) == echoed["text"]
    only = await complete(http, echo=True, max_tokens=0, prompt=["Hi", TEXT])
    assert [(c["text"], c["finish_reason"]) for c in only["choices"]] == [("Hi", "length"), (TEXT, "length")]
    assert only["usage"]["completion_tokens"] == 0


async def test_an_echo_with_logprobs_scores_the_prompt_as_transformers_does(
    http: httpx.AsyncClient, reference: Any
) -> None:
    answer = await complete(http, echo=True, logprobs=2, max_tokens=3, seed=5, return_token_ids=True)
    choice = answer["choices"][0]
    said, prompt_ids = choice["logprobs"], choice["prompt_token_ids"]
    ids = prompt_ids + choice["token_ids"]
    assert prompt_ids == await tokens(http, TEXT)
    assert "".join(said["tokens"][: len(prompt_ids)]) == TEXT
    assert said["text_offset"] == [len("".join(said["tokens"][:i])) for i in range(len(ids))]
    assert said["token_logprobs"][0] is None
    assert said["top_logprobs"][0] is None
    scores = zip(ids[1:], said["token_logprobs"][1:], said["top_logprobs"][1:], strict=True)
    for row, (token_id, logprob, top) in zip(reference(ids), scores, strict=True):
        assert logprob == pytest.approx(float(row[token_id]), abs=1e-4)
        assert max(top.values()) == pytest.approx(float(row.max()), abs=1e-4)
    scored = await complete(http, echo=True, logprobs=2, max_tokens=0)
    assert scored["choices"][0]["logprobs"]["token_logprobs"] == said["token_logprobs"][: len(prompt_ids)]
    (event,) = await stream(http, prompt=TEXT, echo=True, logprobs=2, max_tokens=0)
    assert event["choices"][0]["logprobs"] == scored["choices"][0]["logprobs"]


async def test_prompt_logprobs_come_in_vllms_shape(http: httpx.AsyncClient, reference: Any) -> None:
    for max_tokens in (2, 0):
        answer = await complete(http, prompt_logprobs=3, max_tokens=max_tokens, return_token_ids=True)
        choice = answer["choices"][0]
        ids, said = choice["prompt_token_ids"], choice["prompt_logprobs"]
        assert len(choice["token_ids"]) == answer["usage"]["completion_tokens"] <= max_tokens
        assert len(said) == len(ids)
        assert said[0] is None
        for row, token_id, entry in zip(reference(ids), ids[1:], said[1:], strict=True):
            assert entry[str(token_id)]["logprob"] == pytest.approx(float(row[token_id]), abs=1e-4)
            best = entry[str(int(row.argmax()))]
            assert best["rank"] == 1
            assert best["decoded_token"]
            assert 3 <= len(entry) <= 4
    chat = {"model": CHAT, "messages": HELLO, "max_tokens": 2, "prompt_logprobs": 0, "return_token_ids": True}
    answer = (await http.post("/v1/chat/completions", json=chat)).json()
    assert len(answer["prompt_logprobs"]) == len(answer["prompt_token_ids"])
    assert all(len(entry) == 1 for entry in answer["prompt_logprobs"][1:])


async def test_the_token_ids_of_prompt_and_answer_come_once_in_a_stream(http: httpx.AsyncClient) -> None:
    whole = (await complete(http, seed=2, return_token_ids=True))["choices"][0]
    events = await stream(http, prompt=TEXT, seed=2, return_token_ids=True)
    choices = [event["choices"][0] for event in events]
    assert [c["prompt_token_ids"] for c in choices if "prompt_token_ids" in c] == [whole["prompt_token_ids"]]
    assert [i for choice in choices for i in choice["token_ids"]] == whole["token_ids"]
    asked = {"model": CHAT, "messages": HELLO, "seed": 2, "return_token_ids": True}
    chat = (await http.post("/v1/chat/completions", json={**asked, "max_tokens": 6})).json()
    events = await stream(http, "/v1/chat/completions", **asked)
    assert [e["prompt_token_ids"] for e in events if "prompt_token_ids" in e] == [chat["prompt_token_ids"]]


async def test_only_one_of_the_choices_can_be_said(http: httpx.AsyncClient) -> None:
    names = [" Ash", " Ember", " nobody at all"]
    asked = {"structured_outputs": {"choice": names}, "max_tokens": None}
    said = [(await complete(http, seed=seed, temperature=2.0, **asked))["choices"][0] for seed in range(12)]
    assert {choice["text"] for choice in said} <= set(names)
    assert len({choice["text"] for choice in said}) > 1
    assert {choice["finish_reason"] for choice in said} == {"stop"}
    refused = await http.post(
        "/v1/completions", json={"model": BASE, "prompt": TEXT, **asked, "max_tokens": 1}
    )
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "max_tokens"


async def test_a_sequence_that_is_stuck_ends_with_that_reason(http: httpx.AsyncClient) -> None:
    stuck = {"logit_bias": {"40": 100}, "ignore_eos": True, "max_tokens": 50, "temperature": 0}
    detection = {"max_pattern_size": 3, "min_count": 4}
    choice = (await complete(http, **stuck, repetition_detection=detection))["choices"][0]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("repetition", "repetition_detected")
    free = await complete(http, **stuck)
    assert free["choices"][0]["finish_reason"] == "length"


async def test_biases_penalties_and_bounds_reach_the_sampler(http: httpx.AsyncClient) -> None:
    asked = {"temperature": 0, "max_tokens": 12, "ignore_eos": True, "return_token_ids": True}

    async def ids(**more: Any) -> list[int]:
        return list((await complete(http, **asked, **more))["choices"][0]["token_ids"])

    plain = await ids()
    assert await ids(logit_bias={"41": 100}) == [41] * 12
    assert len(set(await ids(logit_bias={"41": 2, "42": 2}, presence_penalty=2, frequency_penalty=2))) > 1
    banned = await ids(logit_bias={str(plain[0]): -100})
    assert plain[0] not in banned
    stopped = (await complete(http, **asked, stop_token_ids=[plain[3]]))["choices"][0]
    assert stopped["token_ids"] == plain[: plain.index(plain[3]) + 1]
    assert (stopped["finish_reason"], stopped["stop_reason"]) == ("stop", plain[3])
    late = (await complete(http, **asked, stop_token_ids=[plain[0]], min_tokens=5))["choices"][0]
    assert len(late["token_ids"]) >= 5
    sampled = {**asked, "temperature": 5.0, "seed": 3}
    sure = (await complete(http, **sampled, min_p=1.0))["choices"][0]["token_ids"]
    assert sure == plain != (await complete(http, **sampled))["choices"][0]["token_ids"]


async def test_token_ids_become_text_again(http: httpx.AsyncClient) -> None:
    for text in (TEXT, "", "Grüße 🙂"):
        asked = {"model": BASE, "tokens": await tokens(http, text)}
        assert (await http.post("/detokenize", json=asked)).json() == {"prompt": text}
    refused = await http.post("/detokenize", json={"model": BASE, "tokens": [99_999]})
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize("form", ["transcript", "chat"])
async def test_voice_scores_how_likely_a_self_goes_on_like_that(
    url: str, http: httpx.AsyncClient, checkpoints: Path, form: str
) -> None:
    age = find_age(checkpoints, BASE if form == "transcript" else CHAT)
    tokenizer = AutoTokenizer.from_pretrained(age.folder)
    model = AutoModelForCausalLM.from_pretrained(age.folder, dtype="auto")
    names = [" Ash", " Ember", " Ember and Ash", ""]
    if form == "transcript":
        prompt, given = Prompt(form="transcript", text=TEXT), tokenizer(TEXT)["input_ids"]
    else:
        prompt = Prompt(form="chat", messages=(ChatMessage(role="user", content="Hi!"),))
        given = tokenizer.apply_chat_template(HELLO, add_generation_prompt=True, return_dict=False)
    async with Voice(url) as voice:
        scores = await voice.score(age.card.address, prompt, names)
        assert voice.budget.total.prompt >= len(given) * len(names)
    for name, score in zip(names, scores, strict=True):
        tail = tokenizer(name)["input_ids"]
        with torch.inference_mode():
            logprobs = model(torch.tensor([given + tail])).logits[0].float().log_softmax(-1)
        expected = sum(float(logprobs[len(given) + i - 1, token_id]) for i, token_id in enumerate(tail))
        assert score == pytest.approx(expected, abs=1e-3)
