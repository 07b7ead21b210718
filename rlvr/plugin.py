"""Plug-ins: what a recipe's node names by ``_target_``, called with the node's other keys.

Standard library only, so that any process can build a plug-in.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from rlvr import plugin_files


class PluginError(ValueError):
    """A plug-in that can't be imported, or that doesn't take the arguments it is given."""


def build(node: Mapping[str, Any], **given: Any) -> Any:
    """Call what the node names with its other keys and with ``given``; nodes inside it first.

    Raises:
        PluginError: the node has no target, the target can't be imported, or it refuses a key.
        Exception: what the target itself raises about a value.
    """
    check(node, given)
    own = {key: _built(value) for key, value in node.items() if key != "_target_"}
    return locate(_target(node))(**{**own, **given})


def check(node: Mapping[str, Any], given: Iterable[str] = ()) -> None:
    """Refuse a node whose target can't be imported or can't take its keys, without calling it.

    ``given`` are the names of the arguments that the caller adds to the node's own.
    """
    target = _target(node)
    called = locate(target)
    try:
        parameters = inspect.signature(called).parameters.values()
    except ValueError:
        return  # A builtin without a signature checks its arguments when it is called.
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    added = list(given)
    own = [key for key in node if key != "_target_"]
    accepted = [name for name in names if name not in added]
    if twice := [key for key in own if key in added]:
        raise PluginError(f"{target}: {twice[0]} is given by the framework; remove it")
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for key in [*own, *added]:
            if key not in names:
                raise PluginError(
                    f"{target} takes no argument {key!r}{nearest(key, accepted)}; "
                    f"it takes {', '.join(accepted) or 'none'}"
                )
    required = [p.name for p in parameters if p.default is p.empty and p.name in names]
    if missing := [name for name in required if name not in own and name not in added]:
        raise PluginError(
            f"{target} needs {', '.join(missing)}; it takes {', '.join(accepted)}: "
            "add the missing to its node"
        )
    for value in node.values():
        _check_inside(value)


def locate(target: str) -> Callable[..., Any]:
    """What ``package.module.Name`` or ``path/to/file.py:Name`` names.

    Raises:
        PluginError: says which part of it does not exist, or why its import fails.
    """
    module, place, name = _module(target)
    found = getattr(module, name, None)
    if not callable(found):
        public = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise PluginError(
            f"{target}: {place} has no class or function {name!r}{nearest(name, public)}"
        )
    return cast(Callable[..., Any], found)


def attribute(target: str) -> Any:
    """What the module or file of ``target`` holds under its name, callable or not; None where it
    holds nothing.

    Raises:
        PluginError: there is no such module or file, or its import fails.
    """
    module, _, name = _module(target)
    return getattr(module, name, None)


def file_of(target: str) -> str | None:
    """The file that holds what ``target`` names, found without importing it; None where none."""
    place = target.rpartition(":" if ".py:" in target else ".")[0]
    if ".py:" in target:
        return place
    spec = importlib.util.find_spec(place)
    return spec.origin if spec is not None and spec.has_location else None


def nearest(word: str, choices: Iterable[str]) -> str:
    """``; did you mean ...?`` with the choice that is spelled most alike, or nothing."""
    match = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f"; did you mean {match[0]}?" if match else ""


def _module(target: str) -> tuple[ModuleType, str, str]:
    """The imported module that a target is in, its place, and the target's name in it."""
    if ".py:" in target:
        place, _, name = target.rpartition(":")
        return _import_file(Path(place), target), place, name
    place, _, name = target.rpartition(".")
    return _import(place, target), place, name


def _target(node: Mapping[str, Any]) -> str:
    target = node.get("_target_")
    if not isinstance(target, str) or not target.strip("."):
        raise PluginError(
            f"a plug-in names its class by _target_, such as rlvr.rewards.math.Math; "
            f"got _target_={target!r} beside {sorted(set(node) - {'_target_'})}"
        )
    return target


def _built(value: Any) -> Any:
    if isinstance(value, Mapping):
        inner = cast(Mapping[str, Any], value)
        if "_target_" in inner:
            return build(inner)
        return {key: _built(item) for key, item in inner.items()}
    return [_built(item) for item in cast(list[Any], value)] if isinstance(value, list) else value


def _check_inside(value: Any) -> None:
    if isinstance(value, Mapping):
        inner = cast(Mapping[str, Any], value)
        if "_target_" in inner:
            check(inner)
        else:
            for item in inner.values():
                _check_inside(item)
    elif isinstance(value, list):
        for item in cast(list[Any], value):
            _check_inside(item)


def _import(place: str, target: str) -> ModuleType:
    if not place:
        raise PluginError(
            f"{target}: a target is package.module.Name or path/to/file.py:Name, with all its parts"
        )
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if place != missing and not place.startswith(f"{missing}."):
            raise PluginError(_import_failed(target, error)) from error
        parent, _, leaf = missing.rpartition(".")
        siblings = pkgutil.iter_modules(sys.modules[parent].__path__ if parent else None)
        raise PluginError(
            f"{target}: there is no module {missing!r}"
            f"{nearest(leaf, [module.name for module in siblings])}"
        ) from error
    except (Exception, SystemExit) as error:
        raise PluginError(_import_failed(target, error)) from error


def _import_file(path: Path, target: str) -> ModuleType:
    if not path.is_file():
        near = nearest(path.name, [p.name for p in path.absolute().parent.glob("*.py")])
        raise PluginError(f"{target}: there is no file {path.absolute()}{near}")
    try:
        return plugin_files.load(path)
    except (Exception, SystemExit) as error:
        raise PluginError(_import_failed(target, error)) from error


def _import_failed(target: str, error: Exception | SystemExit) -> str:
    if isinstance(error, SyntaxError):
        place = f"{error.filename}:{error.lineno}"
    else:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{frame.filename}:{frame.lineno}"
    return f"{target}: its import fails with {type(error).__name__}: {error} ({place})"
