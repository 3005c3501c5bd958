"""The model is transformers' in all but its code: stock classes load each form of it and compute the same."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

from selves.lineage import Address, Age, find_age
from selves.settings import House
from serving.embedded import LoadedAge
from training import export, gpt, tokenizer
from training.blocks import attend
from training.gpt import GPT, IGNORED, Shape
from training.gpt import count_parameters as count
from training.keeping import load_weights
from training.optim import Optimizer
from training.shape import ModelForm

SHAPE = Shape(vocabulary=512, width=64, depth=2, heads=2, head_dim=32, hidden=192, context=64)


SHAPES = {form: SHAPE._replace(form=form, depth=4) for form in get_args(ModelForm)}


def random_model(seed: int = 1, shape: Shape = SHAPE) -> GPT:
    """A model in which nothing is zero, so that every weight shows in the logits."""
    model = GPT(shape)
    model.initialise(seed)
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=source) * 0.1)
    return model


@pytest.mark.parametrize("age", ["base-000000", "base-000040", "chat-000010"])
def test_transformers_computes_the_logits_that_we_compute(raised: House, age: str) -> None:
    kept = find_age(raised.checkpoints, f"wren@{age}")
    stock = AutoModelForCausalLM.from_pretrained(str(kept.folder))
    ours = GPT(SHAPE._replace(vocabulary=stock.config.vocab_size))
    load_weights(ours, kept)
    ids = torch.randint(0, stock.config.vocab_size, (3, 64), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), stock(ids).logits, atol=2e-5, rtol=1e-5)
    assert type(stock).__name__ == kept.card.architecture
    assert sum(p.numel() for p in stock.parameters()) == kept.card.parameters


@pytest.fixture(scope="module", params=sorted(SHAPES))
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[GPT, Age]:
    """A model of each form with random weights, and the age that it is on disk."""
    model = random_model(shape=SHAPES[request.param])
    address = Address(request.param, "base-000000")
    facts = export.Facts(address, None, "transcript", 0, None, 8.0, (), "", {})
    folder = tmp_path_factory.mktemp("forms") / address.lineage / address.age
    words = tokenizer.learn(["some words"], 512)
    card = export.keep_age(folder, model, torch.float32, words, facts, lambda _: [])
    return model, Age(card, folder)


def test_every_form_is_a_stock_class_that_computes_the_same(kept: tuple[GPT, Age]) -> None:
    model, age = kept
    loaded: Any = AutoModelForCausalLM.from_pretrained(str(age.folder), output_loading_info=True)
    stock, info = loaded
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert type(stock).__name__ == age.card.architecture
    assert sum(p.numel() for p in stock.parameters()) == age.card.parameters
    ids = torch.randint(0, 512, (2, 64), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        torch.testing.assert_close(model(ids), stock(ids).logits, atol=1e-4, rtol=1e-4)


def test_every_form_says_the_same_in_training_and_in_the_embedded_engine(kept: tuple[GPT, Age]) -> None:
    model, age = kept
    served = LoadedAge(age)
    memory = served.new_memory()
    ids = torch.randint(0, 512, (1, 21), generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        served.read(ids[0, :13].tolist(), memory)  # a long prompt comes in parts
        theirs, (ours, cache) = served.read(ids[0, 13:].tolist(), memory)[-1], model.step(ids, None)
        for _ in range(40):
            torch.testing.assert_close(ours[0], theirs, atol=1e-4, rtol=1e-4)
            token = int(ours.argmax())
            assert token == int(theirs.argmax())
            theirs, (ours, cache) = (
                served.read([token], memory)[-1],
                model.step(torch.tensor([[token]]), cache),
            )


@pytest.mark.parametrize("form", sorted(SHAPES))
def test_every_form_begins_as_the_identity_and_all_of_it_learns(form: ModelForm) -> None:
    model = GPT(SHAPES[form])
    model.initialise(1)
    ids = torch.randint(0, 512, (2, 64), generator=torch.Generator().manual_seed(5))
    assert model.loss(ids, ids).item() == pytest.approx(math.log(512), abs=0.01)
    optimizer = Optimizer(model.named_parameters(), (0.02, 0.2, 0.02))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for _ in range(3):
        model.loss(ids, ids).backward()  # type: ignore[no-untyped-call]
        optimizer.step(1.0)
    for old, (name, new) in zip(before, model.named_parameters(), strict=True):
        assert not torch.equal(old, new), name


@pytest.mark.parametrize("form", sorted(SHAPES))
def test_reading_with_a_cache_is_reading_the_whole(form: ModelForm) -> None:
    model = random_model(shape=SHAPES[form])
    ids = torch.randint(0, 512, (2, 20), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        whole = model(ids)
        logits, cache = model.step(ids[:, :10], None)
        torch.testing.assert_close(logits, whole[:, 9], atol=1e-5, rtol=1e-5)
        for at in range(10, 20):
            logits, cache = model.step(ids[:, at : at + 1], cache)
            torch.testing.assert_close(logits, whole[:, at], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", sorted(SHAPES))
def test_no_token_sees_a_later_one(form: ModelForm) -> None:
    model = random_model(shape=SHAPES[form])
    ids = torch.randint(0, 512, (1, 30), generator=torch.Generator().manual_seed(5))
    changed = ids.clone()
    changed[0, 20] = (changed[0, 20] + 1) % 512
    with torch.no_grad():
        torch.testing.assert_close(model(ids)[:, :20], model(changed)[:, :20])
        assert not torch.allclose(model(ids)[:, 20:], model(changed)[:, 20:])


def test_the_fused_kernel_of_long_contexts_agrees_with_plain_attention() -> None:
    q, k, v = torch.randn(3, 1, 2, 600, 32, generator=torch.Generator().manual_seed(6)).unbind()
    fused = attend(q, k, v, causal=True)
    plain = attend(q[:, :, :512], k[:, :, :512], v[:, :, :512], causal=True)
    torch.testing.assert_close(fused[:, :, :512], plain, atol=1e-5, rtol=1e-5)


def test_the_same_seed_is_the_same_self_and_another_seed_another() -> None:
    one, two, other = GPT(SHAPE), GPT(SHAPE), GPT(SHAPE)
    one.initialise(1)
    torch.manual_seed(99)
    two.initialise(1)
    other.initialise(2)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.model.embed_tokens.weight, other.model.embed_tokens.weight)


@pytest.mark.parametrize("form", sorted(SHAPES))
def test_parameters_are_counted_without_building_the_model(form: ModelForm) -> None:
    shape = SHAPES[form]
    assert count(shape) == sum(parameter.numel() for parameter in GPT(shape).parameters())


def test_targets_that_are_ignored_do_not_count_in_the_loss() -> None:
    model = random_model()
    ids = torch.randint(0, 512, (2, 64), generator=torch.Generator().manual_seed(7))
    targets = ids.roll(-1, 1)
    half = targets.clone()
    half[:, 32:] = IGNORED
    with torch.no_grad():
        each = model.losses(ids, targets)
        torch.testing.assert_close(model.loss(ids, half), each[:, :32].mean())
        assert model.losses(ids, half)[:, 32:].abs().sum() == 0


def gradients(model: GPT, ids: torch.Tensor, targets: torch.Tensor) -> tuple[float, list[torch.Tensor]]:
    model.zero_grad()
    loss = model.loss(ids, targets)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item(), [p.grad for p in model.parameters() if p.grad is not None]


def test_computing_blocks_anew_gives_the_same_gradients() -> None:
    model = random_model()
    ids = torch.randint(0, 512, (2, 64), generator=torch.Generator().manual_seed(8))
    loss, plain = gradients(model, ids, ids.roll(-1, 1))
    model.checkpointing = True
    assert gradients(model, ids, ids.roll(-1, 1))[0] == loss
    again = gradients(model, ids, ids.roll(-1, 1))[1]
    assert len(again) == len(plain) == len(list(model.parameters()))
    assert all(torch.equal(one, two) for one, two in zip(plain, again, strict=True))


def test_logits_in_parts_give_the_same_loss_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model()
    ids = torch.randint(0, 512, (2, 64), generator=torch.Generator().manual_seed(9))
    targets = ids.roll(-1, 1)
    targets[:, :5] = IGNORED
    loss, whole = gradients(model, ids, targets)
    seen: list[int] = []
    model.lm_head.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    monkeypatch.setattr(gpt, "LOGITS_AT_ONCE", 512 * 48)
    parts, in_parts = gradients(model, ids, targets)
    assert set(seen) == {48, 32}
    assert parts == pytest.approx(loss, rel=1e-6)
    for one, two in zip(whole, in_parts, strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-5)


def test_sums_of_parts_of_a_batch_are_the_sum_of_the_whole() -> None:
    model = random_model()
    ids = torch.randint(0, 512, (4, 32), generator=torch.Generator().manual_seed(10))
    targets = ids.roll(-1, 1)
    targets[1, :20] = IGNORED
    with torch.no_grad():
        whole = model.loss_sum(ids, targets)
        parts = model.loss_sum(ids[:1], targets[:1]) + model.loss_sum(ids[1:], targets[1:])
        torch.testing.assert_close(whole, parts)
        torch.testing.assert_close(whole / 108, model.loss(ids, targets))


@pytest.mark.parametrize("form", sorted(SHAPES))
def test_a_token_costs_what_torch_counts(form: ModelForm) -> None:
    model = random_model(shape=SHAPES[form])
    ids = torch.randint(0, 512, (2, 32), generator=torch.Generator().manual_seed(11))
    with FlopCounterMode(display=False) as counter:
        model.loss(ids, ids).backward()  # type: ignore[no-untyped-call]
    assert gpt.flops_per_token(SHAPES[form], 32) * ids.numel() == counter.get_total_flops()
