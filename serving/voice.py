"""Voice: the client that everything talks through, over the OpenAI API to whichever engine answers.

    async with Voice("http://127.0.0.1:8640") as voice:
        prompt, sampling = await voice.compose(persona, lines, names=names, seed=7)
        utterance = await voice.say(persona.address, prompt, sampling)

What comes back is a whole record (`Utterance`): the text, its token ids and log-probability, the seed, and
the sha256 of the weights that said it. A generation that fails half way is kept with its error.

A server that is down or busy is asked again, with growing pauses; one that goes on failing is left alone
for a while. What was spent is counted in `voice.budget`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self

import httpx

from selves.cast import Persona
from selves.errors import EngineError
from selves.speech import ChatMessage, Prompt, Sampling, Utterance
from serving.budget import Budget
from serving.caller import Caller
from serving.heard import Answer, ModelInfo, Refusal, unfinished
from serving.patience import ATTEMPTS, Timeouts
from serving.prompt import Line, build_prompt, make_sampling
from serving.questions import Priority, make_request, who_goes_first

__all__ = ["ATTEMPTS", "Budget", "ModelInfo", "Priority", "Timeouts", "Voice", "unfinished"]

SCORED_AT_ONCE = 64
"""Continuations in one request."""


class Voice:
    """A connection to one serving address. Use as an async context manager.

    `api_key` may be several with commas between, as the server reads them; the first is shown.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str = "",
        *,
        timeouts: Timeouts = Timeouts(),  # noqa: B008  (immutable)
        budget: Budget | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/").removesuffix("/v1")
        self.budget = Budget() if budget is None else budget
        self._caller = Caller(self.base_url, api_key.split(",")[0].strip(), timeouts)
        self._infos: dict[str, ModelInfo] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._caller.close()

    async def models(self) -> dict[str, ModelInfo]:
        """Ask which addresses can be spoken to. Raises EngineError."""
        answer = await self._caller.ask("GET", "/v1/models")
        try:
            infos = [ModelInfo.read(entry) for entry in answer["data"]]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise self._caller.not_ours() from error
        self._infos = {info.address: info for info in infos}
        return self._infos

    async def info(self, address: str) -> ModelInfo:
        """Return what is known about one address; asks the server when it is new. Raises EngineError."""
        if address not in self._infos:
            await self.models()
        try:
            return self._infos[address]
        except KeyError:
            known = ", ".join(self._infos) or "none"
            raise EngineError(
                f"nobody at {self.base_url} answers to {address!r}", f"there are: {known}"
            ) from None

    async def count_tokens(self, address: str, text: str | Sequence[ChatMessage]) -> int:
        """Return how many tokens a text takes, or a chat through the model's template. Raises EngineError."""
        return len(await self._tokenize(address, text))

    async def compose(
        self,
        persona: Persona,
        lines: Sequence[Line],
        *,
        premise: str = "",
        names: Collection[str] = (),
        seed: int = 0,
    ) -> tuple[Prompt, Sampling]:
        """Fit what was said into this self's window, and say how to draw its next line. Raises EngineError.

        `names` are all who are present, the persona may be among them.
        """
        info = await self.info(persona.address)
        sampling = make_sampling(info, persona, names, seed=seed)
        counts: dict[str | tuple[ChatMessage, ...], int] = {}

        def count(text: str | tuple[ChatMessage, ...]) -> int:
            if text not in counts:
                raise _NotCountedError(text)
            return counts[text]

        # build_prompt is pure, so it is simply run again whenever it asks for a count we do not have yet
        while True:
            try:
                prompt = build_prompt(
                    info, persona, lines, premise=premise, names=names, count=count, sampling=sampling
                )
            except _NotCountedError as missing:
                counts[missing.text] = await self.count_tokens(persona.address, missing.text)
            else:
                return prompt, sampling

    async def score(
        self, address: str, prompt: Prompt, continuations: Sequence[str], *, priority: int = Priority.PEOPLE
    ) -> list[float]:
        """Return log P(continuation | prompt), in nats, for each: how likely the self is to go on like that.

        The continuation's tokens are those of its text alone, so " Ember" and "Ember" differ. Works on ours
        and on vLLM: prompts are echoed with their log-probabilities, and nothing is drawn. Raises
        EngineError.
        """
        self.budget.check(address)
        info = await self.info(address)
        given = await self._tokenize(address, prompt.text if prompt.form == "transcript" else prompt.messages)
        if not given:
            raise EngineError("the prompt is empty, so nothing continues it", "give at least one token")
        tails = [await self._tokenize(address, text, special_tokens=False) for text in continuations]
        scores: list[float] = []
        for first in range(0, len(tails), SCORED_AT_ONCE):
            some = tails[first : first + SCORED_AT_ONCE]
            body = {
                "model": address,
                "prompt": [[*given, *tail] for tail in some],
                "max_tokens": 0,
                "echo": True,
                "logprobs": 0,
                **who_goes_first(info, priority),
            }
            answer = await self._caller.ask("POST", "/v1/completions", body, address)
            self.budget.add(address, sum(len(given) + len(tail) for tail in some), 0)
            try:
                choices = sorted(answer["choices"], key=lambda choice: int(choice["index"]))
                logprobs = [choice["logprobs"]["token_logprobs"] for choice in choices]
                scores += [sum(row[len(given) :]) for row, _ in zip(logprobs, some, strict=True)]
            except (KeyError, TypeError, ValueError) as error:
                raise self._caller.not_ours() from error
        return scores

    async def say(
        self, address: str, prompt: Prompt, sampling: Sampling, *, priority: int = Priority.PEOPLE
    ) -> Utterance:
        """Generate once, to the end. Raises EngineError only when nothing at all could be had."""
        async with aclosing(self.stream(address, prompt, sampling, priority=priority)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Utterance):
                    return piece
        raise AssertionError("a stream ends with an utterance")

    async def stream(
        self, address: str, prompt: Prompt, sampling: Sampling, *, priority: int = Priority.PEOPLE
    ) -> AsyncGenerator[str | Utterance]:
        """Yield pieces of text as they come, and at last the Utterance that they make.

        Closing the iterator (`aclosing`, or cancelling the task) cancels the request on the server. Raises
        EngineError only when nothing at all could be had; a failure after the first piece ends in an
        Utterance whose `error` says what happened.
        """
        self.budget.check(address)
        info = await self.info(address)
        path, body = make_request(info, prompt, sampling, priority)
        answer = Answer(info, prompt, sampling)
        try:
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    async with aclosing(self._caller.listen(path, body, address, answer.meet)) as events:
                        async for event in events:
                            piece = answer.take(event)
                            if piece:
                                yield piece
                    if answer.finish_reason is None:
                        raise httpx.RemoteProtocolError("the answer ended before it was finished")
                except (httpx.TransportError, Refusal) as error:
                    if not answer.begun:
                        await self._caller.wait_to_try_again(address, attempt, error)
                        continue
                    self._caller.failed(address, error)
                    why = error.problem if isinstance(error, Refusal) else str(error) or type(error).__name__
                    answer.error = f"the answer broke off: {why}"
                break
        finally:
            self.budget.add(address, answer.prompt_tokens, len(answer.token_ids))
        if answer.from_other_weights:
            answer.info = await self._info_anew(answer.info)
        yield answer.utterance()

    async def _info_anew(self, info: ModelInfo) -> ModelInfo:
        """Return what an age is now that it was made anew; its weights are unknown if nobody says."""
        try:
            new = (await self.models()).get(info.address)
        except EngineError:
            new = None
        return info.model_copy(update={"weights_sha256": new.weights_sha256 if new else ""})

    async def _tokenize(
        self, address: str, text: str | Sequence[ChatMessage], *, special_tokens: bool = True
    ) -> list[int]:
        body: dict[str, Any] = {"model": address}
        if isinstance(text, str):
            body["prompt"] = text
        else:
            body["messages"] = [message.model_dump() for message in text]
        if not special_tokens:
            body["add_special_tokens"] = False
        answer = await self._caller.ask("POST", "/tokenize", body, address)
        match answer:
            case {"tokens": list(tokens)}:
                return tokens
            case _:
                raise self._caller.not_ours()


class _NotCountedError(Exception):
    """Raised inside `compose` to ask for one more count."""

    def __init__(self, text: str | tuple[ChatMessage, ...]) -> None:
        super().__init__(text)
        self.text = text
