"""An age on vLLM: how it is started, and, where SELVES_VLLM names a vLLM, that it speaks as it should."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from selves.errors import EngineError
from selves.lineage import find_age
from selves.speech import ChatMessage, Prompt, Sampling
from serving.vllm import find_program, make_command, make_environment
from serving.voice import Voice

CHAT = "tiny@chat-000008"


def test_a_missing_vllm_is_an_error_that_says_how_to_get_one() -> None:
    with pytest.raises(EngineError, match="make vllm"):
        find_program("nowhere/vllm", {})


def test_the_environment_names_the_program_before_the_cast_file_does(tmp_path: Path) -> None:
    program = tmp_path / "vllm"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_program("nowhere/vllm", {"SELVES_VLLM": str(program)}) == program
    assert find_program(str(program), {}) == program


def test_a_cpu_keeps_float32_and_a_bounded_cache(checkpoints: Path) -> None:
    age = find_age(checkpoints, CHAT)
    command = make_command(Path("/opt/vllm"), age, 9999, gpu=False)
    assert command[:3] == ["/opt/vllm", "serve", str(age.folder)]
    assert command[command.index("--served-model-name") + 1] == CHAT
    assert command[command.index("--max-model-len") + 1] == "256"
    assert command[command.index("--dtype") + 1] == "float32"
    assert "--dtype" not in make_command(Path("/opt/vllm"), age, 9999, gpu=True)
    environment = make_environment({"PATH": "/bin", "PYTHONPATH": "x", "HF_HUB_OFFLINE": "0"}, gpu=False)
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert environment["HF_HUB_OFFLINE"] == "0"
    assert "PYTHONPATH" not in environment


@pytest.fixture
def vllm_url(own_checkpoints: Path, tmp_path: Path) -> Iterator[str]:
    """The address of `selves serve --engine vllm`, while vLLM is still starting behind it."""
    if not os.environ.get("SELVES_VLLM"):
        pytest.skip("SELVES_VLLM names no vLLM")
    house = {"SELVES_HOME": str(own_checkpoints.parent), "SELVES_CAST": str(tmp_path / "none.toml")}
    command = [sys.executable, "-m", "selves", "serve", "--engine", "vllm", "--age", CHAT, "--port", "0"]
    with subprocess.Popen(
        [*command, "--json"], env={**os.environ, **house}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
        process.terminate()


def until_ready(url: str) -> None:
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
        while http.get("/health").status_code != 200:
            time.sleep(0.5)  # a poll of another process; its own log is shown meanwhile


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_vllm_says_at_our_address_what_the_embedded_engine_says(vllm_url: str, url: str) -> None:
    async with httpx.AsyncClient(base_url=vllm_url, timeout=60, trust_env=False) as http:
        early = await http.get("/v1/models")
        assert (early.status_code, early.json()["error"]["message"]) == (503, "vLLM is starting")
        await asyncio.to_thread(until_ready, vllm_url)
        (model,) = (await http.get("/v1/models")).json()["data"]
        assert (model["id"], model["selves"]["engine"]) == (CHAT, "vllm")
        other = {"model": "tiny@base-000016", "prompt": "Hi"}
        assert (await http.post("/v1/completions", json=other)).status_code == 404
    greedy = Sampling(max_tokens=24, temperature=0, repetition_penalty=1.1)
    text = Prompt(form="transcript", text="<Ash> Hi! How are you?\n<Ember>")
    talk = Prompt(form="chat", messages=(ChatMessage(role="user", content="What do you like?"),))
    async with Voice(vllm_url) as vllm, Voice(url) as embedded:
        for prompt in (text, talk):
            theirs, ours = [await voice.say(CHAT, prompt, greedy) for voice in (vllm, embedded)]
            assert theirs.token_ids == ours.token_ids
            assert theirs.mean_logprob == pytest.approx(ours.mean_logprob, abs=1e-3)
            assert theirs.weights_sha256 == ours.weights_sha256
            assert theirs.engine == "vllm"
            assert theirs.engine_version
        assert await vllm.count_tokens(CHAT, "Hi!") == await embedded.count_tokens(CHAT, "Hi!")
        sampled = Sampling(max_tokens=20, temperature=0.9, top_p=0.9, seed=5)
        said = [await vllm.say(CHAT, text, sampled) for _ in range(2)]
        assert said[0].token_ids == said[1].token_ids
