"""What a run changed: the same questions before and after, each with an interval.

Rows that were held out are measured as the method sees them: how likely right answers are (sft), how often
the chosen answer is the likelier one (dpo), whether wanted answers became likelier than unwanted ones (kto),
what greedy answers are worth (grpo, rloo). Suites of `selves evals` stand beside them, and how likely their
right options are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from selves.speech import ChatMessage, Form
from training.evals.items import Choice, Completion, Item, Said, Text
from training.evals.reader import Reader
from training.evals.run import find_suite, make_items
from training.figure import Figure, mean, share
from training.listening import context_of, listening
from training.post.recipe import BY_REWARD, PostRecipe
from training.post.rows import Row


class Loaded(Reader):
    """A reader of a model that is in memory, perhaps in the middle of its training."""

    def __init__(self, model: Any, tokenizer: Any, ends: list[int]) -> None:
        import copy

        self.model, self.tokenizer, self.turn_ends = model, copy.deepcopy(tokenizer), ends
        self.tokenizer.model_max_length = 10**9
        self.device = model.device
        self.context = context_of(model)
        self.vocabulary = model.config.vocab_size


def questions(recipe: PostRecipe, form: Form) -> list[str]:
    """Return what the recipe's suites ask, so that none of it is learned."""
    found = []
    for item in _items(recipe, form):
        asked = item.prompt if isinstance(item.prompt, str) else item.prompt[-1].content
        found.append(asked)
    return found


def measure(
    recipe: PostRecipe,
    model: Any,
    tokenizer: Any,
    ends: list[int],
    form: Form,
    held_out: Sequence[Row],
    rewards: Sequence[Callable[..., list[float | None]]] = (),
) -> list[Figure]:
    """Return all figures of a model. The training that it is in the middle of notices nothing."""
    with listening(model), greedy(model):
        reader = Loaded(model, tokenizer, ends)
        asked = held_out[: recipe.probes.items]
        found = _of_rows(recipe, reader, asked) + _worth(recipe, reader, asked, rewards)
        for name in recipe.probes.suites:
            found += _of_suite(reader, name, make_items(find_suite(name), recipe.probes.items, form, Text()))
    return found


@contextmanager
def greedy(model: Any) -> Iterator[None]:
    """Let a model generate as it is asked to, whatever its own folder suggests; then it is as it was."""
    from transformers import GenerationConfig

    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


def _items(recipe: PostRecipe, form: Form) -> list[Item]:
    return [
        item
        for name in recipe.probes.suites
        for item in make_items(find_suite(name), recipe.probes.items, form, Text())
    ]


def _of_suite(reader: Loaded, name: str, items: Sequence[Item]) -> list[Figure]:
    if not items:
        return []
    choices = [item for item in items if isinstance(item, Choice)]
    completions = [item for item in items if isinstance(item, Completion)]
    said, _ = reader.complete(completions)
    right = [found.by_sum == item.right for item, found in zip(choices, reader.choose(choices), strict=True)]
    right += [item.check(answer) for item, answer in zip(completions, said, strict=True)]
    found = [share(name, right)]
    if choices:
        found.append(mean(f"{name}: log p", likelihoods(reader, choices)))
    return found


def likelihoods(reader: Loaded, choices: Sequence[Choice]) -> list[float]:
    """Return the log-probability in nats of the right option of each."""
    rows, firsts = [], []
    for item in choices:
        prompt, whole = reader.encode(item.prompt), reader.encode(item.prompt + item.options[item.right])
        shared = next((n for n, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), len(prompt))
        rows.append(whole[-reader.context :])
        firsts.append(max(1, shared - max(0, len(whole) - reader.context)))
    scores = zip(reader.logprobs(rows), firsts, strict=True)
    return [float(logprobs[first - 1 :].sum()) for logprobs, first in scores]


def _of_rows(recipe: PostRecipe, reader: Loaded, rows: Sequence[Row]) -> list[Figure]:
    if not rows:
        return []
    match recipe.method:
        case "sft":
            each = answers_logprobs(reader, rows, "completion")
            return [mean("held-out answers: nats per token", [-sum(e) / len(e) for e in each], better=False)]
        case "dpo":
            chosen = [sum(e) for e in answers_logprobs(reader, rows, "chosen")]
            rejected = [sum(e) for e in answers_logprobs(reader, rows, "rejected")]
            margins = [c - r for c, r in zip(chosen, rejected, strict=True)]
            return [
                share("held-out pairs: chosen is likelier", [margin > 0 for margin in margins]),
                mean("held-out pairs: log p chosen - rejected", margins),
            ]
        case "kto":
            per_token = [sum(e) / len(e) for e in answers_logprobs(reader, rows, "completion")]
            by_label = {True: "wanted", False: "unwanted"}
            return [
                mean(f"held-out {name} answers: log p per token", some, better=label)
                for label, name in by_label.items()
                if (some := [e for e, row in zip(per_token, rows, strict=True) if row["label"] is label])
            ]
    return []


def _worth(
    recipe: PostRecipe,
    reader: Loaded,
    rows: Sequence[Row],
    rewards: Sequence[Callable[..., list[float | None]]],
) -> list[Figure]:
    if not rows or not rewards:
        return []

    def never(_: Said) -> bool:
        return False

    asked = [
        Completion(
            tuple(ChatMessage.model_validate(m) for m in row["prompt"]), never, recipe.reward.max_tokens
        )
        for row in rows
    ]
    said, _ = reader.complete(asked)
    columns = {name: [row.get(name) for row in rows] for name in rows[0] if name != "prompt"}
    found = []
    names = (*(recipe.reward.functions if recipe.method in BY_REWARD else ()), *recipe.probes.rewards)
    for name, reward in zip(names, rewards, strict=True):
        values = reward(
            prompts=[row["prompt"] for row in rows], completions=[s.text for s in said], **columns
        )
        if counted := [value for value in values if value is not None]:
            figure = mean(f"held-out greedy answers: {name.rpartition(':')[2]}", counted)
            whole = len(counted) == len(values)  # else what an item got no longer stands in its place
            found.append(figure if whole else figure.model_copy(update={"each": ()}))
    return found


def answers_logprobs(reader: Loaded, rows: Sequence[Row], column: str) -> list[list[float]]:
    """Return for each row the log-probabilities in nats of its answer's tokens, after its prompt."""
    ids, firsts = [], []
    for row in rows:
        prompt = reader.template(tuple(ChatMessage.model_validate(m) for m in row["prompt"]))
        whole = list(
            reader.tokenizer.apply_chat_template(row["prompt"] + row[column], return_dict=True)["input_ids"]
        )
        shared = next((n for n, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), len(prompt))
        excess = max(0, len(whole) - reader.context)
        ids.append(whole[excess:])
        firsts.append(min(max(1, shared - excess), len(whole) - excess - 1))
    return [
        logprobs[first - 1 :].tolist() for logprobs, first in zip(reader.logprobs(ids), firsts, strict=True)
    ]
