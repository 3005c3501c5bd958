"""Growing old, and merging: ages that come of weights alone, without anything being learned.

An ageing self is drawn step by step toward random weights, toward noise, or back toward an age that it once
was. Almost all of a life passes in the first tenth of that way, so the ages are spaced by what they can still
do: a mean log-probability (`decline`) falls by the same amount from each to the next; bisection finds where.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from selves.errors import AgeError, ConfigError, TrainingError
from selves.lineage import Address, age_name, find_age, read_age
from selves.settings import House
from selves.speech import seed_from
from training.figure import Figure, mean
from training.imports import load_model
from training.post import figures, keeping, models, probing, resume
from training.post.decline import yardstick
from training.post.models import Base
from training.post.recipe import PostRecipe
from training.watch import Watch

WAY = "share of the way"
ROUNDS = 12
"""Of bisection: the way is known to a four-thousandth part."""


def make(recipe: PostRecipe, base: Base, house: House, watch: Watch, count: int) -> None:
    """Make the first `count` ages of an ageing, or a merge, where they are not there.

    Raises as `check`; DiskError.
    """
    check(recipe, base, house)
    model = models.load(base, recipe.seed)
    if recipe.method == "merge":
        merge(model, recipe, house)
        _keep(recipe, base, house, watch, model, 1, recipe.base, [])
        return
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    end = destination(recipe, base, house, start)
    name, ask = yardstick(recipe, model, base)

    def at(share: float) -> float:
        blend(model, start, end, share)
        each = ask(model)
        return sum(each) / len(each)

    def measured(share: float) -> list[Figure]:
        blend(model, start, end, share)
        way = Figure(name=WAY, value=share, low=share, high=share, n=1, higher_is_better=False)
        asked = figures.measure(recipe, model, base.tokenizer, base.ends, base.form, [])
        asked += probing.measure(recipe, model, base.tokenizer, base.ends)
        return [way, mean(name, ask(model)), *asked]

    watch.tell(f"looking for {recipe.ageing.ages} ages between here and {recipe.ageing.until:g} of the way")
    shares = spaced(at, recipe.ageing.ages, recipe.ageing.until, _gone(recipe, house), count)
    before = measured(0.0)
    parent = base.age.card.address
    for number, share in enumerate(shares, 1):
        folder = house.checkpoints / recipe.lineage / age_name(recipe.stage_name, number)
        if not resume.is_made(folder):
            _keep(recipe, base, house, watch, model, number, parent, measured(share), before)
        parent = str(Address(recipe.lineage, folder.name))


def check(recipe: PostRecipe, base: Base, house: House) -> None:
    """Find what is wrong before the long way: by shapes, without weights.

    Raises AgeError, ConfigError, UsageError.
    """
    others = recipe.merge.others
    if recipe.method == "ageing":
        probing.questions(recipe, base.form)
        others = () if recipe.ageing.toward in ("init", "noise") else (recipe.ageing.toward,)
    own = models.outline(base.folder).state_dict()
    for address in others:
        age = find_age(house.checkpoints, address)
        if age.card.adapter_of is not None:
            raise ConfigError(
                f"{address} is an adapter, so it has no weights of its own",
                'fold it first: method = "merge" with it as base',
            )
        _fitting(models.outline(age.folder).state_dict(), own, address)


def spaced(
    at: Callable[[float], float], ages: int, until: float, known: Sequence[float] = (), count: int = 0
) -> list[float]:
    """Return how far each of the first `count` ages goes (0: of all), the last of all to `until`, so that
    `at` falls evenly from age to age. How far the first ones went may be `known`.

    Raises TrainingError if it does not fall.
    """
    count = count or ages
    if len(known) >= count:
        return list(known[:count])
    first, last = at(0.0), at(until)
    if not last < first:
        raise TrainingError(
            f"at {until:g} of the way nothing is less likely to it: {last:.3f} nats, {first:.3f} before",
            "raise `until` in [ageing], or measure by something that it knows",
        )
    shares = list(known)
    for number in range(len(known) + 1, min(ages, count + 1)):
        wanted = first + (last - first) * number / ages
        low, high = (shares[-1] if shares else 0.0), until
        for _ in range(ROUNDS):
            middle = (low + high) / 2
            if at(middle) > wanted:
                low = middle
            else:
                high = middle
        shares.append((low + high) / 2)
    return [*shares, until][:count]


def _gone(recipe: PostRecipe, house: House) -> list[float]:
    """Return how far those ages went that are there, up to the first that is not."""
    found = []
    for number in range(1, recipe.ageing.ages + 1):
        folder = house.checkpoints / recipe.lineage / age_name(recipe.stage_name, number)
        if not folder.exists():
            break
        after = read_age(folder).read_json(keeping.FIGURES_FILE)["after"]
        found += [figure["value"] for figure in after if figure["name"] == WAY]
    return found


def destination(recipe: PostRecipe, base: Base, house: House, start: dict[str, Any]) -> dict[str, Any]:
    """Return the weights that an ageing self is drawn to. Raises AgeError where they do not fit."""
    import torch

    toward = recipe.ageing.toward
    if toward == "noise":
        source = torch.Generator().manual_seed(seed_from("ageing", recipe.seed))
        drawn = {name: torch.randn(tensor.shape, generator=source) for name, tensor in start.items()}
        return {
            name: tensor + (tensor.float().std(unbiased=False) * drawn[name]).to(tensor.dtype)
            for name, tensor in start.items()
        }
    if toward == "init":
        from transformers import AutoConfig, AutoModelForCausalLM, set_seed

        set_seed(recipe.seed)
        fresh: Any = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(str(base.folder)))
        return _fitting(fresh.float().state_dict(), start, "random weights")
    other = find_age(house.checkpoints, toward)
    return _fitting(load_model(other.folder).float().state_dict(), start, toward)


def _fitting(found: dict[str, Any], start: dict[str, Any], of: str) -> dict[str, Any]:
    for name, tensor in start.items():
        if name not in found or found[name].shape != tensor.shape:
            raise AgeError(
                f"{of} is of another shape: {name} differs", "name an age of the same architecture"
            )
    return {name: tensor.to(start[name]) for name, tensor in found.items() if name in start}


def blend(model: Any, start: dict[str, Any], end: dict[str, Any], share: float) -> None:
    """Put (1 - share) start + share end into a model; 0 is the start bit for bit."""
    import torch

    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            tensor.copy_(start[name] if share == 0 else torch.lerp(start[name], end[name], share))


def merge(model: Any, recipe: PostRecipe, house: House) -> None:
    """Make a model the mean of itself and others. Raises AgeError where one is of another shape."""
    import torch

    told = recipe.merge.weights or (1.0,) * (len(recipe.merge.others) + 1)
    shares = [weight / sum(told) for weight in told]
    own = model.state_dict()
    summed = {name: tensor.float() * shares[0] for name, tensor in own.items()}
    for address, share in zip(recipe.merge.others, shares[1:], strict=True):
        other = find_age(house.checkpoints, address)
        for name, tensor in _fitting(load_model(other.folder).state_dict(), own, address).items():
            summed[name] += tensor.float() * share
    if recipe.merge.others:
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(summed[name])


def _keep(
    recipe: PostRecipe,
    base: Base,
    house: House,
    watch: Watch,
    model: Any,
    number: int,
    parent: str,
    after: Sequence[Figure],
    before: Sequence[Figure] = (),
) -> None:
    folder = house.checkpoints / recipe.lineage / age_name(recipe.stage_name, number)
    facts = keeping.Facts(
        address=str(Address(recipe.lineage, folder.name)),
        parent=parent,
        tokens_seen=0,
        train_loss=None,
        sources=base.age.card.sources,
        before=before,
        after=after,
    )
    models.check_finite(model, folder.name)
    watch.age(*keeping.keep(folder, recipe, base, model, facts))
