"""How a vLLM of a plan is started: its command line and its environment. Pure.

vLLM needs other versions of torch and transformers than we do, so it lives in an environment of its own
(`serving/vllm_environment.sh` builds one) and is spoken to over HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from serving.plan import EnginePlan

GIB = 2**30
OURS = frozenset({"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "VLLM_API_KEY", "VLLM_PORT"})
"""Variables that are meant for us, or for a vLLM that clients speak to directly."""


def make_command(
    program: str, plan: EnginePlan, folder: Path, port: int, *, sleeps: bool = False, more: Sequence[str] = ()
) -> list[str]:
    """Return the command line of one engine, whose first age is in `folder`.

    `more` comes last, and vLLM takes the last of what is said twice.
    """
    command = [program, "serve", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--served-model-name", plan.ages[0], "--max-model-len", str(plan.context_tokens)]
    # defaults of temperature and the like are the API's, as with the embedded engine
    command += ["--generation-config", "vllm", "--disable-uvicorn-access-log"]
    command += ["--scheduling-policy", "priority"]
    if plan.devices:
        command += ["--dtype", "bfloat16", "--kv-cache-memory-bytes", str(plan.kv_bytes)]
        # vLLM refuses to start where less than this share is free, although its cache is given in bytes
        command += ["--gpu-memory-utilization", f"{plan.device_share:.3f}"]
    else:
        # without the first, float32 weights are rounded to bfloat16; the second saves a minute of compiling
        command += ["--dtype", "float32", "--enforce-eager"]
    for name in ("tensor_parallel", "pipeline_parallel", "data_parallel"):
        size = getattr(plan, name)
        if size > 1:
            command += [f"--{name.replace('_', '-')}-size", str(size)]
    if plan.lora_slots:
        command += ["--enable-lora", "--max-loras", str(plan.lora_slots)]
        command += ["--max-lora-rank", str(plan.lora_rank)]
        # what does not fit here is read again from its folder when it is wanted
        command += ["--max-cpu-loras", str(max(2 * plan.lora_slots, len(plan.adapters)))]
    if sleeps:
        command.append("--enable-sleep-mode")
    return [*command, *more]


def _is_ours(name: str) -> bool:
    """Whether a variable is meant for us, or is a secret that an engine has no use for."""
    secret = name.endswith(("_TOKEN", "_SECRET", "_PASSWORD")) and name != "HF_TOKEN"
    return name in OURS or name.startswith("SELVES_") or secret


def make_environment(
    environment: Mapping[str, str], plan: EnginePlan, *, sleeps: bool = False
) -> dict[str, str]:
    """Return the environment of one engine: ours without our Python, offline, on its own devices or cores."""
    theirs = {key: value for key, value in environment.items() if not _is_ours(key)}
    defaults = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    if plan.devices:
        fixed = {
            # so that numbers mean the same to CUDA as to nvidia-smi
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "CUDA_VISIBLE_DEVICES": ",".join(map(str, plan.devices)),
        }
    else:
        # whole GiB; unsaid, it claims a share of all memory
        defaults["VLLM_CPU_KVCACHE_SPACE"] = str(plan.kv_bytes // GIB)
        # unsaid, every process takes the same cores
        fixed = {"VLLM_CPU_OMP_THREADS_BIND": "|".join(",".join(map(str, group)) for group in plan.cores)}
    if plan.lora_slots:
        fixed["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    if plan.walks or sleeps:
        fixed["VLLM_SERVER_DEV_MODE"] = "1"  # it listens on loopback only
    return {**defaults, **theirs, **fixed}
