"""A LoRA adapter that PEFT wrote becomes an age on another, or it is said why it cannot."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from selves.lineage import Age, find_age, list_ages
from selves.settings import House

Run = Callable[..., int]
BASE = "wren@chat-000010"


def write_adapter(folder: Path, base: Age, rank: int = 4, **config: Any) -> Path:
    """Write an adapter on the base's query matrices as PEFT would, random; returns its folder."""
    torch.manual_seed(0)
    tensors = {}
    for name, weight in load_file(base.folder / base.weights_file).items():
        if "q_proj" in name:
            module = f"base_model.model.{name.removesuffix('.weight')}"
            tensors[f"{module}.lora_A.weight"] = torch.randn(rank, weight.shape[1])
            tensors[f"{module}.lora_B.weight"] = torch.randn(weight.shape[0], rank)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    told = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "target_modules": ["q_proj"], **config}
    (folder / "adapter_config.json").write_text(json.dumps(told))
    return folder


def test_an_adapter_becomes_an_age_on_its_base(
    raised_copy: House, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = find_age(raised_copy.checkpoints, BASE)
    adapter = write_adapter(tmp_path / "gruff", base)
    assert run(raised_copy, "import", "adapter", adapter, "--of", BASE, "--as", "gruff", "--json") == 0
    assert json.loads(capsys.readouterr().out)["address"] == "gruff@import-000000"
    age = find_age(raised_copy.checkpoints, "gruff@import-000000")
    age.verify()
    assert age.base() == base
    assert (age.card.parent, age.card.form) == (BASE, base.card.form)
    own = sum(tensor.numel() for tensor in load_file(age.folder / age.weights_file).values())
    assert age.card.parameters == base.card.parameters + own
    assert (age.folder / "tokenizer.json").read_bytes() == (base.folder / "tokenizer.json").read_bytes()
    assert run(raised_copy, "import", "adapter", adapter, "--of", BASE, "--as", "gruff") == 0
    assert "is here already" in capsys.readouterr().err


def test_the_base_of_an_adapter_is_not_let_go(
    raised_copy: House, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    middle = list_ages(raised_copy.checkpoints, "wren")[1].card.address
    adapter = write_adapter(tmp_path / "gruff", find_age(raised_copy.checkpoints, middle))
    assert run(raised_copy, "import", "adapter", adapter, "--of", middle, "--as", "gruff") == 0
    assert run(raised_copy, "prune", middle, "--yes") == 2
    assert "gruff@import-000000 is an adapter on it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"peft_type": "IA3"}, "of kind IA3"),
        ({"use_dora": True}, "sets use_dora"),
        ({"bias": "all"}, "sets bias"),
    ],
)
def test_other_kinds_of_adapters_are_refused(
    raised_copy: House,
    run: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    complaint: str,
) -> None:
    adapter = write_adapter(tmp_path / "odd", find_age(raised_copy.checkpoints, BASE), **changes)
    assert run(raised_copy, "import", "adapter", adapter, "--of", BASE, "--as", "odd") == 1
    assert complaint in capsys.readouterr().err
    assert not list_ages(raised_copy.checkpoints, "odd")


def test_an_adapter_for_another_model_is_refused(
    raised_copy: House, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = write_adapter(tmp_path / "wide", find_age(raised_copy.checkpoints, BASE))
    weights = load_file(adapter / "adapter_model.safetensors")
    wider = {name: torch.cat([tensor, tensor], -1) for name, tensor in weights.items()}
    save_file(wider, adapter / "adapter_model.safetensors")
    assert run(raised_copy, "import", "adapter", adapter, "--of", BASE, "--as", "wide") == 1
    assert "its matrices for model.layers.0.self_attn.q_proj are" in capsys.readouterr().err


@pytest.mark.parametrize("left_out", ["--of", "--as"])
def test_what_is_missing_is_asked_for_with_an_example(
    raised_copy: House, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], left_out: str
) -> None:
    given = {"--of": BASE, "--as": "gruff"}
    del given[left_out]
    options = [part for pair in given.items() for part in pair]
    assert run(raised_copy, "import", "adapter", tmp_path, *options) == 2
    assert "selves ages import adapter my-lora --of" in capsys.readouterr().err
