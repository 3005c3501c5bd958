"""The embedded engine in a process of its own, so that counting and talking do not take turns at one lock.

    engine = EngineApart(threads=1)       has what Engine has

Whatever ends that process, a damaged library or a machine out of memory, ends what was being said in it and
nothing else: it is started again, and until then requests are answered with an error.

Both sides send pickles: this one to the other's standard input (`engine_process.py`), the other to its
standard output. The other ends when its input does, so it never outlives this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from queue import SimpleQueue
from typing import IO, Any, NamedTuple

from selves.cast import Dtype
from selves.errors import EngineError, SelvesError
from selves.lineage import Age
from serving.asks import Piece
from serving.engine import MEASURES, Delivery, Engine, Job, versions

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
"""Before it is started again; each pause is twice as long as the one before."""
STEADY_S = 60.0
"""After so long it counts as well again."""
STOP_S = 5.0


class Batch(NamedTuple):
    """What the other process sends at a time."""

    drawn: list[tuple[int, Delivery]] = []  # noqa: RUF012  (never changed)
    """(number of the job, what came)."""
    answers: list[tuple[int, Any]] = []  # noqa: RUF012
    """(number of the question, its answer or an error)."""
    measures: Mapping[str, float] | None = None


class EngineApart:
    """`Engine` in another process; see there for what its methods do."""

    name = Engine.name

    def __init__(
        self, *, hot: int = 0, threads: int = 0, memory_bytes: int = 0, dtype: Dtype = "auto"
    ) -> None:
        self._options = {"hot": hot, "threads": threads, "memory_bytes": memory_bytes, "dtype": dtype}
        self._numbers = itertools.count()
        self._jobs: dict[int, Job] = {}
        self._questions: dict[int, Future[Any]] = {}
        self._measures: Mapping[str, float] = {"selves_requests_waiting": 0, **dict.fromkeys(MEASURES, 0.0)}
        self._process: subprocess.Popen[bytes] | None = None
        self._outbox = self._new_outbox()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="engine", daemon=True)
        self.after_round: Callable[[], None] = lambda: None
        self.trouble = ""
        self.version = versions(dtype)

    @property
    def pid(self) -> int | None:
        """The other process, while there is one."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        self._keeper.start()

    def close(self) -> None:
        self._closing.set()
        self._outbox.put(None)
        self._keeper.join()

    def submit(self, job: Job) -> None:
        number = next(self._numbers)
        with self._lock:
            refused = bool(self.trouble) or self._closing.is_set()
            if not refused:
                self._jobs[number] = job
                job.when_cancelled = lambda: self._forget(number)
                self._outbox.put(("say", number, job.age, job.prompt_ids, job.ask))
        if refused:
            job.fail(self._gone())
            self.after_round()

    async def encode(
        self,
        age: Age,
        prompt: str | list[int] | list[dict[str, str]],
        template: Mapping[str, Any],
        *,
        special_tokens: bool = True,
    ) -> list[int]:
        ids: list[int] = await self._ask("encode", age, prompt, template, special_tokens)
        return ids

    async def decode(self, age: Age, token_ids: list[int]) -> str:
        text: str = await self._ask("decode", age, token_ids)
        return text

    def measures(self) -> Mapping[str, float]:
        return self._measures

    async def _ask(self, what: str, *given: Any) -> Any:
        number, answer = next(self._numbers), Future[Any]()
        with self._lock:
            if self.trouble or self._closing.is_set():
                raise self._gone()
            self._questions[number] = answer
            self._outbox.put((what, number, *given))
        return await asyncio.wrap_future(answer)

    def _forget(self, number: int) -> None:
        if self._jobs.pop(number, None) is not None:
            self._outbox.put(("cancel", number))

    def _gone(self) -> EngineError:
        return EngineError(self.trouble or "the engine is stopping", "try again when it is back")

    # the thread that starts it, hears it, and starts it again

    def _keep(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            began_s = time.monotonic()
            try:
                ending = self._live()
            except OSError as error:
                ending = f"it cannot be started: {error}"
            self._fail_all("" if self._closing.is_set() else f"the embedded engine has died ({ending})")
            if self._closing.is_set():
                return
            pause_s = FIRST_PAUSE_S if time.monotonic() - began_s > STEADY_S else pause_s
            log.error("%s; it is started again in %.0f s", self.trouble, pause_s)
            if self._closing.wait(pause_s):
                return
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            with self._lock:
                self.trouble, self._outbox = "", self._new_outbox()

    def _new_outbox(self) -> SimpleQueue[Any]:
        outbox: SimpleQueue[Any] = SimpleQueue()
        outbox.put(self._options)
        return outbox

    def _live(self) -> str:
        """Run the other process until it ends, and return how it ended. Raises OSError."""
        paths = os.pathsep.join(path for path in sys.path if path)
        process = subprocess.Popen(
            [sys.executable, "-m", "serving.engine_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, outbox = process, self._outbox
        writer = threading.Thread(target=_write_all, args=(outbox, process.stdin), daemon=True)
        writer.start()
        with contextlib.suppress(EOFError, pickle.UnpicklingError):
            while True:
                self._take(pickle.load(process.stdout))
        outbox.put(None)
        writer.join()
        process.stdout.close()
        try:
            code = process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def _take(self, batch: Batch) -> None:
        # first, so that who has heard all of an answer finds it counted
        if batch.measures is not None:
            self._measures = batch.measures
        for number, delivered in batch.drawn:
            job = self._jobs.get(number)
            if job is None:  # it was cancelled
                continue
            if is_last(delivered, job):
                del self._jobs[number]
                job.cancelled = True
            job.deliver(delivered)
        for number, answer in batch.answers:
            waiting = self._questions.pop(number)
            with contextlib.suppress(InvalidStateError):  # whoever asked has left
                if isinstance(answer, SelvesError):
                    waiting.set_exception(answer)
                else:
                    waiting.set_result(answer)
        if batch.drawn:
            self.after_round()

    def _fail_all(self, trouble: str) -> None:
        with self._lock:
            self.trouble = trouble
            jobs, self._jobs = self._jobs, {}
            questions, self._questions = self._questions, {}
            self._process = None
        for job in jobs.values():
            job.fail(self._gone())
        for waiting in questions.values():
            with contextlib.suppress(InvalidStateError):
                waiting.set_exception(self._gone())
        self._measures = dict.fromkeys(self._measures, 0.0)
        self.after_round()


def is_last(delivered: Delivery, job: Job) -> bool:
    """Tell whether nothing comes for a job after this."""
    if isinstance(delivered, Piece):
        return delivered.finish is not None
    return isinstance(delivered, SelvesError) or job.ask.max_tokens == 0


def _write_all(outbox: SimpleQueue[Any], pipe: IO[bytes]) -> None:
    """Send what is put into the outbox, until None; then end the other's input."""
    with contextlib.suppress(OSError), pipe:
        while (message := outbox.get()) is not None:
            pickle.dump(message, pipe)
            if outbox.empty():
                pipe.flush()
