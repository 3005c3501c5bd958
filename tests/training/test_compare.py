"""What differs between two ages is measured part by part, and where that makes no sense it is said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from selves.errors import AgeError
from selves.lineage import find_age
from selves.settings import House
from training.compare import Change, Group, compare, compare_weights, group_of

Run = Callable[..., int]


def weights_of(house: House, age: str) -> Path:
    return house.checkpoints / "wren" / age / "model.safetensors"


def named(changes: list[Change]) -> dict[Group, Change]:
    return {Group(change.part, change.layer): change for change in changes}


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("model.embed_tokens.weight", Group("embedding", None)),
        ("model.layers.3.self_attn.q_proj.weight", Group("attention", 3)),
        ("model.layers.3.self_attn.q_norm.weight", Group("norm", 3)),
        ("model.layers.11.mlp.down_proj.weight", Group("mlp", 11)),
        ("model.layers.0.conv.in_proj.weight", Group("conv", 0)),
        ("model.layers.0.feed_forward.w1.weight", Group("mlp", 0)),
        ("model.norm.weight", Group("norm", None)),
        ("lm_head.weight", Group("head", None)),
        ("transformer.h.2.attn.c_q.weight", Group("attention", 2)),
        ("transformer.wte.weight", Group("embedding", None)),
        ("resid_lambdas", Group("other", None)),
    ],
)
def test_each_tensor_has_its_place(name: str, group: Group) -> None:
    assert group_of(name) == group


def test_an_age_does_not_differ_from_itself(raised: House) -> None:
    path = weights_of(raised, "base-000040")
    changes, why = compare_weights(path, path)
    assert why == ""
    assert {change.relative for change in changes} == {0.0}
    assert all(change.cosine == pytest.approx(1.0) for change in changes)


def test_a_known_change_is_measured_where_it_was_made(raised: House, tmp_path: Path) -> None:
    path = weights_of(raised, "base-000040")
    tensors = load_file(path)
    name = "model.layers.1.mlp.up_proj.weight"
    tensors["lm_head.weight"] *= 3
    tensors["model.embed_tokens.weight"] *= -1
    tensors[name] = torch.zeros_like(tensors[name])
    save_file(tensors, tmp_path / "changed.safetensors")
    changes, _ = compare_weights(path, tmp_path / "changed.safetensors")
    found = named(changes)
    assert changes[0].part == "all"
    assert changes[0].parameters == sum(tensor.numel() for tensor in tensors.values())
    assert found[Group("head", None)].relative == pytest.approx(2.0)
    assert found[Group("head", None)].cosine == pytest.approx(1.0)
    assert found[Group("embedding", None)].cosine == pytest.approx(-1.0)
    before = load_file(path)
    lost = before[name].norm()
    whole = torch.cat([t.flatten() for n, t in before.items() if n.startswith("model.layers.1.mlp")]).norm()
    assert found[Group("mlp", 1)].relative == pytest.approx(float(lost / whole), rel=1e-5)
    assert found[Group("mlp", 0)].relative == 0
    assert found[Group("attention", 1)].relative == 0


def test_what_grew_from_zero_has_no_relative_change(tmp_path: Path) -> None:
    save_file({"lm_head.weight": torch.zeros(2, 2)}, tmp_path / "a.safetensors")
    save_file({"lm_head.weight": torch.ones(2, 2)}, tmp_path / "b.safetensors")
    changes, _ = compare_weights(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert [(change.relative, change.cosine) for change in changes] == [(None, None)] * 2


def test_models_of_other_shapes_are_compared_by_facts_and_words_alone(
    raised_copy: House, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    path = weights_of(raised_copy, "base-000040")
    tensors = load_file(path)
    tensors["lm_head.weight"] = tensors["lm_head.weight"][:64].clone()
    save_file(tensors, path)
    assert run(raised_copy, "diff", "wren@base-000020", "wren@base-000040") == 0
    said = capsys.readouterr().out
    assert "not compared: their shapes differ: lm_head.weight is 512 x 64 in the first and 64 x 64" in said
    assert "bits per byte" in said
    assert "continuation" in said


def test_facts_words_and_recipe_stand_side_by_side(
    raised: House, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(raised, "diff", "wren@base-000000", "wren@base-000040", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    first, last = (find_age(raised.checkpoints, f"wren@base-0000{step}") for step in ("00", "40"))
    assert (shown["a"]["step"], shown["b"]["step"]) == (0, 40)
    assert shown["b"]["bits_per_byte"] == last.card.bits_per_byte
    assert shown["recipe"] == []
    assert [words["kind"] for words in shown["words"]] == ["diary", "letter", "continuation"]
    assert shown["words"][2]["a"] == first.writings()[2].utterance.text.strip()
    assert shown["words"][2]["b"] == last.writings()[2].utterance.text.strip()
    assert shown["weights"][0]["relative"] > 0


def test_a_changed_key_of_the_recipe_is_named(raised_copy: House) -> None:
    folder = raised_copy.checkpoints / "wren" / "base-000040"
    card = json.loads((folder / "age.json").read_text("utf-8"))
    card["recipe"]["base"]["steps"] = 41
    (folder / "age.json").write_text(json.dumps(card), "utf-8")
    a, b = (find_age(raised_copy.checkpoints, f"wren@base-0000{step}") for step in ("20", "40"))
    assert compare(a, b).recipe == ("base.steps: 40 -> 41",)


def test_damaged_weights_are_named(raised_copy: House) -> None:
    weights_of(raised_copy, "base-000040").write_bytes(b"not weights")
    a, b = (find_age(raised_copy.checkpoints, f"wren@base-0000{step}") for step in ("20", "40"))
    with pytest.raises(AgeError, match="base-000040 cannot be read"):
        compare(a, b)


def test_one_who_wrote_nothing_is_shown_as_silent(
    raised_copy: House, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    source = raised_copy.checkpoints / "wren" / "chat-000010"
    bare = raised_copy.home / "bare"
    shutil.copytree(source, bare)
    (bare / "age.json").unlink()
    (bare / "diary.jsonl").unlink()
    assert run(raised_copy, "import", str(bare), "--as", "guest@import-000000") == 0
    capsys.readouterr()
    assert run(raised_copy, "diff", "wren@chat-000010", "guest@import-000000") == 0
    said = capsys.readouterr().out
    assert "(nothing)" in said
    assert "an imported age has none" in said
