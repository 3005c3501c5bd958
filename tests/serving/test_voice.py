"""The voice keeps the whole record, tries again when that may help, and keeps what came before a failure."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from selves.cast import Persona, PersonaSampling
from selves.errors import EngineError
from selves.speech import ChatMessage, Prompt, Sampling, Utterance
from serving.prompt import Line
from serving.questions import make_request
from serving.voice import ATTEMPTS, Budget, ModelInfo, Priority, Timeouts, Voice
from tests.servers import listening

BASE, CHAT = "tiny@base-000016", "tiny@chat-000008"
TEXT = Prompt(form="transcript", text="<Ash> Hi!\n<Ember>", message_ids=(1,))
TALK = Prompt(form="chat", messages=(ChatMessage(role="user", content="Hi!"),))


@pytest.fixture
async def voice(url: str) -> AsyncIterator[Voice]:
    async with Voice(f"{url}/v1/") as voice:
        yield voice


@pytest.mark.parametrize(("address", "prompt"), [(BASE, TEXT), (CHAT, TALK)])
async def test_an_utterance_holds_all_that_is_needed_to_say_it_again(
    voice: Voice, address: str, prompt: Prompt
) -> None:
    sampling = Sampling(max_tokens=20, temperature=0.9, repetition_penalty=1.1, seed=7)
    said = await voice.say(address, prompt, sampling)
    info = (await voice.models())[address]
    assert said.weights_sha256 == info.weights_sha256
    assert (said.engine, said.engine_version) == ("embedded", info.engine_version)
    assert said.error is None
    assert 0 < len(said.token_ids) <= 20
    assert said.mean_logprob is not None
    assert said.mean_logprob < 0
    assert said.duration_s > 0
    again = await voice.say(said.address, said.prompt, said.sampling)
    assert (again.text, again.token_ids) == (said.text, said.token_ids)


async def test_a_stream_is_pieces_and_then_the_utterance_they_make(voice: Voice) -> None:
    pieces = [piece async for piece in voice.stream(BASE, TEXT, Sampling(max_tokens=30, seed=2))]
    said = pieces.pop()
    assert isinstance(said, Utterance)
    assert "".join(map(str, pieces)) == said.text
    assert len(pieces) > 1


async def test_closing_the_stream_cancels_on_the_server(voice: Voice, url: str, endless: str) -> None:
    sampling = Sampling(max_tokens=900_000, temperature=1.0, seed=1)
    async with aclosing(voice.stream(endless, TEXT, sampling)) as pieces:
        await anext(pieces)
    async with httpx.AsyncClient(timeout=600) as http:
        while "selves_requests_active 0" not in (await http.get(f"{url}/metrics")).text:
            pass


@pytest.mark.parametrize("address", [BASE, CHAT])
async def test_what_is_composed_fits_the_window_by_the_models_own_count(voice: Voice, address: str) -> None:
    persona = Persona(name="Ember", address=address, sampling=PersonaSampling(max_tokens=40))
    lines = [Line("Ash", f"Line {n}: how are you doing today, my friend?", n) for n in range(60)]
    prompt, sampling = await voice.compose(
        persona, lines, premise="They meet.", names=["Ash", "Ember"], seed=4
    )
    given = prompt.text if prompt.form == "transcript" else prompt.messages
    assert 256 - 40 - 40 < await voice.count_tokens(address, given) <= 256 - 40
    assert prompt.message_ids[-1] == 59
    said = await voice.say(address, prompt, sampling)
    assert said.error is None


async def test_unknown_addresses_and_dead_servers_are_clear_errors(voice: Voice) -> None:
    with pytest.raises(EngineError, match=r"there are: .*tiny@base-000016"):
        await voice.say("ember@base-000001", TEXT, Sampling())
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with Voice(f"http://127.0.0.1:{nobody.getsockname()[1]}") as lonely:
            with pytest.raises(EngineError, match="selves serve"):
                await lonely.models()


async def test_a_prompt_past_the_window_is_a_clear_error(voice: Voice) -> None:
    with pytest.raises(EngineError, match="maximum context length"):
        await voice.say(BASE, Prompt(form="transcript", text="word " * 300), Sampling())


MODELS = {"data": [{"id": "far@chat-000001", "owned_by": "elsewhere", "max_model_len": 512}]}


@contextmanager
def elsewhere(answer: Callable[[Request], Response]) -> Iterator[str]:
    """Another's OpenAI-compatible server, on a real socket, that answers chats as it is told here."""

    async def models(request: Request) -> Response:
        return JSONResponse(MODELS)

    async def chat(request: Request) -> Response:
        return answer(request)

    app = Starlette(
        routes=[Route("/v1/models", models), Route("/v1/chat/completions", chat, methods=["POST"])]
    )
    with listening(app, lifespan=False) as url:
        yield url


