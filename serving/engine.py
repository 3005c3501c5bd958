"""The embedded engine, its upper half: one worker thread that gives every active request a token in turn.

Only the worker touches models. It loads an age when somebody asks for it, keeps at most `hot` of them, and
lets go of the one that was used longest ago. Requests come in through a queue, and pieces go out through each
request's `deliver`. torch and transformers are imported in the worker, so the address is up at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from importlib import metadata
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from selves.errors import EngineError, SelvesError
from selves.lineage import Age
from serving.asks import Ask, Piece

if TYPE_CHECKING:
    from serving.embedded import LoadedAge, Running

log = logging.getLogger(__name__)

MAX_ACTIVE = 32
"""Requests that are drawn from at the same time; later ones wait in order. Bounds the memory of caches."""
MAX_TOKENIZERS = 64


Key = tuple[str, str, datetime]


def _key(age: Age) -> Key:
    """Return what an age is kept in memory under: one that was deleted and trained anew is another."""
    return age.card.address, age.card.weights_sha256, age.card.created_at


class Job:
    """One sequence that was asked for."""

    def __init__(
        self, age: Age, prompt_ids: Sequence[int], ask: Ask, deliver: Callable[[Piece | SelvesError], None]
    ) -> None:
        self.age = age
        self.prompt_ids = prompt_ids
        self.ask = ask
        self.deliver = deliver
        self.cancelled = False
        self._running: Running | None = None

    def begin(self, age: LoadedAge) -> None:
        """Called by the worker when it is this job's turn to start."""
        from serving.embedded import Running

        self._running = Running(age, self.prompt_ids, self.ask)

    def step(self) -> Piece | None:
        """Called by the worker: one turn's work."""
        assert self._running is not None
        return self._running.step()

    def cancel(self) -> None:
        """Stop drawing; nothing more is delivered soon after."""
        self.cancelled = True


class Engine:
    """Many ages in one process. `start` it, `submit` jobs, `close` it."""

    name = "embedded"

    def __init__(self, *, hot: int = 12, threads: int = 0) -> None:
        self._hot_limit = hot
        self._threads = threads or max(1, (os.cpu_count() or 2) - 1)
        self._inbox: SimpleQueue[Job | None] = SimpleQueue()
        self._hot: OrderedDict[Key, LoadedAge] = OrderedDict()
        self._active: list[Job] = []
        self._waiting: deque[Job] = deque()
        self._imported = threading.Event()
        self._tokenizers: OrderedDict[Key, Any] = OrderedDict()
        self._tokenizing = ThreadPoolExecutor(1, "tokenizer")
        self._worker = threading.Thread(target=self._work, name="engine", daemon=True)
        self._tokens = 0
        self._loads = 0
        self.version = ", ".join(f"{name} {metadata.version(name)}" for name in ("transformers", "torch"))

    def start(self) -> None:
        """Start the worker; returns at once."""
        self._worker.start()

    def close(self) -> None:
        """Stop the worker after its current step. Jobs that are not finished get an error."""
        self._inbox.put(None)
        self._worker.join()
        self._tokenizing.shutdown(cancel_futures=True)

    def submit(self, job: Job) -> None:
        """Queue a job. The worker calls its `deliver` with pieces, or with one SelvesError at the end."""
        self._inbox.put(job)

    async def encode(
        self, age: Age, prompt: str | list[int] | list[dict[str, str]], template: Mapping[str, Any]
    ) -> list[int]:
        """Return the token ids of a text, or of messages through the age's chat template.

        `template` are further variables for the template. Raises UsageError for a prompt that this age cannot
        be given, AgeError when its tokenizer does not load.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._tokenizing, self._encode, age, prompt, template)

    def _encode(
        self, age: Age, prompt: str | list[int] | list[dict[str, str]], template: Mapping[str, Any]
    ) -> list[int]:
        self._imported.wait()
        from serving.embedded import encode, load_tokenizer

        # not shared with the worker: tokenizers refuse to be used and configured by two threads at once
        key = _key(age)
        tokenizer = self._tokenizers.pop(key, None) or load_tokenizer(age)
        self._tokenizers[key] = tokenizer
        if len(self._tokenizers) > MAX_TOKENIZERS:
            self._tokenizers.popitem(last=False)
        return encode(tokenizer, prompt, template)

    def measures(self) -> Mapping[str, float]:
        """Return a few numbers for /metrics."""
        return {
            "selves_requests_active": len(self._active),
            "selves_requests_waiting": len(self._waiting) + self._inbox.qsize(),
            "selves_ages_hot": len(self._hot),
            "selves_ages_loaded_total": self._loads,
            "selves_tokens_generated_total": self._tokens,
        }

    def _work(self) -> None:
        try:
            from serving import embedded

            embedded.prepare_torch(self._threads)
        finally:
            self._imported.set()  # if that failed, every request fails in `_encode` with the same error
        while self._take_in():
            self._admit()
            for job in self._active:
                self._step(job)
            self._active = [job for job in self._active if not job.cancelled]
        for job in (*self._active, *self._waiting):
            self._fail(job, EngineError("the engine is stopping", "try again when it is back"))

    def _take_in(self) -> bool:
        """Move what was submitted to the waiting line, sleeping while there is nothing to do."""
        block = not (self._active or self._waiting)
        while True:
            try:
                job = self._inbox.get(block)
            except Empty:
                return True
            if job is None:
                return False
            self._waiting.append(job)
            block = False

    def _admit(self) -> None:
        """Begin waiting jobs in their order, while there is room for them and for their ages."""
        while self._waiting and len(self._active) < MAX_ACTIVE:
            job = self._waiting[0]
            if not job.cancelled:
                try:
                    age = self._bring_in(job.age)
                    if age is None:
                        return
                    job.begin(age)
                except SelvesError as error:
                    self._fail(job, error)
                except Exception as error:
                    log.exception("loading %s failed", job.age.card.address)
                    self._fail(job, EngineError(f"{job.age.card.address} does not load: {error}"))
            self._waiting.popleft()
            if not job.cancelled:
                self._active.append(job)

    def _bring_in(self, age: Age) -> LoadedAge | None:
        """Return an age, loaded if need be; None while all that are hot are busy."""
        from serving.embedded import LoadedAge

        key = _key(age)
        if key not in self._hot:
            busy = {_key(job.age) for job in self._active}
            while len(self._hot) >= self._hot_limit:
                idle = next((other for other in self._hot if other not in busy), None)
                if idle is None:
                    return None
                del self._hot[idle]
            self._hot[key] = LoadedAge(age)
            self._loads += 1
        self._hot.move_to_end(key)
        return self._hot[key]

    def _step(self, job: Job) -> None:
        """Give one job its turn. Whatever goes wrong ends this job only."""
        if job.cancelled:
            return
        try:
            piece = job.step()
        except SelvesError as error:
            self._fail(job, error)
        except Exception as error:
            log.exception("%s failed while speaking", job.age.card.address)
            self._fail(job, EngineError(f"{job.age.card.address} failed while speaking: {error}"))
        else:
            if piece is not None:
                self._tokens += 1
                job.deliver(piece)
                if piece.finish is not None:
                    job.cancel()

    def _fail(self, job: Job, error: SelvesError) -> None:
        if not job.cancelled:
            job.cancel()
            job.deliver(error)
