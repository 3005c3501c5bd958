"""What a run would learn, need and take, before it begins: rows as they are read, tokens, memory, time."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from selves.errors import ConfigError
from selves.settings import House
from training.kinds import kinds_of
from training.post import ageing, asking, data, models, probing, rewards, teaching, trainers
from training.post.lengths import fitting, limit_of, rendered
from training.post.recipe import BY_REWARD, IN_WEIGHTS, ON_POLICY, PostRecipe
from training.post.rows import said
from training.words import printable

SHOWN = 3
SHOWN_CHARACTERS = 600
PASSES = {
    "sft": 3.0,
    "dpo": 8.0,
    "kto": 8.0,
    "grpo": 4.0,
    "rloo": 4.0,
    "distill": 4.0,
    "sdft": 4.0,
    "reward": 6.0,
}
"""Forward passes that a row costs: backward counts two; a pair is two rows, with a reference for each."""


def describe(recipe: PostRecipe, house: House, threads: int | None) -> str:
    """Return what a run would do, as lines of text; one short batch is computed to tell how long it takes.

    Raises what the run would before it learns: ConfigError, UsageError, AgeError, CorpusError, TrainingError.
    """
    import torch

    torch.set_num_threads(threads or torch.get_num_threads())
    kinds_of(recipe.diary)
    age = models.find_base(recipe, house, lambda _: None, dry=True)
    ages = ", ".join(f"{recipe.lineage}@{recipe.stage_name}-{step:06d}" for step in recipe.age_steps)
    lines = [f"{recipe.lineage}: {recipe.method} from {age.card.address}, {age.card.parameters:,} parameters",
             f"ages: {ages}"]  # fmt: skip
    if not age.card.weights_sha256:
        lines.append(f"{recipe.base} would be brought in first, as {age.card.address}")
    with TemporaryDirectory() as scratch, models.quietly():
        base = models.open_base(recipe, age, Path(scratch))
        if recipe.method in IN_WEIGHTS:
            ageing.check(recipe, base, house)
            return "\n".join([*lines, "reads no data"])
        teaching.find_teacher(recipe, base, house)
        say = asking.Asking(base, recipe.seed, Path(scratch) / asking.said_file(base, recipe.seed))
        prepared = data.prepare(recipe, probing.questions(recipe, base.form), say)
        _try_rewards(recipe, house, prepared)
        limit = limit_of(recipe, age.card.context_tokens)
        rows, lengths = fitting(recipe, prepared.train, base.tokenizer, limit)
        lines.append(
            f"{lengths.rows} rows to learn, {len(prepared.test)} held out; {prepared.doubles} doubles, "
            f"{prepared.contaminated} with a question of a probe, {lengths.dropped} without room left out"
        )
        lines.append(
            f"{lengths.total:,} tokens, {lengths.total / lengths.rows:.0f} per row, at most "
            f"{lengths.longest}; {lengths.cut} rows longer than {limit} are cut"
        )
        lines.append(
            f"{recipe.steps} steps of {recipe.batch}: {recipe.steps * recipe.batch / lengths.rows:.1f} times "
            f"through, rate {trainers.rate_of(recipe):g}"
        )
        for row in rows[:SHOWN]:
            prompt, whole = rendered(row, base.tokenizer, recipe)
            lines.append("as it is read; what is learned stands after »:")
            for ids in whole or [prompt]:
                asked, learned = base.tokenizer.decode(prompt), base.tokenizer.decode(ids[len(prompt) :])
                text = f"{asked}»{learned}"[:SHOWN_CHARACTERS]
                lines += [f"  | {printable(line)}" for line in text.splitlines()]
        model = models.load(base, recipe.seed) if base.has_weights else models.outline(base.folder)
        parameters = sum(p.numel() for p in model.parameters())
        learned = _learned(recipe, model) if recipe.lora else parameters
        copies = 2 if recipe.method in ("dpo", "kto", *ON_POLICY) and not recipe.lora else 1
        held = 4 * (copies * parameters + 3 * learned)  # weights; gradient and two moments of AdamW
        lines.append(
            f"{learned:,} of {parameters:,} parameters are learned; {held / 1e9:.2f} GB besides activations"
        )
        if not base.has_weights:
            return "\n".join([*lines, "how long it takes is known when its weights are here"])
        each = lengths.total / lengths.rows + recipe.answer_tokens
        forward_s = _seconds(model, round(min(each, age.card.context_tokens)))
        seconds = recipe.steps * recipe.batch * forward_s * PASSES[recipe.method]
        seconds += recipe.steps * recipe.answer_tokens * _seconds(model, 1)
        lines.append(f"about {max(1, seconds / 60):.0f} min here, by one pass through one row; a rough guess")
    return "\n".join(lines)


def _seconds(model: Any, tokens: int) -> float:
    """Return what one pass of so many tokens takes, the second time."""
    import torch

    ids = torch.zeros(1, max(1, tokens), dtype=torch.long)
    with torch.no_grad():
        model(input_ids=ids)
        begun = time.perf_counter()
        model(input_ids=ids)
    return time.perf_counter() - begun


def _learned(recipe: PostRecipe, model: Any) -> int:
    """Return how many parameters LoRA adds. Raises ConfigError where it finds nothing to add them to."""
    from peft import get_peft_model

    try:
        adapted = get_peft_model(model, models.lora_config(recipe))
    except ValueError as error:
        raise ConfigError(f"PEFT does not take this: {error}", "correct [lora]") from error
    return sum(p.numel() for p in adapted.parameters() if p.requires_grad)


def _try_rewards(recipe: PostRecipe, house: House, prepared: data.Prepared) -> None:
    """Let each reward weigh one answer, the words of its prompt. Raises what the reward does."""
    learned = recipe.reward.functions if recipe.method in BY_REWARD else ()
    for names, rows in ((learned, prepared.train), (recipe.probes.rewards, prepared.test)):
        for name in names:
            reward = rewards.load(name, recipe.reward.options, house)
            for row in rows[:1]:
                columns = {key: [value] for key, value in row.items() if key != "prompt"}
                reward(prompts=[row["prompt"]], completions=[said(row["prompt"])], **columns)
