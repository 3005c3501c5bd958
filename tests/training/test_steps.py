"""Each step of a run that others trained becomes an age, with the very weights that its trainer kept."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from selves.errors import AgeError
from selves.lineage import find_age, list_ages
from selves.settings import House
from training import titan
from training.steps import read_step, step_folders

Run = Callable[..., int]


@pytest.fixture(scope="module")
def trained(raised: House, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Hugging Face's Trainer leaves of six steps with a checkpoint after every second."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

    folder = tmp_path_factory.mktemp("trainer") / "run"
    tokenizer: Any = AutoTokenizer.from_pretrained(str(raised.checkpoints / "wren" / "base-000040"))
    torch.manual_seed(3)
    rows = [{"input_ids": ids, "labels": ids} for ids in torch.randint(0, 512, (24, 16)).tolist()]
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=6,
        save_steps=2,
        logging_steps=1,
        per_device_train_batch_size=4,
        learning_rate=0.01,
        include_num_input_tokens_seen="all",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer: Any = Trainer
    trainer(
        model=LlamaForCausalLM(LlamaConfig(**shape())),
        args=arguments,
        train_dataset=rows,
        processing_class=tokenizer,
    ).train()
    return folder


def shape() -> dict[str, Any]:
    return {
        "vocab_size": 512,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 64,
        "tie_word_embeddings": False,
    }


def logits_of(folder: Path) -> Tensor:
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(str(folder), dtype="auto")
    with torch.no_grad():
        found: Tensor = model(torch.arange(5, 45)[None]).logits
    return found


def test_every_checkpoint_of_a_trainer_becomes_an_age(
    trained: Path, house: House, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(house, "import", trained, "--as", "finch") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "finch@import-000002",
        "finch@import-000004",
        "finch@import-000006",
    ]
    for age in list_ages(house.checkpoints, "finch"):
        age.verify()
        step = age.address.step
        assert age.card.tokens_seen == step * 4 * 16
        state = json.loads((trained / f"checkpoint-{step}" / "trainer_state.json").read_text("utf-8"))
        assert age.card.train_loss == state["log_history"][-1]["loss"]
        assert age.card.context_tokens == 64
        torch.testing.assert_close(
            logits_of(age.folder), logits_of(trained / f"checkpoint-{step}"), rtol=0, atol=0
        )
    first, last = (find_age(house.checkpoints, f"finch@import-00000{n}").folder for n in (2, 6))
    assert not torch.equal(logits_of(first), logits_of(last))


def test_only_what_is_new_is_taken_the_next_time(
    trained: Path, tmp_path: Path, house: House, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    growing = tmp_path / "growing"
    shutil.copytree(trained, growing, ignore=shutil.ignore_patterns("checkpoint-[46]"))
    assert run(house, "import", growing, "--as", "finch", "--json") == 0
    assert [row["step"] for row in json.loads(capsys.readouterr().out)] == [2]
    shutil.copytree(trained / "checkpoint-4", growing / "checkpoint-4")
    assert run(house, "import", growing, "--as", "finch", "--json") == 0
    assert [row["step"] for row in json.loads(capsys.readouterr().out)] == [4]
    assert run(house, "import", growing, "--as", "finch") == 0
    assert "nothing to do" in capsys.readouterr().err


@pytest.mark.parametrize("unfinished", ["no state yet", "half a state", "half the weights", "no weights yet"])
def test_a_step_that_is_still_being_written_is_left_for_later(
    trained: Path,
    tmp_path: Path,
    house: House,
    run: Run,
    capsys: pytest.CaptureFixture[str],
    unfinished: str,
) -> None:
    growing = tmp_path / "growing"
    shutil.copytree(trained, growing)
    newest = growing / "checkpoint-6"
    weights, state = newest / "model.safetensors", newest / "trainer_state.json"
    match unfinished:
        case "no state yet":
            state.unlink()
        case "half a state":
            state.write_text(state.read_text("utf-8")[:100], "utf-8")
        case "half the weights":
            os.truncate(weights, weights.stat().st_size // 2)
        case _:
            weights.unlink()
    assert run(house, "import", growing, "--as", "finch") == 0
    assert "checkpoint-6 is left out for now" in capsys.readouterr().err
    assert [age.address.step for age in list_ages(house.checkpoints)] == [2, 4]
    shutil.rmtree(newest)
    shutil.copytree(trained / "checkpoint-6", newest)
    assert run(house, "import", growing, "--as", "finch") == 0
    assert [age.address.step for age in list_ages(house.checkpoints)] == [2, 4, 6]


def test_what_a_killed_import_left_is_swept(trained: Path, house: House, run: Run) -> None:
    leftover = house.checkpoints / "finch" / ".partial-import-000002-abc"
    leftover.mkdir(parents=True)
    (leftover / "model.safetensors").write_bytes(b"half")
    assert run(house, "import", trained, "--as", "finch") == 0
    assert not leftover.exists()
    assert len(list_ages(house.checkpoints)) == 3


def test_another_run_may_not_come_in_under_the_same_name(
    trained: Path, tmp_path: Path, house: House, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    assert run(house, "import", trained, "--as", "finch") == 0
    assert run(house, "import", other, "--as", "finch") == 2
    assert "is here already and came from" in capsys.readouterr().err


def test_weights_that_a_config_does_not_describe_are_refused_and_none_are_made_up(
    trained: Path, tmp_path: Path, house: House, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    bent = tmp_path / "bent"
    shutil.copytree(trained, bent, ignore=shutil.ignore_patterns("checkpoint-[46]"))
    path = bent / "checkpoint-2" / "config.json"
    config = json.loads(path.read_text("utf-8")) | {"num_hidden_layers": 3}
    path.write_text(json.dumps(config), "utf-8")
    assert run(house, "import", bent, "--as", "finch") == 1
    assert "model.layers.2" in capsys.readouterr().err
    assert not list_ages(house.checkpoints)
    assert not list((house.checkpoints / "finch").glob(".partial-*"))


def test_a_run_without_a_tokenizer_says_what_to_name(
    trained: Path, raised: House, tmp_path: Path, house: House, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    mute = tmp_path / "deep" / "mute"
    shutil.copytree(trained, mute, ignore=shutil.ignore_patterns("tokenizer*", "checkpoint-[46]"))
    assert run(house, "import", mute, "--as", "finch") == 1
    assert "--assets FOLDER" in capsys.readouterr().err
    words = raised.checkpoints / "wren" / "base-000040"
    assert run(house, "import", mute, "--as", "finch", "--assets", words) == 0
    age = find_age(house.checkpoints, "finch@import-000002")
    assert age.card.architecture == "LlamaForCausalLM"
    assert (age.folder / "tokenizer.json").is_file()


@pytest.mark.parametrize(
    ("argv", "code", "complaint"),
    [
        (["{run}", "--as", "Finch!"], 2, "cannot be a lineage's name"),
        (["{run}/checkpoint-2/nowhere", "--as", "finch"], 2, "is not an address"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(
    trained: Path,
    house: House,
    run: Run,
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
    code: int,
    complaint: str,
) -> None:
    assert run(house, "import", *(part.format(run=trained) for part in argv)) == code
    assert complaint in capsys.readouterr().err
    assert not list_ages(house.checkpoints)


def test_adapters_alone_are_no_model_and_it_is_said_what_to_do(tmp_path: Path) -> None:
    step = tmp_path / "checkpoint-3"
    step.mkdir()
    (step / "trainer_state.json").write_text("{}")
    (step / "adapter_model.safetensors").write_bytes(b"")
    told = read_step(3, step)
    assert isinstance(told, str)
    assert "merge_and_unload" in told


def test_steps_are_found_in_order_and_below_checkpoint_too(tmp_path: Path) -> None:
    for name in ("step-1000", "step-50", "step-50.tmp", "notes"):
        (tmp_path / "outputs" / "checkpoint" / name).mkdir(parents=True)
    assert [number for number, _ in step_folders(tmp_path / "outputs")] == [50, 1000]
    assert step_folders(tmp_path / "nowhere") == []
    assert read_step(50, tmp_path / "outputs" / "checkpoint" / "step-50") == "model.safetensors is not whole"


def titan_names(model: Any, *, permuted: bool, wrapped: bool, head: str) -> dict[str, Tensor]:
    """Return a transformers model's weights as torchtitan keeps them: row by row, written out once more."""
    inner = "attention.qkv_linear." if wrapped else "attention."
    renamed = {
        "self_attn.q_proj": f"{inner}wq",
        "self_attn.k_proj": f"{inner}wk",
        "self_attn.v_proj": f"{inner}wv",
        "self_attn.o_proj": "attention.wo",
        "self_attn.q_norm": "attention.q_norm",
        "self_attn.k_norm": "attention.k_norm",
        "mlp.gate_proj": "feed_forward.w1",
        "mlp.down_proj": "feed_forward.w2",
        "mlp.up_proj": "feed_forward.w3",
        "input_layernorm": "attention_norm",
        "post_attention_layernorm": "ffn_norm",
        "embed_tokens": "tok_embeddings",
        "lm_head": head,
    }
    found = {}
    for name, weight in model.state_dict().items():
        theirs = name.removeprefix("model.")
        for old, new in renamed.items():
            theirs = theirs.replace(old, new)
        if permuted and ("q_proj" in name or "k_proj" in name):
            rows = []
            for start in range(0, len(weight), 8):  # pair n of a head of 8 is rows n and n + 4 here
                rows += [start + row for n in range(4) for row in (n, n + 4)]
            weight = weight[rows]
        found[theirs] = weight.clone()
    return found


