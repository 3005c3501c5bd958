"""A recipe becomes one of TRL's trainers. What TRL calls its settings is known here alone."""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from selves.errors import ConfigError
from training.post import judging, models
from training.post.lengths import limit_of
from training.post.models import Base
from training.post.recipe import BY_REWARD, PostRecipe
from training.post.rows import BESIDES, LEARNED, Row

RATES = {
    "sft": 2e-5,
    "dpo": 1e-6,
    "kto": 1e-6,
    "grpo": 1e-6,
    "rloo": 1e-6,
    "distill": 1e-6,
    "sdft": 1e-5,
    "reward": 1e-5,
}
"""Usual learning rates where all weights are learned."""
NAMES = {"distill": "Distillation", "reward": "Reward"}
"""What TRL calls a method, where it is not its name in capitals."""
LORA_TIMES = 10.0
BETAS = {"dpo": 0.1, "kto": 0.1, "grpo": 0.04, "rloo": 0.04, "distill": 1.0, "sdft": 1.0}
LOGGED_LINES = 400
OURS = (
    "output_dir",
    "max_steps",
    "save_strategy",
    "save_total_limit",
    "push_to_hub",
    "ignore_data_skip",
    "generation_batch_size",
    "logging_nan_inf_filter",
    "report_to",
    "seed",
    "data_seed",
)
"""Settings that the run itself depends on, so [trl] may not have them: with some of them it would not come to
the same self after a kill."""


def rate_of(recipe: PostRecipe) -> float:
    return recipe.rate or RATES[recipe.method] * (LORA_TIMES if recipe.lora else 1.0)


