"""The embedded engine says what transformers itself would say, and nobody's words depend on another's."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPTNeoXConfig, LlamaConfig

from selves.errors import EngineError
from selves.lineage import Age, read_age
from serving.asks import Ask, Repetition
from serving.decoder import Decoder
from serving.embedded import LoadedAge
from serving.rounds import Rounds
from serving.shape import read_shape
from tests.serving.ages import ALONE, SIZES, TOGETHER, make_age, scores, speak

ROOM = 10**9


@pytest.fixture(scope="module", params=sorted(TOGETHER | ALONE))
def ages(
    request: pytest.FixtureRequest, checkpoints: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[Age]:
    """Three ages of one architecture."""
    folder = tmp_path_factory.mktemp("architectures") / request.param
    config = (TOGETHER | ALONE)[request.param]
    tokenizer = checkpoints / "tiny" / "base-000016"
    return [make_age(folder / f"base-{n:06d}", config, tokenizer, seed=n) for n in range(3)]


@pytest.fixture
def rounds() -> Rounds:
    return Rounds(memory_bytes=ROOM)


def prompt_of(tokens: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed + 1000 * tokens)
    ids: list[int] = torch.randint(5, 320, (tokens,), generator=generator).tolist()
    return ids


def stock(age: Age) -> Any:
    return AutoModelForCausalLM.from_pretrained(age.folder).eval()


def generate(model: Any, ids: list[int], tokens: int, **how: Any) -> list[int]:
    prompt = torch.tensor([ids])
    mask = torch.ones_like(prompt)
    said = model.generate(
        prompt, attention_mask=mask, max_new_tokens=tokens, do_sample=False, pad_token_id=1, **how
    )
    written: list[int] = said[0, len(ids) :].tolist()
    return written


def test_greedy_tokens_are_those_of_generate_alone_and_in_company(ages: list[Age], rounds: Rounds) -> None:
    asked, expected = [], []
    for age, tokens, penalty in product(ages[:2], (1, 7, 150), (1.0, 1.3)):
        ids = prompt_of(tokens)
        asked.append((age, ids, Ask(30, temperature=0, repetition_penalty=penalty)))
        expected.append(generate(stock(age), ids, 30, repetition_penalty=penalty))
    alone = [speak(rounds, one)[0] for one in asked]
    together = speak(rounds, *asked)
    for said in (alone, together):
        assert [[piece.token.token_id for piece in pieces] for pieces in said] == expected


def test_not_a_bit_depends_on_who_else_speaks_or_what_was_read_before(ages: list[Age]) -> None:
    asked = [
        (age, prompt_of(tokens), Ask(tokens // 2 + 5, temperature=1.2, top_p=0.9, seed=seed))
        for age in ages
        for tokens, seed in ((3, 1), (3, 2), (70, 1), (140, 4))
    ]
    alone = [speak(Rounds(memory_bytes=ROOM), one)[0] for one in asked]
    rounds = Rounds(memory_bytes=ROOM)
    assert speak(rounds, *asked) == alone
    assert speak(rounds, *reversed(asked)) == alone[::-1]
    assert alone[0] != alone[1]


def test_rounded_to_int8_an_age_says_nearly_the_same_in_any_company(ages: list[Age], rounds: Rounds) -> None:
    if LoadedAge(ages[0]).decoder is None:
        with pytest.raises(EngineError, match="only the families that the engine runs itself"):
            LoadedAge(ages[0], "int8")
        return
    rounded = Rounds(memory_bytes=ROOM, dtype="int8")
    own, near = (
        [token.logprob for token in scores(each, ages[0], prompt_of(90), Ask(0, prompt_logprobs=1)).tokens]
        for each in (rounds, rounded)
    )
    assert 0 < fmean(abs(a - b) for a, b in zip(own, near, strict=True)) < 0.2
    asked = [(age, prompt_of(tokens), Ask(9, seed=tokens)) for age in ages for tokens in (3, 3, 70)]
    alone = [speak(Rounds(memory_bytes=ROOM, dtype="int8"), one)[0] for one in asked]
    assert speak(rounded, *asked) == alone


def test_the_beginning_of_a_conversation_is_not_read_twice(ages: list[Age], rounds: Rounds) -> None:
    age, ids = ages[0], prompt_of(150)
    (first,) = speak(rounds, (age, ids, Ask(20, temperature=0, ignore_eos=True)))
    longer = [*ids, *(piece.token.token_id for piece in first), *prompt_of(60)]
    again = speak(rounds, (age, longer, Ask(9, temperature=0)))
    fresh = Rounds(memory_bytes=ROOM)
    assert speak(fresh, (age, longer, Ask(9, temperature=0))) == again
    read, remembered = (
        rounds.measures()[f"selves_prompt_tokens_{what}_total"] for what in ("read", "remembered")
    )
    assert read + remembered == len(ids) + len(longer)
    is_ours = LoadedAge(age).decoder is not None
    assert remembered == (128 if is_ours else 0)


def test_logprobs_are_the_models_own_before_temperature_and_penalty(ages: list[Age], rounds: Rounds) -> None:
    prompt = prompt_of(90)
    ask = Ask(5, temperature=2.5, top_p=0.9, repetition_penalty=1.5, logprobs=3)
    (pieces,) = speak(rounds, (ages[0], prompt, ask))
    ids = prompt + [piece.token.token_id for piece in pieces]
    expected = stock(ages[0])(torch.tensor([ids])).logits[0].detach().log_softmax(-1)
    for position, piece in enumerate(pieces, len(prompt) - 1):
        assert piece.token.logprob == pytest.approx(float(expected[position, piece.token.token_id]), abs=2e-4)
        best = expected[position].topk(3).values.tolist()
        assert [scored.logprob for scored in piece.alternatives] == pytest.approx(best, abs=2e-4)


@pytest.mark.parametrize("tokens", [1, 2, 64, 65, 150])
def test_a_prompt_is_scored_by_what_the_model_gave_its_tokens(
    ages: list[Age], rounds: Rounds, tokens: int
) -> None:
    ids = prompt_of(tokens)
    expected = stock(ages[0])(torch.tensor([ids])).logits[0].detach().log_softmax(-1)
    for _ in range(2):  # also when the beginning is remembered
        scored = scores(rounds, ages[0], ids, Ask(0, prompt_logprobs=2))
        assert [token.token_id for token in scored.tokens] == ids[1:]
        own = [float(expected[i, token]) for i, token in enumerate(ids[1:])]
        assert [token.logprob for token in scored.tokens] == pytest.approx(own, abs=2e-4)
        for position, others in enumerate(scored.alternatives):
            best = expected[position].topk(2).values.tolist()
            assert [other.logprob for other in others] == pytest.approx(best, abs=2e-4)
        speak(rounds, (ages[0], ids, Ask(1)))


def test_ages_that_differ_in_the_width_of_an_mlp_do_not_disturb_each_other(
    checkpoints: Path, tmp_path: Path, rounds: Rounds
) -> None:
    tokenizer = checkpoints / "tiny" / "base-000016"
    wider = {**SIZES, "intermediate_size": 160}
    configs = [LlamaConfig(**SIZES), LlamaConfig(**wider), LlamaConfig(**SIZES, mlp_bias=True)]
    ages = [make_age(tmp_path / f"mlp{n}" / "base-000000", c, tokenizer) for n, c in enumerate(configs)]
    said = speak(rounds, *((age, prompt_of(20), Ask(12, temperature=0)) for age in ages))
    for age, pieces in zip(ages, said, strict=True):
        expected = generate(stock(age), prompt_of(20), 12)
        assert [piece.token.token_id for piece in pieces] == expected


@pytest.mark.parametrize("inner", [96, 98, 704, 2048])
def test_a_row_is_activated_alike_in_any_company_and_by_any_number_of_threads(inner: int) -> None:
    shape = read_shape(LlamaConfig(**SIZES), 512, torch.float32)
    assert shape is not None
    decoder = Decoder(shape)
    x = torch.randn(61, inner, generator=torch.Generator().manual_seed(1)) * 3
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        whole = decoder._activated(x)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(decoder._activated(x[n : n + 1]), whole[n : n + 1]) for n in range(61))


def test_positions_are_turned_alike_whoever_else_is_turned() -> None:
    shape = read_shape(GPTNeoXConfig(**SIZES), 512, torch.float32)
    assert shape is not None
    early, late = Decoder(shape), Decoder(shape)
    late._turns(torch.tensor([400]))
    for at in (0, 3, 70, 131):
        alone = early._turns(torch.tensor([at]))
        crowd = late._turns(torch.tensor([5, at, 300]))
        assert all(torch.equal(a[0], b[1]) for a, b in zip(alone, crowd, strict=True))


@pytest.fixture(scope="module")
def tiny(checkpoints: Path) -> Age:
    return read_age(checkpoints / "tiny" / "base-000016")


def test_speech_ends_at_any_of_the_end_tokens_and_they_are_not_text(tiny: Age, rounds: Rounds) -> None:
    (free,) = speak(rounds, (tiny, [10, 20, 30], Ask(12, temperature=0)))
    end = free[4].token.token_id
    first = next(i for i, piece in enumerate(free) if piece.token.token_id == end)
    (ended,) = speak(rounds, (tiny, [10, 20, 30], Ask(12, temperature=0, stop_token_ids=(end,))))
    assert [piece.token for piece in ended] == [piece.token for piece in free[: first + 1]]
    assert (ended[-1].finish, ended[-1].stop) == ("stop", end)
    for age in rounds._hot.values():
        age.words = age.words._replace(end_ids=frozenset({end, 1}))
    (ended,) = speak(rounds, (tiny, [10, 20, 30], Ask(12, temperature=0)))
    assert len(ended) == first + 1
    assert (ended[-1].finish, ended[-1].stop, ended[-1].text) == ("stop", None, "")
    (going_on,) = speak(rounds, (tiny, [10, 20, 30], Ask(12, temperature=0, ignore_eos=True)))
    assert [piece.token for piece in going_on] == [piece.token for piece in free]
    (longer,) = speak(rounds, (tiny, [10, 20, 30], Ask(12, temperature=0, min_tokens=8)))
    assert len(longer) >= 8
    assert end not in [piece.token.token_id for piece in longer[:8]]


def test_one_of_the_choices_is_said_and_nothing_else(tiny: Age, rounds: Rounds) -> None:
    choices = ((40, 41, 42), (40, 50), (60,))
    said = set()
    for seed in range(30):
        (pieces,) = speak(rounds, (tiny, [10, 20], Ask(9, temperature=3, seed=seed, choices=choices)))
        assert pieces[-1].finish == "stop"
        said.add(tuple(piece.token.token_id for piece in pieces))
    assert said == set(choices)


def test_a_sequence_that_goes_round_and_round_is_ended(tiny: Age, rounds: Rounds) -> None:
    bias = ((70, 1000.0),)
    ask = Ask(40, temperature=0, logit_bias=bias, repetition=Repetition(max_pattern=3, min_count=4))
    (pieces,) = speak(rounds, (tiny, [10], ask))
    assert [piece.token.token_id for piece in pieces] == [70] * 4
    assert pieces[-1].finish == "repetition"


def test_bfloat16_is_read_as_it_was_kept_or_in_float32(
    checkpoints: Path, tmp_path: Path, rounds: Rounds
) -> None:
    config = TOGETHER["qwen3"]
    age = make_age(tmp_path / "half" / "base-000000", config, checkpoints / "tiny" / "base-000016")
    stock(age).to(torch.bfloat16).save_pretrained(age.folder)
    from selves.files import sha256_file

    sha256 = sha256_file(age.folder / "model.safetensors")
    age = Age(age.card.model_copy(update={"weights_sha256": sha256}), age.folder)
    whole = Rounds(memory_bytes=ROOM, dtype="float32")
    ids = prompt_of(40)
    (pieces,) = speak(whole, (age, ids, Ask(20, temperature=0)))
    assert [p.token.token_id for p in pieces] == generate(stock(age).float(), ids, 20)
    half = Rounds(memory_bytes=ROOM, dtype="bfloat16")
    (pieces,) = speak(half, (age, ids, Ask(1, temperature=0)))
    assert whole.measures()["selves_memory_bytes"] > half.measures()["selves_memory_bytes"]
    logits = stock(age)(torch.tensor([ids])).logits[0, -1].float().detach().log_softmax(-1)
    assert pieces[0].token.logprob == pytest.approx(float(logits.max()), abs=0.2)
