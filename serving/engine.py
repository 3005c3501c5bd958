"""The embedded engine, its upper half: one worker thread in which all sequences speak together.

Requests come in through a queue, and pieces go out through each request's `deliver`. Only the worker touches
models. torch and transformers are imported in it, so the address is up at once.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import metadata
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from selves.cast import Dtype
from selves.cores import available_cores
from selves.errors import EngineError, SelvesError
from selves.lineage import Age
from serving.asks import Ask, Piece, PromptScores
from serving.facts import Identity
from serving.machine import available_ram

if TYPE_CHECKING:
    from serving.rounds import Rounds

log = logging.getLogger(__name__)

MAX_TOKENIZERS = 64
MAX_WAITING = 1000
"""More sequences than these do not stand in line: whoever asks is told to come back."""
SWITCH_S = 0.0003
"""How long a thread may keep Python's lock while another wants it. Found by trying, at demo size."""
MEASURES = (
    "selves_requests_active",
    "selves_ages_hot",
    "selves_ages_loaded_total",
    "selves_memory_bytes",
    "selves_memory_limit_bytes",
    "selves_prompt_tokens_read_total",
    "selves_prompt_tokens_remembered_total",
    "selves_tokens_generated_total",
)
"""What is measured while the worker runs."""

Delivery = Piece | PromptScores | SelvesError


def versions(dtype: Dtype) -> str:
    """Return what an engine's answers depend on beside the weights: libraries, and how weights are kept."""
    libraries = [f"{name} {metadata.version(name)}" for name in ("transformers", "torch")]
    return ", ".join([*libraries, *([] if dtype == "auto" else [dtype])])


class Job:
    """One sequence that was asked for.

    `deliver` is called with PromptScores if they were asked for, then with pieces; or with one error at the
    end. It is called in the worker's thread and must not block.
    """

    def __init__(
        self, age: Age, prompt_ids: Sequence[int], ask: Ask, deliver: Callable[[Delivery], None]
    ) -> None:
        self.age = age
        self.prompt_ids = list(prompt_ids)
        self.ask = ask
        self.deliver = deliver
        self.cancelled = False
        self.when_cancelled: Callable[[], None] = lambda: None

    def cancel(self) -> None:
        """Stop drawing; nothing more is delivered soon after."""
        if not self.cancelled:
            self.cancelled = True
            self.when_cancelled()

    def fail(self, error: SelvesError) -> None:
        """End with an error, unless it has ended."""
        if not self.cancelled:
            self.cancel()
            self.deliver(error)


