"""A system as a process: started, asked, measured, stopped.

It ends when this process does, even when that is killed: a server hangs on a leash, and a program reads
from a pipe of ours until its end.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

import httpx

from benchmarks.served import memory, stream
from benchmarks.served.memory import Memory
from benchmarks.served.models import ROOT
from benchmarks.served.systems import Server, System, Visit
from benchmarks.served.work import Answer, Ask
from selves.errors import EngineError, UsageError
from serving import leash
from serving.machine import free_port

START_S = 600.0
"""How long a server may take until it is ready: compiling takes minutes."""
STOP_S = 30.0
POLL_S = 0.02
TAIL_LINES = 3


class Session(Protocol):
    """A system that is running."""

    def answer(self, asks: Sequence[Ask]) -> list[Answer]:
        """Answer all asks, given at once. Raises EngineError."""
        ...

    def memory(self) -> Memory | None: ...

    def version(self) -> str: ...


@contextlib.contextmanager
def started(system: System, visit: Visit) -> Iterator[Session]:
    """Start a system, and stop it when the block ends. Raises EngineError with the last lines of its log."""
    port = free_port() if system.server else 0
    command = system.command(visit, port)
    if system.server:
        command = [sys.executable, "-I", leash.__file__, *command]
    with _logged(visit.log) as log:
        process = subprocess.Popen(
            command,
            env=_environment(visit.threads) | system.environment(visit),
            cwd=visit.log.parent if system.server else ROOT,
            stdin=subprocess.PIPE,
            stdout=log if system.server else subprocess.PIPE,
            stderr=log,
        )
        try:
            if system.server:
                url = f"http://127.0.0.1:{port}"
                _wait_until_ready(url, process)
                yield _Listening(system.server, visit, url, process)
            else:
                yield _Reading(visit, process, gguf=system.gguf)
        finally:
            _stop(process)


def find_program(named: str) -> str:
    """Return the full path of a program. Raises UsageError."""
    found = shutil.which(named)
    if found is None:
        raise UsageError(f"there is no program {named}", "name one that can be run")
    return str(Path(found).absolute())


class _Listening:
    """A server."""

    def __init__(self, server: Server, visit: Visit, url: str, process: subprocess.Popen[bytes]) -> None:
        self._server, self._visit, self._url, self._process = server, visit, url, process

    def answer(self, asks: Sequence[Ask]) -> list[Answer]:
        plan = self._visit.plan
        bodies = [self._server.body(self._visit, ask) for ask in asks]
        return stream.ask(self._url, bodies, plan.prompt_tokens, plan.new_tokens)

    def memory(self) -> Memory | None:
        return memory.of_tree(self._process.pid, with_root=False)  # the root is the leash

    def version(self) -> str:
        try:
            return self._server.version(self._visit, self._url)
        except (httpx.HTTPError, ValueError, LookupError) as error:
            raise EngineError(f"it does not say its version: {error}") from error


class _Reading:
    """A program that reads asks as JSON lines and writes answers so."""

    def __init__(self, visit: Visit, process: subprocess.Popen[bytes], *, gguf: bool) -> None:
        self._visit, self._process, self._gguf = visit, process, gguf
        self._version = ""

    def answer(self, asks: Sequence[Ask]) -> list[Answer]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        plan, model = self._visit.plan, self._visit.model
        weights = [str(model.gguf if self._gguf else model.ages[ask.age].folder) for ask in asks]
        job = {
            "threads": self._visit.threads,
            "new_tokens": plan.new_tokens,
            "asks": [[path, ask.prompt.ids] for path, ask in zip(weights, asks, strict=True)],
        }
        try:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise EngineError("it ended before it was asked") from error
        line = self._process.stdout.readline()
        if not line:
            raise EngineError(f"it ended with exit code {self._process.wait()}")
        said = json.loads(line)
        self._version = said["version"]
        return [Answer(**answer, tokens=len(answer["ids"])) for answer in said["answers"]]

    def memory(self) -> Memory | None:
        return memory.of_tree(self._process.pid, with_root=True)

    def version(self) -> str:
        return self._version


def _environment(threads: int) -> dict[str, str]:
    """Return what all systems get: the same number of threads, no network, nothing of our own Python."""
    ours = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    theirs = {key: value for key, value in os.environ.items() if key not in ours}
    count = str(threads)
    fixed = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1", "TOKENIZERS_PARALLELISM": "false"}
    return theirs | {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count} | fixed


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[IO[bytes]]:
    """Yield a new log, and add its last lines to an EngineError that comes out of the block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as log:
        try:
            yield log
        except EngineError as error:
            said = tail(path.read_text("utf-8", "replace"))
            problem = f"{error.problem}; it last said: {said}" if said else error.problem
            raise EngineError(problem, error.fix or f"read {path}") from error


def tail(log: str) -> str:
    """Return the last lines of a log that are not empty, in one."""
    return " / ".join([line.strip() for line in log.splitlines() if line.strip()][-TAIL_LINES:])


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    with httpx.Client(timeout=5.0, trust_env=False) as client:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise EngineError(f"it ended with exit code {process.returncode} before it was ready")
            with contextlib.suppress(httpx.TransportError):
                if client.get(f"{url}/health").status_code == httpx.codes.OK:
                    return
            time.sleep(POLL_S)
    raise EngineError(f"it was not ready after {START_S:.0f} s")


def _stop(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
