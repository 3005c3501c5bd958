"""A dry run refuses what the run would refuse, and says why."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from selves.errors import AgeError, ConfigError, SelvesError, UsageError
from selves.lineage import find_age
from selves.settings import House
from tests.training.post.parts import BASE, MakePost
from training.post.dry import describe

NOBODY = "nobody@chat-000001"
JUDGED = {"functions": ["training.post.judging:liked"], "group": 4, "options": {"judge": NOBODY}}


@pytest.mark.parametrize(
    ("method", "changes", "error", "problem"),
    [
        ("sft", {"lora": {"targets": ["nope"]}}, ConfigError, "PEFT does not take this: .*nope"),
        ("sft", {"diary": {"kinds": ["haiku"]}}, ConfigError, "no kind of writing called 'haiku'"),
        ("sft", {"probes": {"rewards": ["training.post.rewards:exact"]}}, SelvesError, "exact failed"),
        ("grpo", {"reward": JUDGED}, AgeError, f"there is no age {NOBODY}"),
        ("grpo", {"reward": JUDGED | {"options": {"judge": BASE}}}, AgeError, f"{BASE} is no judge"),
        ("distill", {"distill": {"teacher": NOBODY}}, AgeError, f"there is no age {NOBODY}"),
        ("ageing", {"ageing": {"toward": "nose"}}, UsageError, "nose"),
        ("ageing", {"ageing": {"toward": NOBODY}}, AgeError, f"there is no age {NOBODY}"),
        ("ageing", {"ageing": {"toward": "short@base-000000"}}, AgeError, "is of another shape"),
        ("ageing", {"probes": {"traits": ["haughty"]}}, UsageError, "there is no trait 'haughty'"),
        ("ageing", {"diary": {"kinds": ["haiku"]}}, ConfigError, "no kind of writing called 'haiku'"),
        ("merge", {"merge": {"others": ["short@base-000000"]}}, AgeError, "is of another shape"),
        ("merge", {}, ConfigError, "would be copied as it is"),
    ],
)
def test_what_a_run_would_refuse_is_refused(
    post_house: House,
    make_post: MakePost,
    method: str,
    changes: dict[str, Any],
    error: type[SelvesError],
    problem: str,
) -> None:
    short = post_house.checkpoints / "short" / "base-000000"
    shutil.copytree(find_age(post_house.checkpoints, "tiny@base-000000").folder, short)
    for name, other in (
        ("config.json", {"intermediate_size": 8}),
        ("age.json", {"address": "short@base-000000"}),
    ):
        (short / name).write_text(json.dumps(json.loads((short / name).read_text("utf-8")) | other), "utf-8")
    with pytest.raises(error, match=problem):
        describe(make_post(method, **changes), post_house, 1)


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("ageing", {"ageing": {"toward": "tiny@base-000000"}}),
        ("merge", {"merge": {"others": ["tiny@base-000000"]}}),
        ("merge", {"base": "tiny@base-000000", "template": "chat.jinja"}),
        ("distill", {"distill": {"teacher": "tiny@base-000000"}}),
        ("grpo", {}),
    ],
)
def test_what_a_run_would_do_is_told(
    post_house: House, make_post: MakePost, method: str, changes: dict[str, Any]
) -> None:
    shutil.copyfile(find_age(post_house.checkpoints, BASE).folder / "chat_template.jinja", "chat.jinja")
    assert f"quill: {method} from" in describe(make_post(method, **changes), post_house, 1)
