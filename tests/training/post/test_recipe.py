"""What a recipe of post-training may ask for."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tests.training.post.parts import MakePost
from training.plan import TRAINED
from training.post.recipe import TAKEN


@pytest.mark.parametrize("stage", [*TRAINED, "import"])
def test_no_age_is_called_as_those_that_were_raised_or_brought_in(make_post: MakePost, stage: str) -> None:
    assert stage in TAKEN
    with pytest.raises(ValidationError, match=f"stage '{stage}' is of a self that is raised or brought in"):
        make_post(stage=stage)
