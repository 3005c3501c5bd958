"""The embedded engine says what transformers itself would say, and nobody's words depend on another's."""

from __future__ import annotations

import json
import queue
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    LogitsProcessorList,
    Qwen3Config,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from selves.errors import AgeError, SelvesError
from selves.files import sha256_file
from selves.lineage import Age, AgeCard, read_age
from serving.asks import Ask, Piece
from serving.embedded import PREFILL_TOKENS, LoadedAge, Running, draw
from serving.engine import Engine, Job

SIZES = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 2, "max_position_embeddings": 512}
ARCHITECTURES: dict[str, Any] = {
    "llama": LlamaConfig(**SIZES, vocab_size=320, intermediate_size=96),
    "qwen3": Qwen3Config(**SIZES, vocab_size=320, intermediate_size=96, num_key_value_heads=1, head_dim=32),
    "neox": GPTNeoXConfig(**SIZES, vocab_size=320, intermediate_size=96),
    "gpt2": GPT2Config(n_layer=2, n_embd=64, n_head=2, n_positions=512, vocab_size=320),
}


@pytest.fixture(scope="module", params=sorted(ARCHITECTURES))
def age(request: pytest.FixtureRequest, checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Age:
    """An age of this architecture with random weights, spread wide so that no two tokens tie."""
    folder = tmp_path_factory.mktemp("architectures") / request.param / "base-000000"
    config = ARCHITECTURES[request.param]
    config.bos_token_id, config.eos_token_id = 0, 1
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(checkpoints / "tiny" / "base-000016").save_pretrained(folder)
    weights = sha256_file(folder / "model.safetensors")
    card = AgeCard(
        address=f"{request.param}@base-000000",
        created_at=datetime.now(UTC),
        form="transcript",
        architecture=type(model).__name__,
        parameters=model.num_parameters(),
        context_tokens=512,
        weights_sha256=weights,
    )
    return Age(card, folder)


def speak(loaded: LoadedAge, prompt_ids: list[int], ask: Ask) -> list[Piece]:
    running = Running(loaded, prompt_ids, ask)
    pieces: list[Piece] = []
    while not pieces or pieces[-1].finish is None:
        piece = running.step()
        if piece is not None:
            pieces.append(piece)
    return pieces


@pytest.mark.parametrize("prompt_tokens", [1, 7, PREFILL_TOKENS + 9])
@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_tokens_are_those_of_generate(age: Age, prompt_tokens: int, penalty: float) -> None:
    loaded = LoadedAge(age)
    generator = torch.Generator().manual_seed(prompt_tokens)
    prompt = torch.randint(5, 320, (1, prompt_tokens), generator=generator)
    theirs = loaded.model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=40,
        do_sample=False,
        repetition_penalty=penalty,
        pad_token_id=1,
    )
    ours = speak(loaded, prompt[0].tolist(), Ask(40, temperature=0, repetition_penalty=penalty))
    assert [piece.token.token_id for piece in ours] == theirs[0, prompt_tokens:].tolist()


def test_logprobs_are_the_models_own_before_temperature_and_penalty(age: Age) -> None:
    loaded = LoadedAge(age)
    prompt = [10, 20, 30]
    pieces = speak(loaded, prompt, Ask(5, temperature=2.5, top_p=0.9, repetition_penalty=1.5, logprobs=3))
    ids = prompt + [piece.token.token_id for piece in pieces]
    expected = loaded.model(torch.tensor([ids])).logits[0].detach().float().log_softmax(-1)
    for position, piece in enumerate(pieces, len(prompt) - 1):
        assert piece.token.logprob == pytest.approx(float(expected[position, piece.token.token_id]), abs=1e-4)
        best = expected[position].topk(3).values.tolist()
        assert [scored.logprob for scored in piece.alternatives] == pytest.approx(best, abs=1e-4)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31),
    st.floats(0.1, 3),
    st.floats(0.05, 1),
    st.integers(0, 25),
    st.floats(0.6, 2),
    st.sets(st.integers(0, 19), min_size=1),
)
def test_tokens_are_drawn_from_the_distribution_that_transformers_makes(
    seed: int, temperature: float, top_p: float, top_k: int, penalty: float, seen: set[int]
) -> None:
    logits = torch.randn(20, generator=torch.Generator().manual_seed(seed)) * 3
    processors = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(penalty)])
    processors.append(TemperatureLogitsWarper(temperature))
    if top_k:
        processors.append(TopKLogitsWarper(top_k))
    processors.append(TopPLogitsWarper(top_p))
    seen_ids = torch.tensor([sorted(seen)])
    expected = processors(seen_ids, logits[None].clone())[0].softmax(-1)
    theirs = torch.multinomial(expected, 1, generator=torch.Generator().manual_seed(seed))
    ask = Ask(1, temperature, top_p, top_k, penalty, seed=seed)
    ours = draw(logits, seen_ids[0], ask, torch.Generator().manual_seed(seed))
    assert ours == int(theirs)