def settings(
    recipe: PostRecipe, state: Path, context: int, processes: int = 1, *, sharded: bool = False
) -> dict[str, Any]:
    """Return all settings of TRL's configuration."""
    import torch

    on_gpu = torch.cuda.is_available()
    found: dict[str, Any] = {
        "output_dir": str(state),
        "max_steps": recipe.steps,
        "per_device_train_batch_size": recipe.micro // processes,
        "gradient_accumulation_steps": recipe.batch // recipe.micro,
        "learning_rate": rate_of(recipe),
        "lr_scheduler_type": recipe.schedule,
        "warmup_steps": round(recipe.warmup * recipe.steps),
        "logging_steps": max(1, recipe.steps // LOGGED_LINES),
        "logging_nan_inf_filter": False,
        "save_strategy": "no",  # the run itself says when
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "report_to": list(recipe.report_to) or "none",
        "run_name": f"{recipe.lineage}-{recipe.stage_name}",
        "disable_tqdm": True,
        "use_cpu": not on_gpu,
        # where a CPU has no bfloat16 in hardware it is ten times slower
        "bf16": on_gpu and torch.cuda.is_bf16_supported(),
        "gradient_checkpointing": on_gpu and not sharded,
    }
    if sharded:
        found |= {"fsdp": True, "fsdp_config": {"version": 2, "activation_checkpointing": on_gpu}}
    if recipe.method in BY_REWARD:
        found |= {
            "num_generations": recipe.reward.group,
            "max_completion_length": recipe.reward.max_tokens,
            "temperature": recipe.reward.temperature,
            "reward_weights": list(recipe.reward.weights) or None,
        }
    elif recipe.method == "distill":
        found |= {
            "max_completion_length": recipe.distill.max_tokens,
            "temperature": recipe.distill.temperature,
        }
    elif recipe.method == "sdft":
        found |= {
            "max_completion_length": recipe.distill.max_tokens,
            "max_prompt_length": None,  # rows that leave no room are left out
            "temperature": recipe.distill.temperature,
            "num_generations": 1,
            "teacher_prompt_template": recipe.distill.reading,
        }
    else:
        found["max_length"] = limit_of(recipe, context)
    if recipe.method == "sft":
        found["completion_only_loss"] = True
    if recipe.method in BETAS:
        beta = BETAS[recipe.method] if recipe.beta is None else recipe.beta
        found["distillation_alpha" if recipe.method == "sdft" else "beta"] = beta
    return found


def build(
    recipe: PostRecipe,
    base: Base,
    rows: Sequence[Row],
    rewards: list[Callable[..., list[float | None]]],
    teacher: Any,
    state: Path,
    callback: Any,
    processes: int = 1,
    *,
    sharded: bool = False,
) -> Any:
    """Return the trainer, ready to go, of one process or one of several, which hold the model whole or
    sharded. Raises ConfigError where [trl] names what there is not.
    """
    import datasets  # type: ignore[import-untyped]
    import trl
    from transformers import set_seed
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    score_what_is_learned()
    name = NAMES.get(recipe.method, recipe.method.upper())
    library = importlib.import_module("trl.experimental.sdft") if recipe.method == "sdft" else trl
    configuration: Any = getattr(library, f"{name}Config")
    own = settings(recipe, state, base.age.card.context_tokens, processes, sharded=sharded)
    own |= _balance(recipe, rows)
    args = _configured(configuration, own, recipe)
    model = _beginning(recipe, base)
    more: dict[str, Any] = {}
    if recipe.lora:
        more["peft_config"] = models.lora_config(recipe)
    elif recipe.method in ("dpo", "kto"):
        more["ref_model"] = models.load(base, recipe.seed)
    if recipe.method in BY_REWARD:
        more["reward_funcs"] = rewards
    if recipe.method == "distill":
        more["teacher_model"] = teacher
    columns = {"prompt", *LEARNED.get(recipe.method, ()), *BESIDES.get(recipe.method, ())}
    told = [
        row if recipe.method in BY_REWARD else {name: row[name] for name in row if name in columns}
        for row in rows
    ]
    set_seed(recipe.seed)  # PEFT draws the first of its matrices
    try:
        trainer = getattr(library, f"{name}Trainer")(
            model=model,
            args=args,
            train_dataset=datasets.Dataset.from_list(told),
            processing_class=base.tokenizer,
            callbacks=[callback],
            **more,
        )
    except ValueError as error:
        raise ConfigError(f"{name}Trainer does not take this: {error}", "correct [lora] or [trl]") from error
    for talker in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(talker)
    return trainer


def score_what_is_learned() -> None:
    """Let TRL put prompts and padding through the head on no CPU, as it does on no GPU.

    TRL scores every position where it has no Triton, since some accelerators compile each new shape anew.
    Nothing changes where a TRL asks for that in another way.
    """
    for name in ("utils", "distillation_trainer"):
        module = importlib.import_module(f"trl.trainer.{name}")
        if hasattr(module, "_use_triton"):
            module._use_triton = _scores_some  # type: ignore[attr-defined]


def _scores_some(device: Any) -> bool:
    from trl.kernels.chunked_logprob import _use_triton

    return device.type == "cpu" or _use_triton(device)


def cycle(args: Any) -> int:
    """Return after how many steps a trainer's answers are used up, so that new ones are sampled; 1 where none
    are. Only there a run that was broken off goes on exactly: TRL counts from the beginning again.
    """
    reads = (getattr(args, "steps_per_generation", None) or 1) * getattr(args, "num_iterations", 1)
    return math.lcm(reads, args.gradient_accumulation_steps) // int(args.gradient_accumulation_steps)


def gathered(model: Any, recipe: PostRecipe, base: Base, *, first: bool) -> Any:
    """Return a model of which each process holds a part (FSDP2) as a whole one; None but to the first.

    Every process must ask.
    """
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    from training.listening import undrawn

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    found = get_model_state_dict(model, options=options)
    if not first:
        return None
    with undrawn():
        whole = _beginning(recipe, base)
        if recipe.lora:
            from peft import get_peft_model

            whole = get_peft_model(whole, models.lora_config(recipe))
    whole.load_state_dict(found)
    return whole


def _beginning(recipe: PostRecipe, base: Base) -> Any:
    """Return the model that learns, as it is before."""
    if recipe.method == "reward":
        return judging.load(base.folder, base.tokenizer.pad_token_id, recipe.seed)
    model = models.load(base, recipe.seed)
    # in a smaller dtype the steps of all weights would be lost in rounding
    return model if recipe.lora else model.float()


def _configured(configuration: Any, own: dict[str, Any], recipe: PostRecipe) -> Any:
    known = {field.name for field in dataclasses.fields(configuration)}
    for name in recipe.trl:
        if name not in known:
            raise ConfigError(
                f"[trl]: {configuration.__name__} has no setting {name!r}", "see TRL's documentation of it"
            )
        if name in OURS:
            raise ConfigError(f"[trl]: {name} is what the run itself sets", "leave it out")
    try:
        return configuration(**own | recipe.trl)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{configuration.__name__} does not take this: {error}", "correct [trl]") from error


def _balance(recipe: PostRecipe, rows: Sequence[Row]) -> dict[str, float]:
    """Let wanted and unwanted answers count alike on the whole, however many there are of each (kto)."""
    if recipe.method != "kto":
        return {}
    wanted = sum(row["label"] for row in rows)
    unwanted = len(rows) - wanted
    if not wanted or not unwanted:
        return {}
    return {
        "desirable_weight": max(1.0, unwanted / wanted),
        "undesirable_weight": max(1.0, wanted / unwanted),
    }