class Engine:
    """Many ages in one process. `start` it, `submit` jobs, `close` it.

    `memory_bytes` bounds weights and what sequences remember; 0: half of what is free at the start. `hot`
    bounds the number of ages in memory; 0: it does not.
    """

    name = "embedded"

    def __init__(
        self, *, hot: int = 0, threads: int = 0, memory_bytes: int = 0, dtype: Dtype = "auto"
    ) -> None:
        self._threads = threads or max(1, len(available_cores()) - 1)
        self._limits = {"hot": hot, "memory_bytes": memory_bytes or available_ram() // 2}
        self._dtype: Dtype = dtype
        self._inbox: SimpleQueue[Job | None] = SimpleQueue()
        self._rounds: Rounds | None = None
        self._imported = threading.Event()
        self._tokenizers: OrderedDict[Identity, Any] = OrderedDict()
        self._tokenizing = ThreadPoolExecutor(1, "tokenizer")
        self._worker = threading.Thread(target=self._work, name="engine", daemon=True)
        self.after_round: Callable[[], None] = lambda: None
        """Called in the worker's thread when it has delivered what a round gave."""
        self.trouble = ""
        """Why it cannot answer any more; empty while it can."""
        self.version = versions(dtype)

    def start(self) -> None:
        """Start the worker; returns at once."""
        # compiled loops let go of Python's lock and want it back a moment later, from an event loop that
        # would keep it for 5 ms
        sys.setswitchinterval(SWITCH_S)
        self._worker.start()

    def when_it_ends(self, act: Callable[[], None]) -> None:
        """Call `act`, from a thread, when the worker has ended, by whatever."""

        def watch() -> None:
            self._worker.join()
            act()

        threading.Thread(target=watch, name="watch", daemon=True).start()

    def close(self) -> None:
        """Stop the worker after its current round. Jobs that are not finished get an error."""
        self._inbox.put(None)
        self._worker.join()
        self._tokenizing.shutdown(cancel_futures=True)

    def submit(self, job: Job) -> None:
        """Queue a job. The worker calls its `deliver` with what comes, or with one SelvesError at the end."""
        if self.waiting >= MAX_WAITING:
            job.fail(EngineError(f"{MAX_WAITING} requests are waiting already", "try again in a while"))
            self.after_round()
            return
        self._inbox.put(job)
        if self.trouble or not self._worker.is_alive():
            self._refuse_rest()

    async def encode(
        self,
        age: Age,
        prompt: str | list[int] | list[dict[str, str]],
        template: Mapping[str, Any],
        *,
        special_tokens: bool = True,
    ) -> list[int]:
        """Return the token ids of a text, or of messages through the age's chat template.

        `template` are further variables for the template; without `special_tokens` a text gets no tokens
        around it. Raises UsageError for a prompt that this age cannot be given, AgeError when its tokenizer
        does not load.
        """
        return await asyncio.wrap_future(self.encode_soon(age, prompt, template, special_tokens))

    async def decode(self, age: Age, token_ids: list[int]) -> str:
        """Return the text of token ids, special ones spelled out. Raises as `encode`."""
        return await asyncio.wrap_future(self.decode_soon(age, token_ids))

    def encode_soon(
        self,
        age: Age,
        prompt: str | list[int] | list[dict[str, str]],
        template: Mapping[str, Any],
        special_tokens: bool,
    ) -> Future[list[int]]:
        """Begin to `encode`, from any thread."""
        return self._tokenizing.submit(self._encode, age, prompt, template, special_tokens)

    def decode_soon(self, age: Age, token_ids: list[int]) -> Future[str]:
        """Begin to `decode`, from any thread."""
        return self._tokenizing.submit(self._decode, age, token_ids)

    def _encode(
        self,
        age: Age,
        prompt: str | list[int] | list[dict[str, str]],
        template: Mapping[str, Any],
        special_tokens: bool,
    ) -> list[int]:
        from serving.embedded import encode

        return encode(self._tokenizer(age), prompt, template, special_tokens=special_tokens)

    def _decode(self, age: Age, token_ids: list[int]) -> str:
        from serving.embedded import encode

        tokenizer = self._tokenizer(age)
        ids = encode(tokenizer, token_ids, {})
        return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))

    def _tokenizer(self, age: Age) -> Any:
        self._imported.wait()
        from serving.embedded import load_tokenizer

        # not shared with the worker: tokenizers refuse to be used and configured by two threads at once
        key = Identity.of(age)
        tokenizer = self._tokenizers.pop(key, None) or load_tokenizer(age)
        self._tokenizers[key] = tokenizer
        if len(self._tokenizers) > MAX_TOKENIZERS:
            self._tokenizers.popitem(last=False)
        return tokenizer

    def measures(self) -> Mapping[str, float]:
        """Return a few numbers for /metrics."""
        rounds = self._rounds
        known = rounds.measures() if rounds else dict.fromkeys(MEASURES, 0.0)
        return {"selves_requests_waiting": self.waiting, **known}

    @property
    def waiting(self) -> int:
        """How many jobs nobody has begun."""
        return self._inbox.qsize() + (self._rounds.waiting if self._rounds else 0)

    def _work(self) -> None:
        end = "the embedded engine has died"
        try:
            from serving.embedded import prepare_torch
            from serving.rounds import Rounds

            prepare_torch(self._threads)
            self._rounds = Rounds(**self._limits, dtype=self._dtype)
            self._imported.set()
            while self._take_in(self._rounds):
                self._rounds.play()
                self.after_round()
            end = "the engine is stopping"
        except Exception as error:
            log.exception("the embedded engine has died")
            end += f": {type(error).__name__}: {error}"
        finally:
            self.trouble = end
            self._imported.set()  # if that failed, every request fails in `_encode` with the same error
            self._refuse_rest()

    def _take_in(self, rounds: Rounds) -> bool:
        """Hand over what was submitted, sleeping while there is nothing to do. False: it is time to stop."""
        block = not rounds.busy
        while True:
            try:
                job = self._inbox.get(block)
            except Empty:
                return True
            if job is None:
                return False
            rounds.add(job)
            block = False

    def _refuse_rest(self) -> None:
        error = EngineError(self.trouble or "the engine has died", "try again when it is back")
        if self._rounds is not None:
            self._rounds.fail_all(error)
        while True:
            try:
                job = self._inbox.get_nowait()
            except Empty:
                self.after_round()
                return
            if job is not None:
                job.fail(error)
