"""Who is post-trained writes before it begins, on its way and after; and nothing is written twice."""

from __future__ import annotations

from selves.lineage import find_age, list_ages
from selves.settings import House
from tests.training.post.parts import BASE, MakePost
from training.post.run import train


def test_it_writes_before_on_its_way_and_after(post_house: House, make_post: MakePost) -> None:
    base = find_age(post_house.checkpoints, BASE)
    kept = len(base.writings())
    recipe = {"steps": 4, "ages": 2, "diary": {"kinds": [], "max_tokens": 3}}
    train(make_post(lineage="first", **recipe), post_house, threads=1)
    train(make_post(lineage="second", **recipe), post_house, threads=1)
    base = find_age(post_house.checkpoints, BASE)
    base.verify()
    before = base.writings()[kept:]
    assert {w.occasion for w in before} == {"before"}
    assert "last-words" in {w.kind for w in before}
    assert len({(w.kind, w.number) for w in base.writings()}) == len(base.writings()), (
        "the second wrote nothing"
    )
    assert all(w.utterance.weights_sha256 == base.card.weights_sha256 for w in before)
    *_, last = list_ages(post_house.checkpoints, "second")
    after = {w.kind: w for w in last.writings()}
    assert {w.occasion for w in after.values()} == {"after"}
    assert after["letter-past"].to == last.card.parent
