"""`selves ages import`: which kind of model it is, and what is printed when it has become an age."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console

from selves.errors import UsageError
from selves.lineage import Address, Age, list_ages
from selves.settings import House
from training.words import summarise


def take_in(options: argparse.Namespace, house: House) -> None:
    from training.adapters import import_adapter
    from training.imports import ELDERS, import_elder, import_folder
    from training.nanochat import import_nanochat
    from training.steps import step_folders

    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    before = {age.card.address for age in list_ages(house.checkpoints)}
    what, name = options.what, options.address
    if what == "nanochat":
        if options.folder is None:
            raise UsageError(
                "which nanochat?",
                "for example: selves ages import nanochat ~/.cache/nanochat/base_checkpoints/d12",
            )
        age = import_nanochat(options.folder.expanduser(), name, options.step, house, console.print)
    elif what == "adapter":
        if options.folder is None or options.of is None or name is None:
            raise UsageError(
                "which adapter, on which age, and what is it called?",
                "for example: selves ages import adapter my-lora --of ember@chat-000150 --as ember-gruff",
            )
        age = import_adapter(options.folder.expanduser(), options.of, name, house, console.print)
    elif options.folder is not None or options.step is not None:
        raise UsageError(
            "a second folder is for nanochat and adapters, --step for nanochat",
            f"selves ages import {what} --as ADDRESS",
        )
    elif what in ELDERS and name is None:
        age = import_elder(what, house, console.print)
    elif name is None:
        raise UsageError(
            f"{what} needs an address here",
            f"for example: selves ages import {what} --as elder@import-000000",
        )
    elif "@" not in name and step_folders(Path(what).expanduser()):
        _import_steps(Path(what).expanduser(), options, house, console)
        return
    else:
        age = import_folder(Path(what).expanduser(), Address.parse(name), house, console.print)
    if age.card.address in before:
        console.print(f"nothing to do: {age.card.address} is here already")
    if options.json:
        print(json.dumps(summarise(age), ensure_ascii=False))
    else:
        print(f"{age.card.address:<28} {age.card.parameters:,} parameters")


def _import_steps(source: Path, options: argparse.Namespace, house: House, console: Console) -> None:
    """Take in the steps of a run, and tell of each as it comes."""
    from training.steps import import_steps

    assets = options.assets.expanduser() if options.assets else None
    new: list[Age] = []
    for age in import_steps(source, options.address, house, console.print, assets):
        new.append(age)
        if not options.json:
            print(f"{age.card.address:<28} {age.card.parameters:,} parameters", flush=True)
    if options.json:
        print(json.dumps([summarise(age) for age in new], ensure_ascii=False))
    if not new:
        console.print("nothing to do: every whole step is here already")
