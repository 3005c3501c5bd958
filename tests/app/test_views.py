"""What the parlor works out without a browser: links, shades, the order of a blind vote, a long life."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.asking import spread
from app.background import Watch
from app.chorus import Question, make_prompt
from app.link import View, read_link
from app.lives import family_of, kinship, space
from app.surprise import Token, shade, surprises
from app.votes import shuffled
from selves.lineage import list_ages
from selves.settings import House
from selves.speech import Sampling
from serving.voice import Voice
from training.hub import Receipt
from training.prune import remove
from training.receipts import add_receipt

ADDRESSES = ("tiny@base-000000", "tiny@base-000004", "tiny@chat-000008")


@given(
    prompt=st.text(min_size=1),
    seed=st.integers(0, 2**31 - 1),
    tokens=st.integers(1, 512),
    temperature=st.integers(0, 40),
    life=st.booleans(),
    scene_id=st.none() | st.integers(1, 2**31),
)
def test_a_link_gives_the_view_back(
    prompt: str, seed: int, tokens: int, temperature: int, life: bool, scene_id: int | None
) -> None:
    sampling = Sampling(max_tokens=tokens, temperature=temperature / 20, seed=seed)
    question = Question(prompt=prompt, addresses=ADDRESSES, sampling=sampling)
    view = View(question=question, show="life" if life else "columns", scene_id=scene_id)
    assert read_link(view.as_query()) == view


@given(
    st.dictionaries(st.sampled_from(["ages", "prompt", "seed", "temperature", "tokens", "scene"]), st.text())
)
def test_a_link_with_nonsense_in_it_is_no_error(query: dict[str, str]) -> None:
    read_link({"prompt": "x", "ages": "tiny@base-000000", **query})


@given(st.lists(st.builds(Token, st.text(), st.floats(0, 99)), max_size=20))
def test_shaded_words_hold_no_markup_of_their_own(tokens: list[Token]) -> None:
    html = shade(tokens)
    assert html.count("<") == html.count(">") == 2 * len(tokens) + 2


@given(st.integers(1, 200), st.integers(2, 24))
def test_a_long_life_is_walked_through_from_end_to_end(ages: int, most: int) -> None:
    life = [f"a{n}" for n in range(ages)]
    some = spread(life, most)
    assert len(some) == min(ages, most)
    assert (some[0], some[-1]) == (life[0], life[-1])
    assert sorted(set(some), key=life.index) == some


def test_a_blind_order_is_drawn_and_the_same_again() -> None:
    orders = {shuffled(ADDRESSES, str(n)) for n in range(50)}
    assert len(orders) == 6
    assert shuffled(ADDRESSES, "x") == shuffled(ADDRESSES[::-1], "x")


@pytest.mark.parametrize("address", ["tiny@base-000004", "tiny@chat-000008"])
async def test_the_surprise_of_the_tokens_is_that_of_the_whole(
    served_house: House, url: str, address: str
) -> None:
    async with Voice(url) as voice:
        prompt = make_prompt(await voice.info(address), "<Ash> Hi!")
        said = await voice.say(address, prompt, Sampling(max_tokens=12, temperature=1, seed=3))
    tokens = await surprises(url, "", said)
    assert len(tokens) == len(said.token_ids)
    nats = sum(token.bits for token in tokens) * 0.6931471805599453
    assert nats / len(tokens) == pytest.approx(-(said.mean_logprob or 0), rel=1e-3)


async def test_work_that_nobody_looks_at_is_ended() -> None:
    ended = asyncio.Event()

    async def sing() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    await Watch().over(sing(), limit_s=0.05)
    assert ended.is_set()


def test_every_age_is_somewhere_and_the_family_is_drawn(checkpoints: Path, tmp_path: Path) -> None:
    copy = tmp_path / "checkpoints"
    shutil.copytree(checkpoints, copy)
    newborn, child, *_, newest = list_ages(copy)
    files = {"kind": "model", "commit": "0" * 40, "files": {}, "bytes": 1}
    sent = [
        Receipt(
            what=age.card.address, endpoint="https://hub", repo="me/tiny", revision=age.address.age, **files
        )
        for age in (child, newest)
    ]
    remove(newborn)
    remove(child, sent[0])
    add_receipt(copy / "tiny", sent[1])
    ages = list_ages(copy, away=True)
    where = {row.address: row.where for row in space(copy, ages)}
    assert where[newborn.card.address].startswith("let go, ")
    assert where[child.card.address] == "on the Hub: me/tiny"
    assert where[newest.card.address] == "here, and on the Hub: me/tiny"
    assert set(where.values()) >= {"here"}
    assert all(row.bytes > 0 for row in space(copy, ages))

    card = newest.card.model_copy(update={"address": "kin@base-000001", "parent": newest.card.address})
    tree = kinship([*ages, newest._replace(card=card)])
    assert '"tiny" -> "kin" [label="chat-000008"];' in tree
    assert f"tiny\\n{len(ages)} ages" in tree

    kin = newest._replace(card=card)
    assert family_of("tiny", [kin, *ages]) == [*ages, kin]
    assert family_of("kin", [kin, *ages]) == [newest, kin]
