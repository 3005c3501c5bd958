"""The systems that are compared: how each is called, how it is asked, and what it cannot do. Pure, but for
versions, which have to be asked for.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from benchmarks.served.models import ROOT, Model
from benchmarks.served.work import NO_END, Ask, Plan

LONGEST_SEQUENCE = 1024
"""What vLLM is told to make room for; no more than that is asked."""


class Peers(NamedTuple):
    """Programs of others that were named on the command line."""

    llama_python: str = ""
    transformers: str = ""
    vllm: str = ""


class Visit(NamedTuple):
    """One system with one model."""

    model: Model
    plan: Plan
    threads: int
    peers: Peers
    log: Path


Json = dict[str, Any]


class Server(NamedTuple):
    """What is said to a system over HTTP."""

    body: Callable[[Visit, Ask], Json]
    """What is posted to /v1/completions for one ask."""
    version: Callable[[Visit, str], str]
    """Which version answers at a URL."""


class System(NamedTuple):
    """A way to get tokens out of an age."""

    name: str
    command: Callable[[Visit, int], list[str]]
    """Its command line, and the port it is to listen on, if it does."""
    server: Server | None = None
    """None: a program that reads asks from stdin."""
    environment: Callable[[Visit], dict[str, str]] = lambda _visit: {}
    peer: str = ""
    """Which of `Peers` has to be named for it."""
    cannot: Mapping[str, str] = {}
    """Workload -> why it cannot do that."""
    gguf: bool = False
    """Whether it reads a GGUF file instead of an age."""

    def lacks(self, peers: Peers) -> str:
        """Say why it cannot be run here; empty when it can."""
        if self.peer == "transformers" and not peers.transformers and find_spec("fastapi") is None:
            return "its server needs fastapi: name a `transformers` that has it with --transformers"
        if self.peer not in ("", "transformers") and not getattr(peers, self.peer):
            return f"name one with --{self.peer.replace('_', '-')}"
        return ""

    def refuses(self, model: Model, workload: str) -> str:
        """Say why it cannot do a workload; empty when it can."""
        if self.gguf and model.gguf is None:
            return "there is no GGUF of this model"
        return self.cannot.get(workload, "")


def _openai(visit: Visit, ask: Ask) -> Json:
    """Return a request in OpenAI's words, and vLLM's where it has none."""
    return {
        "model": visit.model.ages[ask.age].card.address,
        "prompt": ask.prompt.text,
        "max_tokens": visit.plan.new_tokens,
        "temperature": 0,
        "ignore_eos": True,
        "return_token_ids": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def _embedded(visit: Visit, port: int) -> list[str]:
    command = [sys.executable, "-m", "selves", "serve", "--engine", "embedded", "--host", "127.0.0.1"]
    return [*command, "--port", str(port), "--threads", str(visit.threads), "--json"]


def _embedded_int8(visit: Visit, port: int) -> list[str]:
    return [*_embedded(visit, port), "--dtype", "int8"]


def _embedded_environment(visit: Visit) -> dict[str, str]:
    home = visit.model.home
    return {
        "SELVES_HOME": str(home),
        "SELVES_CAST": str(home / "no-cast.toml"),
        "SELVES_API_KEY": "",
        "PYTHONPATH": str(ROOT),
    }


def _embedded_version(_visit: Visit, url: str) -> str:
    models = httpx.get(f"{url}/v1/models", timeout=30.0, trust_env=False).json()
    return str(models["data"][0]["selves"]["engine_version"])


def _transformers(visit: Visit, port: int) -> list[str]:
    program = visit.peers.transformers or str(Path(sys.executable).parent / "transformers")
    command = [program, "serve", "--host", "127.0.0.1", "--port", str(port)]
    return [*command, "--device", "cpu", "--dtype", "float32"]


def _transformers_batching(visit: Visit, port: int) -> list[str]:
    # of all memory, for its cache; it would claim most of it, and no more than this is needed here
    return [*_transformers(visit, port), "--continuous-batching", "--cb-max-memory-percent", "0.05"]


def _transformers_body(visit: Visit, ask: Ask) -> Json:
    """Return a request in its own words: how tokens are drawn is a generation config, as JSON in JSON."""
    drawn = {"do_sample": False, "eos_token_id": NO_END, "pad_token_id": 0}
    return {
        "model": str(visit.model.ages[ask.age].folder),
        "prompt": ask.prompt.text,
        "max_tokens": visit.plan.new_tokens,
        "generation_config": json.dumps(drawn),
        "stream": True,
    }


def _transformers_version(visit: Visit, _url: str) -> str:
    command = [_transformers(visit, 0)[0], "version"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return f"transformers {said[-1]}" if said else ""


def _vllm_compiled(visit: Visit, port: int) -> list[str]:
    age = visit.model.ages[0]
    length = min(LONGEST_SEQUENCE, age.card.context_tokens)
    command = [visit.peers.vllm, "serve", str(age.folder), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--served-model-name", age.card.address, "--max-model-len", str(length)]
    return [*command, "--dtype", "float32", "--generation-config", "vllm"]


def _vllm(visit: Visit, port: int) -> list[str]:
    return [*_vllm_compiled(visit, port), "--enforce-eager"]


def _vllm_environment(_visit: Visit) -> dict[str, str]:
    return {
        "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB; otherwise it claims a share of all memory
        # as many threads as all others have, and as free as theirs to run on any core
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
    }


def _vllm_version(_visit: Visit, url: str) -> str:
    return f"vllm {httpx.get(f'{url}/version', timeout=30.0, trust_env=False).json()['version']}"


def _generate(_visit: Visit, _port: int) -> list[str]:
    return [sys.executable, "-m", "benchmarks.served.generate"]


def _llama(visit: Visit, _port: int) -> list[str]:
    return [visit.peers.llama_python, "-I", str(Path(__file__).with_name("llama.py"))]


_TRANSFORMERS = Server(_transformers_body, _transformers_version)
_VLLM = Server(_openai, _vllm_version)
_ONE_AGE = {"ages": "one process serves one age"}
SYSTEMS = {
    system.name: system
    for system in (
        System("embedded", _embedded, Server(_openai, _embedded_version), _embedded_environment),
        System("embedded-int8", _embedded_int8, Server(_openai, _embedded_version), _embedded_environment),
        System("generate", _generate),
        System("transformers-serve", _transformers, _TRANSFORMERS, peer="transformers"),
        System(
            "transformers-serve-batching",
            _transformers_batching,
            _TRANSFORMERS,
            peer="transformers",
            cannot={"ages": "it batches one model at a time"},
        ),
        System("llama-cpp", _llama, peer="llama_python", gguf=True),
        System("vllm", _vllm, _VLLM, _vllm_environment, peer="vllm", cannot=_ONE_AGE),
        System("vllm-compiled", _vllm_compiled, _VLLM, _vllm_environment, peer="vllm", cannot=_ONE_AGE),
    )
}
OPTIONAL = ("vllm-compiled",)
"""Only run when it is asked for: it takes minutes to start."""
