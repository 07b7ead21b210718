"""The puzzle tasks by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module
from typing import cast

from rlvr.puzzles import (
    binario,
    campsite,
    hamiltonian_cycle,
    hamiltonian_path,
    hitori,
    light_up,
    magic_square,
    minesweeper,
    skyscraper,
    slant,
    sliding_tiles,
    stack_permutation,
    star_battle,
    tic_tac_toe,
    twiddle,
)
from rlvr.puzzles.base import Task

TASKS: Mapping[str, Task] = {
    "binario": binario,
    "campsite": campsite,
    "hamiltonian_cycle": hamiltonian_cycle,
    "hamiltonian_path": hamiltonian_path,
    "hitori": hitori,
    "light_up": light_up,
    "magic_square": magic_square,
    "minesweeper": minesweeper,
    "skyscraper": skyscraper,
    "slant": slant,
    "sliding_tiles": sliding_tiles,
    "stack_permutation": stack_permutation,
    "star_battle": star_battle,
    "tic_tac_toe": tic_tac_toe,
    "twiddle": twiddle,
}


def task(name: str) -> Task:
    """The task of that name, or the module of that dotted name, such as ``my_puzzles.nurikabe``.

    Raises:
        ValueError: there is none, or it lacks ``generate`` or ``verify``.
    """
    if name in TASKS:
        return TASKS[name]
    if "." not in name:
        close = difflib.get_close_matches(name, TASKS, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ValueError(
            f"task {name!r}: there is no such puzzle; {hint}there are {', '.join(TASKS)}. A task "
            "of your own is named by its module, with dots"
        )
    try:
        module = import_module(name)
    except ImportError as error:
        raise ValueError(
            f"task {name!r}: its module cannot be imported ({error}); name one that Python finds"
        ) from error
    lacking = [part for part in ("generate", "verify") if not callable(getattr(module, part, None))]
    if lacking:
        raise ValueError(
            f"task {name!r}: the module has no {' and no '.join(lacking)}; see rlvr.puzzles.base"
        )
    return cast(Task, module)