def events(*contents: str, finish: str | None = "stop", error: str = "", silent: bool = False) -> Response:
    async def body() -> AsyncIterator[str]:
        for content in contents:
            choice = {"index": 0, "delta": {"content": content}, "finish_reason": None}
            yield f"data: {json.dumps({'choices': [choice]}, ensure_ascii=False)}\n\n"
        if silent:
            await asyncio.Event().wait()
        elif error:
            yield f"data: {json.dumps({'error': {'message': error}})}\n\n"
        elif finish is None:
            raise RuntimeError("the server dies here")
        else:
            choice = {"index": 0, "delta": {}, "finish_reason": finish}
            yield f"data: {json.dumps({'choices': [choice]})}\n\ndata: [DONE]\n\n"

    return StreamingResponse(body(), media_type="text/event-stream")


async def test_a_busy_server_is_asked_again_while_nothing_has_come() -> None:
    calls: list[int] = []

    def busy_at_first(request: Request) -> Response:
        calls.append(1)
        if len(calls) < 3:
            return JSONResponse({"error": {"message": "starting"}}, 503)
        return events("Good ", "day.")

    with elsewhere(busy_at_first) as url:
        async with Voice(url) as voice:
            said = await voice.say("far@chat-000001", TALK, Sampling())
    assert (said.text, said.engine, len(calls)) == ("Good day.", "elsewhere", 3)


@pytest.mark.parametrize(
    ("status", "attempts"), [(503, ATTEMPTS), (429, ATTEMPTS), (400, 1), (401, 1), (500, 1)]
)
async def test_a_refusal_is_an_error_and_asked_again_only_where_it_may_pass(
    status: int, attempts: int
) -> None:
    calls: list[int] = []

    def refuse(request: Request) -> Response:
        calls.append(1)
        return JSONResponse({"error": {"message": "we would rather not"}}, status)

    with elsewhere(refuse) as url:
        async with Voice(url) as voice:
            with pytest.raises(EngineError, match="rather not"):
                await voice.say("far@chat-000001", TALK, Sampling())
    assert len(calls) == attempts


@pytest.mark.parametrize("error", ["", "out of memory"])
async def test_what_came_before_a_failure_is_kept_with_its_error(error: str) -> None:
    with elsewhere(lambda _: events("Good ", "d", finish=None, error=error)) as url:
        async with Voice(url) as voice:
            said = await voice.say("far@chat-000001", TALK, Sampling())
    assert (said.text, said.finish_reason) == ("Good d", "error")
    assert said.error
    assert error in said.error


async def test_dying_before_the_first_piece_is_an_error() -> None:
    with elsewhere(lambda _: events(finish=None)) as url:
        async with Voice(url) as voice:
            with pytest.raises(EngineError, match="nobody answers"):
                await voice.say("far@chat-000001", TALK, Sampling())


async def test_unicodes_line_ends_do_not_break_an_answer() -> None:
    strange = "one\u2028two\x85three\x1cfour\r\nGrüße 🙂"
    with elsewhere(lambda _: events(strange[:5], strange[5:])) as url:
        async with Voice(url) as voice:
            said = await voice.say("far@chat-000001", TALK, Sampling())
    assert (said.text, said.error) == (strange, None)


async def test_a_server_that_says_nothing_is_not_waited_for_forever() -> None:
    with elsewhere(lambda _: events(silent=True)) as url:
        async with Voice(url, timeouts=Timeouts(first_s=2)) as voice:
            with pytest.raises(EngineError, match=r"nothing came for 2 s"):
                await voice.say("far@chat-000001", TALK, Sampling())


