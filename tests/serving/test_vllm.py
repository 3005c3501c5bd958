"""Ages on vLLM: how it is started, and, where SELVES_VLLM names a vLLM, that it speaks as it should.

The tests that start it take minutes. What vLLM says is compared with transformers on the same weights.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from selves.cast import Serving
from selves.errors import EngineError
from selves.files import sha256_file
from selves.lineage import Age, find_age
from serving.facts import AgeFacts, read_facts
from serving.machine import Gpu, Machine, find_vllm
from serving.members import VllmMember
from serving.plan import EnginePlan, make_plan
from serving.rooms import GIB
from serving.vllm import make_command, make_environment

BASE, CHAT, GRUFF, MILD = "tiny@base-000016", "tiny@chat-000008", "gruff@import-000000", "mild@import-000000"
HELLO = "<Ash> Hi! How are you?\n<Ember>"


def add_adapter(
    checkpoints: Path, address: str, of: str, *, seed: int, rank: int = 4, alpha: int = 16
) -> Age:
    """Add an age that is an adapter with random weights, as PEFT would write it, in one rename."""
    torch.manual_seed(seed)
    base = find_age(checkpoints, of)
    tensors = {}
    for name, weight in load_file(base.folder / base.weights_file).items():
        if name.endswith(("q_proj.weight", "v_proj.weight", "down_proj.weight")):
            module = f"base_model.model.{name.removesuffix('.weight')}"
            tensors[f"{module}.lora_A.weight"] = torch.randn(rank, weight.shape[1]) / 8
            tensors[f"{module}.lora_B.weight"] = torch.randn(weight.shape[0], rank) / 8
    folder = checkpoints.joinpath(*address.split("@"))
    partial = folder.with_name(f".partial-{folder.name}")
    partial.mkdir(parents=True)
    save_file(tensors, partial / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": alpha}
    config |= {"target_modules": ["q_proj", "v_proj", "down_proj"], "bias": "none"}
    (partial / "adapter_config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(base.folder / name, partial)
    sha256 = sha256_file(partial / "adapter_model.safetensors")
    changes = {"address": address, "adapter_of": of, "weights_sha256": sha256, "files": {}}
    (partial / "age.json").write_text(base.card.model_copy(update=changes).model_dump_json())
    partial.rename(folder)
    return find_age(checkpoints, address)


def continued(age: Age, prompt: str, tokens: int) -> tuple[list[int], list[float]]:
    """Return transformers' own greedy continuation, of an adapter merged into its base, and its log-probs."""
    full = age.base() or age
    model = AutoModelForCausalLM.from_pretrained(full.folder)
    if full is not age:
        config = json.loads((age.folder / "adapter_config.json").read_text())
        added = load_file(age.folder / age.weights_file)
        weights = model.state_dict()
        for name in [name for name in added if "lora_A" in name]:
            up = added[name.replace("lora_A", "lora_B")]
            target = name.removeprefix("base_model.model.").replace(".lora_A", "")
            weights[target] += config["lora_alpha"] / config["r"] * up @ added[name]
    ids = AutoTokenizer.from_pretrained(full.folder)(prompt, return_tensors="pt").input_ids
    with torch.inference_mode():
        drawn = model.generate(
            ids, max_new_tokens=tokens, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
    new = drawn.sequences[0, ids.shape[1] :].tolist()
    logprobs = [
        float(logits[0].float().log_softmax(-1)[token])
        for logits, token in zip(drawn.logits, new, strict=True)
    ]
    return new, logprobs


@pytest.fixture(scope="module")
def house(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoints folder with an adapter on its chat age, for this module alone."""
    copy = tmp_path_factory.mktemp("vllm") / "checkpoints"
    shutil.copytree(checkpoints, copy)
    add_adapter(copy, GRUFF, CHAT, seed=1)
    return copy


def planned(house: Path, *addresses: str, machine: Machine | None = None, **serving: Any) -> EnginePlan:
    """Return the first engine of a plan for these ages on vLLM."""
    here = machine or Machine(
        ram_bytes=64 * 10**9, cores=(0, 1, 2, 3), vllm="/opt/vllm", free_ports=(9999, 9998)
    )
    facts = [read_facts(find_age(house, address)) for address in addresses]
    return make_plan(None, facts, here, Serving(engine="vllm", **serving), named=addresses).engines[0]


def test_a_missing_vllm_is_an_error_that_says_how_to_get_one() -> None:
    with pytest.raises(EngineError, match="make vllm"):
        find_vllm("nowhere/vllm", {})


def test_the_environment_names_the_program_before_the_cast_file_does(tmp_path: Path) -> None:
    program = tmp_path / "vllm"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_vllm("nowhere/vllm", {"SELVES_VLLM": str(program)}) == str(program)
    assert find_vllm(str(program), {}) == str(program)


def said(command: list[str], option: str) -> str:
    return command[command.index(option) + 1]


def test_a_cpu_keeps_float32_a_bounded_cache_and_cores_of_its_own(house: Path) -> None:
    plan = planned(house, CHAT, GRUFF)
    command = make_command("/opt/vllm", plan, house / "tiny" / "chat-000008", 9999)
    assert command[:3] == ["/opt/vllm", "serve", str(house / "tiny" / "chat-000008")]
    assert said(command, "--served-model-name") == CHAT
    assert said(command, "--max-model-len") == "256"
    assert said(command, "--dtype") == "float32"
    assert said(command, "--scheduling-policy") == "priority"
    assert (said(command, "--max-loras"), said(command, "--max-lora-rank")) == ("4", "16")
    assert "--kv-cache-memory-bytes" not in command
    environment = make_environment({"PATH": "/bin", "PYTHONPATH": "x", "HF_HUB_OFFLINE": "0"}, plan)
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert environment["VLLM_CPU_OMP_THREADS_BIND"] == "1,2,3"
    assert environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"
    assert environment["HF_HUB_OFFLINE"] == "0"
    assert "PYTHONPATH" not in environment
    assert "VLLM_SERVER_DEV_MODE" not in environment


def test_a_gpu_gets_its_share_in_bytes_and_only_its_own_devices(house: Path) -> None:
    gpus = tuple(Gpu(index=n, name="H100", total_bytes=80 * GIB, free_bytes=80 * GIB) for n in range(4))
    machine = Machine(
        gpus=gpus, ram_bytes=500 * 10**9, cores=(0, 1), vllm="/opt/vllm", free_ports=(9999, 9998)
    )
    plan = planned(house, CHAT, machine=machine, tensor_parallel=2, data_parallel=2, lora_slots=0)
    more = ("--distributed-executor-backend", "ray")
    command = make_command("/opt/vllm", plan, Path("age"), 9999, sleeps=True, more=more)
    assert said(command, "--dtype") == "bfloat16"
    assert said(command, "--tensor-parallel-size") == "2"
    assert said(command, "--data-parallel-size") == "2"
    assert "--pipeline-parallel-size" not in command
    assert int(said(command, "--kv-cache-memory-bytes")) == plan.kv_bytes
    assert float(said(command, "--gpu-memory-utilization")) * 80 * GIB <= plan.device_bytes
    assert "--enable-sleep-mode" in command
    assert "--enable-lora" not in command
    assert command[-2:] == list(more)
    environment = make_environment({}, plan, sleeps=True)
    assert environment["CUDA_VISIBLE_DEVICES"] == "0,1,2,3"
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert environment["VLLM_SERVER_DEV_MODE"] == "1"


async def test_an_engine_knows_which_ages_it_can_answer_for(house: Path) -> None:
    def facts(age: Age) -> AgeFacts:
        return read_facts(age)

    def member(plan: EnginePlan) -> VllmMember:
        return VllmMember(
            plan,
            program="/opt/vllm",
            more=(),
            sleep_s=0,
            find=lambda address: find_age(house, address),
            facts=facts,
            one_at_a_time=asyncio.Lock(),
        )

    ages = {address: find_age(house, address) for address in (BASE, CHAT, GRUFF, "tiny@base-000004")}
    chat = member(planned(house, CHAT, GRUFF))
    assert [address for address, age in ages.items() if chat.serves(age)] == [CHAT, GRUFF]
    trained_anew = ages[CHAT].card.model_copy(update={"weights_sha256": "0" * 64})
    assert not chat.serves(ages[CHAT]._replace(card=trained_anew))
    small = planned(house, CHAT, GRUFF).model_copy(update={"lora_rank": 1})
    assert not member(small).serves(ages[GRUFF])
    walker = planned(house, BASE).model_copy(update={"walks": True})
    assert [address for address, age in ages.items() if member(walker).serves(age)] == [
        BASE,
        "tiny@base-000004",
    ]


@contextmanager
def selves_serve(house: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """`selves serve --engine vllm` while vLLM is still starting behind it."""
    if not os.environ.get("SELVES_VLLM"):
        pytest.skip("SELVES_VLLM names no vLLM")
    environment = {**os.environ, "SELVES_HOME": str(house.parent), "SELVES_CAST": str(house / "none.toml")}
    command = [sys.executable, "-m", "selves", "serve", "--engine", "vllm", "--port", "0", "--json", *options]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        try:
            with httpx.Client(base_url=url, timeout=120, trust_env=False) as http:
                yield process, http
        finally:
            process.terminate()
        process.wait(60)


def until_ready(http: httpx.Client, starts: int = 1) -> None:
    restarted = f'selves_engine_restarts_total{{engine="vllm-1"}} {starts - 1}.0'
    while restarted not in http.get("/metrics").text:
        time.sleep(0.5)
    while http.get("/health").json()["engines"]["vllm-1"] != "ok":
        time.sleep(0.5)  # a poll of another process; its own log is shown meanwhile


def engine(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.headers["x-selves-engine"].split()[0]


def complete(http: httpx.Client, address: str, **more: Any) -> httpx.Response:
    body = {"model": address, "prompt": HELLO, "max_tokens": 24, "temperature": 0, "return_token_ids": True}
    return http.post("/v1/completions", json={**body, **more})


def check_greedy(http: httpx.Client, age: Age) -> None:
    """What vLLM says is what transformers says, token by token."""
    answer = complete(http, age.card.address, logprobs=0)
    assert engine(answer) == "vllm"
    assert answer.json()["model"] == age.card.address
    (choice,) = answer.json()["choices"]
    tokens, logprobs = continued(age, HELLO, 24)
    assert choice["token_ids"] == tokens
    assert choice["logprobs"]["token_logprobs"] == pytest.approx(logprobs, abs=1e-3)


def kill_vllm(process: subprocess.Popen[str]) -> None:
    """Kill what runs on the leash, as an out-of-memory killer would."""
    for child in psutil.Process(process.pid).children(recursive=True):
        command = " ".join(child.cmdline()).lower()
        if "vllm" in command and "leash.py" not in command:
            child.send_signal(signal.SIGKILL)


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_an_age_and_its_siblings_speak_on_vllm_and_survive_its_death(house: Path) -> None:
    with selves_serve(house) as (process, http):
        assert engine(complete(http, CHAT)) == "embedded"  # it steps in while vLLM starts
        until_ready(http)
        check_greedy(http, find_age(house, CHAT))
        check_greedy(http, find_age(house, GRUFF))
        assert engine(complete(http, BASE)) == "embedded"
        models = {model["id"]: model["selves"] for model in http.get("/v1/models").json()["data"]}
        assert (models[GRUFF]["engine"], models[BASE]["engine"]) == ("vllm", "embedded")
        assert models[CHAT]["engine_version"]

        hears = [{"role": "user", "content": "What do you like?"}]
        body = {"model": GRUFF, "messages": hears, "max_tokens": 8, "logprobs": True, "top_logprobs": 3}
        answer = http.post("/v1/chat/completions", json={**body, "priority": 10, "seed": 1})
        assert engine(answer) == "vllm"
        (choice,) = answer.json()["choices"]
        assert all(len(token["top_logprobs"]) == 3 for token in choice["logprobs"]["content"])
        scored = complete(http, CHAT, echo=True, max_tokens=0, logprobs=0).json()["choices"][0]["logprobs"]
        assert scored["token_logprobs"][0] is None
        assert all(logprob < 0 for logprob in scored["token_logprobs"][1:])
        (choice,) = complete(http, CHAT, prompt_logprobs=0, max_tokens=1).json()["choices"]
        assert len(choice["prompt_logprobs"]) == len(scored["tokens"])
        (choice,) = complete(http, CHAT, structured_outputs={"choice": [" yes", " no"]}).json()["choices"]
        assert choice["text"] in (" yes", " no")
        detects = {"max_pattern_size": 4, "min_pattern_size": 1, "min_count": 3}
        answer = complete(http, CHAT, repetition_detection=detects, max_tokens=100)
        assert engine(answer) == "vllm"

        mild = add_adapter(house, MILD, CHAT, seed=2)
        check_greedy(http, mild)
        again = add_adapter(house, "mild@import-000001", CHAT, seed=3)
        check_greedy(http, again)

        body = {"model": GRUFF, "prompt": HELLO, "max_tokens": 200, "stream": True, "ignore_eos": True}
        with http.stream("POST", "/v1/completions", json=body) as stream:
            lines = (line for line in stream.iter_lines() if line)
            assert "choices" in next(lines)
            kill_vllm(process)
            assert "died while answering" in list(lines)[-1]
        assert engine(complete(http, CHAT)) == "embedded"
        until_ready(http, starts=2)
        check_greedy(http, find_age(house, GRUFF))
        check_greedy(http, find_age(house, CHAT))
        started = psutil.Process(process.pid).children(recursive=True)
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_one_vllm_walks_through_the_ages_of_a_lineage(house: Path) -> None:
    young = "tiny@base-000004"
    with selves_serve(house, "--age", young, "--age", BASE) as (_, http):
        until_ready(http)
        for address in (young, BASE, young):
            check_greedy(http, find_age(house, address))
        assert 'selves_engine_weight_changes_total{engine="vllm-1"} 2' in http.get("/metrics").text
        with ThreadPoolExecutor(6) as at_once:
            list(at_once.map(lambda address: check_greedy(http, find_age(house, address)), [BASE, young] * 3))