def test_speech_ends_at_any_of_the_end_tokens_and_they_are_not_text(age: Age) -> None:
    loaded = LoadedAge(age)
    free = speak(loaded, [10, 20, 30], Ask(12, temperature=0))
    loaded.end_ids = frozenset({free[4].token.token_id, 1})
    first = next(i for i, piece in enumerate(free) if piece.token.token_id in loaded.end_ids)
    ended = speak(loaded, [10, 20, 30], Ask(12, temperature=0))
    assert [piece.token for piece in ended] == [piece.token for piece in free[: first + 1]]
    assert ended[-1].finish == "stop"
    assert ended[-1].stop is None
    going_on = speak(loaded, [10, 20, 30], Ask(12, temperature=0, ignore_eos=True))
    assert [piece.token for piece in going_on] == [piece.token for piece in free]


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(hot=2, threads=1)
    engine.start()
    yield engine
    engine.close()


class Heard:
    """Collects what a job delivers."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Piece | SelvesError] = queue.SimpleQueue()

    def __call__(self, item: Piece | SelvesError) -> None:
        self._queue.put(item)

    def next(self) -> Piece | SelvesError:
        return self._queue.get(timeout=120)

    def all(self) -> list[Piece]:
        pieces: list[Piece] = []
        while not pieces or pieces[-1].finish is None:
            item = self.next()
            assert isinstance(item, Piece), item
            pieces.append(item)
        return pieces


def ages_of(checkpoints: Path) -> list[Age]:
    return [read_age(folder) for folder in sorted((checkpoints / "tiny").iterdir())]


def test_a_seed_says_the_same_alone_and_in_company(engine: Engine, checkpoints: Path) -> None:
    ages = ages_of(checkpoints)
    asks = [(age, Ask(20, temperature=1.2, top_p=0.9, seed=seed)) for age in ages for seed in (1, 2)]
    alone = []
    for age, ask in asks:
        heard = Heard()
        engine.submit(Job(age, [40, 41, 42], ask, heard))
        alone.append(heard.all())
    together = [Heard() for _ in asks]
    for (age, ask), heard in zip(asks, together, strict=True):
        engine.submit(Job(age, [40, 41, 42], ask, heard))
    assert [heard.all() for heard in together] == alone
    assert alone[0] != alone[1]


def test_requests_speak_in_turns(engine: Engine, checkpoints: Path) -> None:
    order: list[str] = []
    last: queue.SimpleQueue[Piece | SelvesError] = queue.SimpleQueue()
    first, second = ages_of(checkpoints)[:2]

    def listen(name: str) -> Any:
        def heard(piece: Piece | SelvesError) -> None:
            order.append(name)
            last.put(piece)

        return heard

    ask = Ask(30, temperature=1, ignore_eos=True)
    engine.submit(Job(first, [40] * 3, ask, listen("a")))
    engine.submit(Job(second, [40] * 3, ask, listen("b")))
    for _ in range(60):
        last.get(timeout=120)
    both = "".join(order)
    assert "abababab" in both
    assert both.count("a") == both.count("b") == 30


def test_at_most_hot_ages_stay_in_memory_and_all_are_answered(engine: Engine, checkpoints: Path) -> None:
    heard = [Heard() for _ in range(8)]
    for number, one in enumerate(heard):
        engine.submit(Job(ages_of(checkpoints)[number % 4], [40], Ask(3, ignore_eos=True), one))
    assert [len(one.all()) for one in heard] == [3] * 8
    assert engine.measures()["selves_ages_hot"] == 2


def test_a_cancelled_job_falls_silent_and_others_go_on(engine: Engine, checkpoints: Path) -> None:
    age = ages_of(checkpoints)[0]
    heard, other = Heard(), Heard()
    job = Job(age, [40], Ask(100_000, ignore_eos=True), heard)
    engine.submit(job)
    heard.next()
    job.cancel()
    engine.submit(Job(age, [40], Ask(5, ignore_eos=True), other))
    assert len(other.all()) == 5
    assert engine.measures()["selves_requests_active"] <= 1


def test_damaged_weights_are_refused_by_name_and_the_engine_goes_on(
    engine: Engine, own_checkpoints: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "tiny" / "base-000004"
    shutil.copytree(own_checkpoints / "tiny" / "base-000004", folder)
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    heard, other = Heard(), Heard()
    engine.submit(Job(read_age(folder), [40], Ask(3), heard))
    error = heard.next()
    assert isinstance(error, AgeError)
    assert "tiny@base-000004 is damaged" in str(error)
    engine.submit(Job(ages_of(own_checkpoints)[0], [40], Ask(3, ignore_eos=True), other))
    assert len(other.all()) == 3


def test_weights_that_are_whole_but_not_all_there_are_refused(own_checkpoints: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "tiny" / "base-000004"
    shutil.copytree(own_checkpoints / "tiny" / "base-000004", folder)
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    (folder / "model.safetensors").unlink()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    card = json.loads((folder / "age.json").read_text())
    card["weights_sha256"] = sha256_file(folder / "model.safetensors")
    (folder / "age.json").write_text(json.dumps(card))
    with pytest.raises(AgeError, match=r"lacks weights: model\.norm\.weight"):
        LoadedAge(read_age(folder))
