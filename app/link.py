"""A link that reproduces a view of one prompt and n ages: all that decides it is in the address bar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from app.chorus import NAME, Question
from memory.store import Store
from selves.errors import SelvesError, StoreError
from selves.speech import Frozen, Sampling

Show = Literal["columns", "life"]
AGES_AT_MOST = 64


class View(Frozen):
    """What the page shows."""

    question: Question
    show: Show = "columns"
    scene_id: int | None = None
    """Where the answers were kept."""

    def as_query(self) -> dict[str, str]:
        """Return the view as parameters of a link."""
        question, sampling = self.question, self.question.sampling
        query = {
            "ages": " ".join(question.addresses),
            "prompt": question.prompt,
            "seed": str(sampling.seed),
            "temperature": f"{sampling.temperature:g}",
            "tokens": str(sampling.max_tokens),
            "show": self.show,
        }
        return query if self.scene_id is None else {**query, "scene": str(self.scene_id)}


def read_link(query: Mapping[str, str]) -> View | None:
    """Return the view that a link's parameters say; None when they say none, or nonsense (pure)."""
    ages = tuple(dict.fromkeys(query.get("ages", "").split()))[:AGES_AT_MOST]
    if not ages or not query.get("prompt"):
        return None
    try:
        return View(
            question=Question(
                prompt=query["prompt"],
                addresses=ages,
                sampling=Sampling(
                    max_tokens=min(512, int(query.get("tokens", "64"))),
                    temperature=min(2.0, float(query.get("temperature", "0.8"))),
                    seed=int(query.get("seed", "1")),
                ),
            ),
            show="life" if query.get("show") == "life" else "columns",
            scene_id=int(query["scene"]) if "scene" in query else None,
        )
    except (ValueError, OverflowError):
        return None


async def find_kept(store: Store, view: View) -> bool:
    """Whether the scene that a link names holds the answers to its question. Raises StoreError."""
    if view.scene_id is None:
        return False
    try:
        scene = await store.scene(view.scene_id)
    except SelvesError as error:
        if isinstance(error, StoreError) and "there is no scene" in error.problem:
            return False
        raise
    asked = next((m for m in await store.messages(scene.id, last=None) if m.human), None)
    return scene.name == NAME and asked is not None and asked.text == view.question.prompt
