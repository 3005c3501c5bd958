"""An adapter's age is its base with the adapter added, and what does not fit is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from selves.errors import SelvesError
from selves.files import sha256_file
from selves.lineage import Age
from serving.asks import Ask
from serving.rounds import Rounds
from tests.serving.ages import ALONE, TOGETHER, make_age, speak

TARGET = {
    "qwen3": "model.layers.{}.self_attn.q_proj",
    "neox": "gpt_neox.layers.{}.mlp.dense_h_to_4h",
    "gemma2": "model.layers.{}.mlp.down_proj",
}


@pytest.fixture(params=sorted(TARGET))
def base(request: pytest.FixtureRequest, checkpoints: Path, tmp_path: Path) -> Age:
    config = (TOGETHER | ALONE)[request.param]
    return make_age(tmp_path / request.param / "base-000000", config, checkpoints / "tiny" / "base-000016")


def add_adapter(base: Age, changes: dict[str, torch.Tensor], **config: Any) -> Age:
    """Write an adapter's age beside its base: PEFT's two files, a tokenizer and a card."""
    folder = base.folder.parent / "lora-000008"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((base.folder / name).read_bytes())
    (folder / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 8, **config}))
    save_file(changes, folder / "adapter_model.safetensors")
    sha256 = sha256_file(folder / "adapter_model.safetensors")
    address = f"{folder.parent.name}@{folder.name}"
    card = base.card.model_copy(
        update={"address": address, "adapter_of": base.card.address, "weights_sha256": sha256}
    )
    (folder / "age.json").write_text(card.model_dump_json())
    return Age(card, folder)


def lora(base: Age, modules: list[str]) -> dict[str, torch.Tensor]:
    model = AutoModelForCausalLM.from_pretrained(base.folder)
    changes = {}
    generator = torch.Generator().manual_seed(5)
    for module in modules:
        out, inner = model.get_submodule(module).weight.shape
        changes[f"base_model.model.{module}.lora_A.weight"] = torch.randn(4, inner, generator=generator)
        changes[f"base_model.model.{module}.lora_B.weight"] = torch.randn(out, 4, generator=generator)
    return changes


@pytest.mark.parametrize("stable", [False, True])
def test_an_adapter_speaks_as_its_base_with_it_added(base: Age, stable: bool) -> None:
    target = TARGET[base.address.lineage]
    changes = lora(base, [target.format(0), target.format(1)])
    adapter = add_adapter(base, changes, use_rslora=stable)
    ids, ask = list(range(20, 60)), Ask(20, temperature=0, ignore_eos=True)
    rounds = Rounds(memory_bytes=10**9)
    of_base, of_adapter = speak(rounds, (base, ids, ask), (adapter, ids, ask))
    model = AutoModelForCausalLM.from_pretrained(base.folder).eval()
    with torch.no_grad():
        for number in range(2):
            at = f"base_model.model.{target.format(number)}"
            delta = changes[f"{at}.lora_B.weight"] @ changes[f"{at}.lora_A.weight"]
            model.get_submodule(target.format(number)).weight += delta * (8 / 2 if stable else 8 / 4)
    said = model.generate(
        torch.tensor([ids]), max_new_tokens=20, do_sample=False, eos_token_id=None, pad_token_id=1
    )
    assert [piece.token.token_id for piece in of_adapter] == said[0, len(ids) :].tolist()
    assert of_adapter != of_base


def test_an_adapter_that_does_not_fit_is_refused_by_name(base: Age) -> None:
    wrong = {name.replace(".layers.0.", ".layers.7."): t for name, t in lora(base, [first(base)]).items()}
    with pytest.raises(SelvesError, match=r"changes .*\.layers\.7\..* which .*@base-000000 does not have"):
        speak(Rounds(memory_bytes=10**9), (add_adapter(base, wrong), [40], Ask(1)))


def test_an_adapter_of_another_kind_is_refused(base: Age) -> None:
    adapter = add_adapter(base, lora(base, [first(base)]), use_dora=True)
    with pytest.raises(SelvesError, match="LoRA with use_dora"):
        speak(Rounds(memory_bytes=10**9), (adapter, [40], Ask(1)))


def first(base: Age) -> str:
    return TARGET[base.address.lineage].format(0)
