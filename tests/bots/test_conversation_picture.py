"""The picture of a conversation holds every word, inside its frame."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory.show import visible

SCRIPT = Path(__file__).parents[2] / "docs" / "make_conversation.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = spec_from_file_location("make_conversation", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@given(text=st.text(max_size=300))
def test_no_letter_is_lost_and_every_line_fits(script: Any, text: str) -> None:
    lines = script.wrap(text)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(script.width_of(line) <= script.TEXT_WIDTH for line in lines)


@given(text=st.text(min_size=1, max_size=60))
def test_whatever_is_said_the_picture_can_be_read(script: Any, text: str) -> None:
    said = script.Said("Ember", "ember@chat-000150", "#c0392b", visible(text))
    picture = ElementTree.fromstring(script.draw("<Tea & talk>", "", [said, said]))
    words = "".join(
        "".join(element.itertext()) for element in picture.iter("{http://www.w3.org/2000/svg}text")
    )
    assert "".join(visible(text).split()) in "".join(words.split())