def save_distributed(folder: Path, state: dict[str, Any]) -> None:
    from torch.distributed.checkpoint.state_dict_saver import save

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that one process saves alone
        save(state, checkpoint_id=str(folder), no_dist=True)


@pytest.fixture(params=["llama", "llama before 2026", "qwen3", "llama, tied"])
def titan_run(request: pytest.FixtureRequest, raised: House, tmp_path: Path) -> tuple[Path, Any]:
    """What torchtitan leaves of a run, in torch's distributed format, and the model it should become."""
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(5)
    old, qwen = request.param.endswith("2026"), request.param == "qwen3"
    sizes = shape() | {"tie_word_embeddings": request.param.endswith("tied")}
    model: Any = Qwen3ForCausalLM(Qwen3Config(**sizes)) if qwen else LlamaForCausalLM(LlamaConfig(**sizes))
    for name, parameter in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    folder = tmp_path / "outputs"
    names = titan_names(model, permuted=not qwen, wrapped=not old, head="output" if old else "lm_head")
    more = {"optimizer.state.norm.weight.exp_avg": torch.ones(32), "train_state": {"step": torch.tensor(7)}}
    save_distributed(folder / "checkpoint" / "step-7", names | more | {"lr_scheduler": object.__name__})
    model.config.save_pretrained(str(folder))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(raised.checkpoints / "wren" / "base-000040" / name, folder)
    return folder, model