async def test_an_answer_that_stops_coming_is_kept_with_its_error() -> None:
    with elsewhere(lambda _: events("Good ", "d", silent=True)) as url:
        async with Voice(url, timeouts=Timeouts(between_s=2)) as voice:
            said = await voice.say("far@chat-000001", TALK, Sampling())
    assert (said.text, said.finish_reason) == ("Good d", "error")
    assert said.error == "the answer broke off: nothing came for 2 s"


async def test_an_engine_that_goes_on_failing_is_left_alone_for_a_while() -> None:
    calls: list[int] = []

    def refuse(request: Request) -> Response:
        calls.append(1)
        return JSONResponse({"error": {"message": "no memory"}}, 503, {"Retry-After": "0.01"})

    with elsewhere(refuse) as url:
        async with Voice(url) as voice:
            for _ in range(2):
                with pytest.raises(EngineError, match="no memory"):
                    await voice.say("far@chat-000001", TALK, Sampling())
            with pytest.raises(EngineError, match=r"has failed 8 times for far@.*no memory") as caught:
                await voice.say("far@chat-000001", TALK, Sampling())
            assert "far@chat-000001" in await voice.models()  # others of that server are not punished
    assert "tried again in" in caught.value.fix
    assert len(calls) == 2 * ATTEMPTS


async def test_what_is_spent_is_counted_and_a_reached_cap_refuses_before_asking(
    voice: Voice, url: str
) -> None:
    said = await voice.say(BASE, TEXT, Sampling(max_tokens=20, seed=7))
    tokens = await voice.count_tokens(BASE, TEXT.text)
    assert voice.budget.spent == {BASE: (tokens, len(said.token_ids))}
    async with Voice(url, budget=Budget(cap_per_address=1)) as frugal:
        await frugal.say(BASE, TEXT, Sampling(max_tokens=1))
        with pytest.raises(EngineError, match=f"the budget of {BASE} is spent"):
            await frugal.say(BASE, TEXT, Sampling())
        assert (await frugal.say(CHAT, TALK, Sampling(max_tokens=1))).error is None


async def test_an_answer_that_is_broken_off_is_paid_for(voice: Voice, endless: str) -> None:
    sampling = Sampling(max_tokens=900_000, temperature=1.0, seed=1)
    async with aclosing(voice.stream(endless, TEXT, sampling)) as pieces:
        await anext(pieces)
    assert voice.budget.spent[endless].prompt > 0
    assert voice.budget.spent[endless].completion > 0


async def test_the_record_names_the_weights_that_spoke_even_when_the_age_was_made_anew(
    own_checkpoints: Path, tmp_path: Path, serve: Any, add_age: Any
) -> None:
    copy = tmp_path / "checkpoints"
    shutil.copytree(own_checkpoints, copy)
    with serve(copy) as url:
        async with Voice(url) as voice:
            before = await voice.say("tiny@base-000004", TEXT, Sampling(max_tokens=3))
            shutil.rmtree(copy / "tiny" / "base-000004")
            add_age(copy, BASE, "tiny@base-000004")
            after = await voice.say("tiny@base-000004", TEXT, Sampling(max_tokens=3))
            assert after.weights_sha256 == (await voice.info(BASE)).weights_sha256 != before.weights_sha256


async def test_of_several_keys_the_first_is_shown(own_checkpoints: Path, serve: Any) -> None:
    with serve(own_checkpoints, api_key="mine, yours") as url:
        for keys in ("mine,yours", "yours", " yours , other"):
            async with Voice(url, keys) as voice:
                assert await voice.models()
        async with Voice(url, "other,mine") as voice:
            with pytest.raises(EngineError, match="needs an API key"):
                await voice.models()


def test_people_go_before_scenes_where_the_server_is_ours() -> None:
    ours = ModelInfo(
        address=CHAT, form="chat", context_tokens=256, weights_sha256="ab", engine="vllm", engine_version="1"
    )
    _, scene = make_request(ours, TALK, Sampling(), Priority.SCENES)
    _, person = make_request(ours, TALK, Sampling(), Priority.PEOPLE)
    assert scene["priority"] > person.get("priority", 0)
    _, elsewhere = make_request(ours.model_copy(update={"weights_sha256": ""}), TALK, Sampling(), 10)
    assert "priority" not in elsewhere
