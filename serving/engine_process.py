"""Be the process in which the embedded engine runs: `apart.py` starts this, asks it, and hears it."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import signal
import sys
import threading
import time
from concurrent.futures import Future
from functools import partial
from typing import IO, Any

from selves.cli import log_to_stderr
from selves.errors import EngineError, SelvesError
from serving.apart import Batch, is_last
from serving.engine import Delivery, Engine, Job

log = logging.getLogger(__name__)

MEASURED_S = 0.1
"""How often figures are sent while something is said."""


class Other:
    """What runs in the process of its own: an Engine, and what is said to it and by it."""

    def __init__(self, engine: Engine, pipe: IO[bytes]) -> None:
        self._engine = engine
        self._pipe = pipe
        self._sending = threading.Lock()
        self._drawn: list[tuple[int, Delivery]] = []
        self._jobs: dict[int, Job] = {}
        self._measured_s = 0.0
        engine.after_round = self._after_round

    def take(self, message: tuple[Any, ...]) -> None:
        match message:
            case ("say", number, age, prompt_ids, ask):
                job = Job(age, prompt_ids, ask, partial(self._deliver, number))
                self._jobs[number] = job
                self._engine.submit(job)
            case ("cancel", number):
                if number in self._jobs:
                    self._jobs.pop(number).cancel()
            case ("encode", number, *given):
                self._engine.encode_soon(*given).add_done_callback(partial(self._answer, number))
            case ("decode", number, *given):
                self._engine.decode_soon(*given).add_done_callback(partial(self._answer, number))

    def _deliver(self, number: int, delivered: Delivery) -> None:
        job = self._jobs.get(number)
        if job is not None and is_last(delivered, job):
            self._jobs.pop(number, None)
        with self._sending:
            self._drawn.append((number, delivered))

    def _after_round(self) -> None:
        with self._sending:
            drawn, self._drawn = self._drawn, []
        now_s = time.monotonic()
        due = not self._jobs or now_s - self._measured_s > MEASURED_S
        if due:
            self._measured_s = now_s
        if drawn or due:
            self._send(Batch(drawn, measures=self._engine.measures() if due else None))

    def _answer(self, number: int, done: Future[Any]) -> None:
        error = done.exception()
        if error is not None and not isinstance(error, SelvesError):
            log.error("tokenizing failed", exc_info=error)
            error = EngineError(f"the tokenizer failed: {type(error).__name__}: {error}")
        self._send(Batch(answers=[(number, error if error is not None else done.result())]))

    def _send(self, batch: Batch) -> None:
        with self._sending:
            pickle.dump(batch, self._pipe)
            self._pipe.flush()


def main() -> None:
    """Be the other process, until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started this
    log_to_stderr()
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed here is no answer
    heard = sys.stdin.buffer
    with contextlib.suppress(EOFError, OSError):
        engine = Engine(**pickle.load(heard))
        other = Other(engine, pipe)
        engine.start()
        engine.when_it_ends(lambda: os._exit(1))
        while True:
            other.take(pickle.load(heard))
    os._exit(0)  # nobody listens any more


if __name__ == "__main__":
    main()