def test_a_distributed_checkpoint_of_torchtitan_becomes_the_model_it_is(
    titan_run: tuple[Path, Any], house: House, run: Run
) -> None:
    folder, model = titan_run
    assert run(house, "import", folder, "--as", "titan") == 0
    age = find_age(house.checkpoints, "titan@import-000007")
    age.verify()
    with torch.no_grad():
        expected = model(torch.arange(5, 45)[None]).logits
    torch.testing.assert_close(logits_of(age.folder), expected)


@pytest.mark.parametrize("files", [1, 2])
def test_safetensors_that_torchtitan_exported_need_only_a_config_elsewhere(
    raised: House, tmp_path: Path, house: House, run: Run, files: int
) -> None:
    from safetensors.torch import load_file
    from torch.distributed.checkpoint import HuggingFaceStorageWriter
    from torch.distributed.checkpoint._consolidate_hf_safetensors import consolidate_safetensors_files
    from torch.distributed.checkpoint.state_dict_saver import save

    source = raised.checkpoints / "wren" / "base-000040"
    step = tmp_path / "outputs" / "checkpoint" / "step-40"
    step.mkdir(parents=True)
    tensors = load_file(source / "model.safetensors")
    index = {name: 1 + n % files for n, name in enumerate(tensors)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that one process saves alone
        writer = HuggingFaceStorageWriter(str(step / "sharded"), index, save_distributed=True)
        save(tensors, storage_writer=writer, no_dist=True)
    consolidate_safetensors_files(str(step / "sharded"), str(step), index)
    assert len(list(step.glob("*.safetensors"))) == files
    assert run(house, "import", tmp_path / "outputs", "--as", "titan", "--assets", source) == 0
    age = find_age(house.checkpoints, "titan@import-000040")
    torch.testing.assert_close(logits_of(age.folder), logits_of(source), rtol=0, atol=0)


class Bomb:
    """What a hostile checkpoint might hold: unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_hostile_metadata_is_refused_before_it_does_anything(tmp_path: Path) -> None:
    (tmp_path / ".metadata").write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    with pytest.raises(AgeError, match=r"asks for posix\.mkdir"):
        titan.read_metadata(tmp_path)
    assert not (tmp_path / "exploded").exists()


def test_a_metadata_that_points_elsewhere_is_refused(tmp_path: Path) -> None:
    save_distributed(tmp_path / "step-1", {"norm.weight": torch.ones(4)})
    path = tmp_path / "step-1" / ".metadata"
    metadata = pickle.loads(path.read_bytes())
    for place in metadata.storage_data.values():
        place.relative_path = "../elsewhere.distcp"
    path.write_bytes(pickle.dumps(metadata))
    with pytest.raises(AgeError, match="outside of its folder"):
        titan.read_metadata(tmp_path / "step-1")


@pytest.mark.parametrize(
    ("state", "complaint"),
    [
        ({"something.weight": torch.ones(4)}, "no tensor by torchtitan's names"),
        (
            {"tok_embeddings.weight": torch.ones(4, 4), "layers.0.moe.router.gate.weight": torch.ones(4)},
            "layers.0.moe.router.gate.weight, which no Llama or dense Qwen3",
        ),
    ],
)
def test_other_models_of_torchtitan_are_not_guessed_at(
    tmp_path: Path, state: dict[str, Tensor], complaint: str
) -> None:
    save_distributed(tmp_path / "step-1", state)
    with pytest.raises(AgeError, match=complaint):
        titan.read_tensors(tmp_path / "step-1")


def test_a_distributed_step_with_lost_pieces_is_named(tmp_path: Path) -> None:
    save_distributed(tmp_path / "step-1", {"norm.weight": torch.ones(4)})
    (tmp_path / "step-1" / "__0_0.distcp").unlink()
    with pytest.raises(AgeError, match="cannot be read"):
        titan.read_tensors(tmp_path / "step-1")
