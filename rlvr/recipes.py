"""From the command line to a run's settings.

    schema <- recipe (<- the recipe it extends) <- over=... <- key=value ... -> checks -> RunConfig

The overrides are written in hydra's grammar. They are laid over the recipe as one more recipe
that extends it, so what a recipe can say the command line can say as well, and in one meaning.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from rlvr.config import ConfigError, OptimizerConfig, RunConfig
from rlvr.config_checks import check
from rlvr.model_directory import is_local

RECIPES = Path(__file__).parents[1] / "recipes"
LAYERS = RECIPES / "over"
"""Settings that go with any recipe, such as those of another machine and its data."""


def load(argv: Sequence[str], *, model: bool = True) -> RunConfig:
    """The checked settings of ``recipe=NAME key=value ...``; local paths in them are absolute.

    ``over=NAME`` lays a file of ``recipes/over/``, or any .yaml file, between the two.
    Without ``model`` a run that has none yet passes: its rewards and problems need none.

    Raises:
        ConfigError: says each value that can't work, why, and what to do.
    """
    overrides = [_parsed(word) for word in argv]
    chosen = [override for override in overrides if override.key_or_group == "recipe"]
    if len(chosen) != 1:
        raise ConfigError(
            f"recipe: {'missing' if not chosen else 'given more than once'}; "
            f"start with recipe=NAME, one of {', '.join(names())}"
        )
    name = str(chosen[0].value())
    settings = recipe(name)
    for override in overrides:
        if override.key_or_group == "over":
            layered = _where_present(layer(str(override.value())), settings, RunConfig)
            settings = over(settings, layered)
    overrides = [word for word in overrides if word.key_or_group not in ("recipe", "over")]
    for override in overrides:
        if override.is_delete():
            _remove(settings, override)
    own: dict[str, Any] = {}
    for override in overrides:
        if not override.is_delete():
            own = over(own, _nested(override))
    run = _typed(over(settings, own))
    run.recipe_name = run.recipe_name or Path(name).stem
    _make_paths_absolute(run)
    check(run, model=model)
    return run


def as_yaml(run: RunConfig) -> str:
    """All settings with nothing left to resolve: what the run folder keeps."""
    return OmegaConf.to_yaml(OmegaConf.create(_plain(run)))


def names() -> list[str]:
    """The recipes of the repository."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def recipe(name: str) -> dict[str, Any]:
    """A recipe's settings, over those of the recipe that it ``extends``.

    ``name`` is a file of ``recipes/`` without its ending, or a path to a .yaml file.

    Raises:
        ConfigError: there is no such recipe, it is not YAML, or it extends itself.
    """
    return _recipe(name, Path.cwd(), ())


def layer(name: str) -> dict[str, Any]:
    """What ``over=NAME`` lays over a recipe.

    Raises:
        ConfigError: there is no such file, or it is not YAML.
    """
    if name.endswith((".yaml", ".yml")):
        return recipe(name)
    path = LAYERS / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(path.stem for path in LAYERS.glob("*.yaml")))
        raise ConfigError(
            f"over={name}: there is no {path}; there are {known}, and your own is named by its "
            "path, ending in .yaml"
        )
    return recipe(str(path))


def over(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """``own`` laid over ``base``, except that a plug-in naming another class starts afresh.

    A plain merge would hand the new class the old one's arguments: an error where it has no such
    argument, and a wrong value without a word where it has one of the same name. Settings that
    are laid over a bare ``file.py:function`` are said of it, as if it had been written as ``path``.
    """
    merged = dict(base)
    for key, value in own.items():
        old = base.get(key)
        if isinstance(value, dict) and isinstance(old, str) and ".py:" in old:
            old = {"path": old}
        elif isinstance(old, dict) and isinstance(value, str) and ".py:" in value:
            value = value if _named(cast(dict[str, Any], old)) else {"path": value}
        if isinstance(value, dict) and isinstance(old, dict):
            new, was = cast(dict[str, Any], value), cast(dict[str, Any], old)
            named = {name for node in (was, new) if (name := _named(node))}
            merged[key] = new if len(named) == 2 else over(was, new)
        else:
            merged[key] = value
    return merged


def _named(node: dict[str, Any]) -> str:
    """The class or the function that a plug-in node names; empty where it names none."""
    path = node.get("path")
    function = path if isinstance(path, str) and ".py:" in path else ""
    return str(node.get("_target_", function))


def known_keys() -> list[str]:
    """Every setting of the schema by its full key; a plug-in's arguments are its class's own."""
    return sorted(_keys(RunConfig, ""))


def _recipe(name: str, beside: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    named = beside / Path(name).expanduser()
    path = named if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if not path.is_file():
        near = difflib.get_close_matches(name, names(), n=1)
        raise ConfigError(
            f"recipe={name}: there is no {path}"
            + (f"; did you mean {near[0]}?" if near else "")
            + f" Recipes: {', '.join(names())}; your own is named by its path, ending in .yaml"
        )
    if path.resolve() in seen:
        chain = " -> ".join(p.stem for p in (*seen, path))
        raise ConfigError(f"recipe={seen[0].stem}: it extends itself ({chain}); break the circle")
    try:
        loaded: Any = OmegaConf.to_container(OmegaConf.load(path))
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"recipe {path}: not YAML that can be read: {reason}") from error
    if not isinstance(loaded, dict):
        raise ConfigError(f"recipe {path}: it holds no settings; write key: value lines")
    own = cast(dict[str, Any], loaded)
    base = own.pop("extends", None)
    if base is None:
        return own
    return over(_recipe(str(base), path.parent, (*seen, path.resolve())), own)


def _where_present(own: dict[str, Any], base: dict[str, Any], section: type[Any]) -> dict[str, Any]:
    """``own`` without the sections that ``base`` does without, such as a critic: what suits any
    recipe must not give one a part that its method has not."""
    kept = dict(own)
    for name, hint in get_type_hints(section).items():
        kind, inside, there = _section(hint), own.get(name), base.get(name)
        if kind is None or not isinstance(inside, dict):
            continue
        if kind is not hint and there is None:
            del kept[name]
        else:
            beneath = cast(dict[str, Any], there) if isinstance(there, dict) else {}
            kept[name] = _where_present(cast(dict[str, Any], inside), beneath, kind)
    return kept


def _parsed(word: str) -> Override:
    if word.startswith("-"):
        raise ConfigError(
            f"{word}: settings are written key=value, without dashes, such as steps=100"
        )
    try:
        override = OverridesParser.create().parse_override(word)
        if override.is_sweep_override():
            raise ConfigError(
                f"{word}: several values make several runs; start one run for each. "
                f"A list is written {override.get_key_element()}=[...]"
            )
        if override.package is not None:
            raise ConfigError(f"{word}: a key has no @; write {override.key_or_group}=VALUE")
        override.value()
    except HydraException as error:
        reason = str(error).splitlines()[0]
        key, equals, value = word.partition("=")
        remedy = f"quote the value: '{key}=\"{value}\"'" if equals else f"write {word}=VALUE"
        raise ConfigError(f"{word}: it can't be read ({reason}); {remedy}") from error
    return override


def _nested(override: Override) -> dict[str, Any]:
    node: Any = override.value()
    for part in reversed(override.key_or_group.split(".")):
        node = {part: node}
    return cast(dict[str, Any], node)


def _remove(settings: dict[str, Any], override: Override) -> None:
    node = settings
    *parents, last = override.key_or_group.split(".")
    for part in parents:
        node = cast(dict[str, Any], node.get(part, {}))
    if last not in node:
        raise ConfigError(
            f"~{override.key_or_group}: the recipe does not set it, so there is nothing to remove"
        )
    del node[last]


def _typed(settings: dict[str, Any]) -> RunConfig:
    _check_sections(settings, RunConfig, "")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(RunConfig), settings)
        run = cast(RunConfig, OmegaConf.to_object(merged))
    except ConfigKeyError as error:
        key = error.full_key or str(error.key)
        raise ConfigError(f"{key}: there is no such setting{_nearest_key(key)}") from error
    except MissingMandatoryValue as error:
        raise ConfigError(
            f"{error.full_key}: it has no default; set it in the recipe or add "
            f"{error.full_key}=VALUE"
        ) from error
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{error.full_key}: {reason}; give it a value that fits") from error
    for key, optimizer in _optimizers(run):
        betas: Sequence[float] = optimizer.betas
        if len(betas) != 2:
            raise ConfigError(f"{key}.betas={list(betas)}: Adam takes 2, got {len(betas)}")
        optimizer.betas = (betas[0], betas[1])
    return run


def _optimizers(run: RunConfig) -> Iterator[tuple[str, OptimizerConfig]]:
    yield "learner.optimizer", run.learner.optimizer
    if run.learner.critic is not None:
        yield "learner.critic.optimizer", run.learner.critic.optimizer


def _nearest_key(key: str) -> str:
    """The settings that the key may have meant: one of that last word elsewhere, or alike."""
    known = known_keys()
    last = key.rpartition(".")[2]
    words = {name.rpartition(".")[2] for name in known}
    meant = [last] if last in words else difflib.get_close_matches(last, words, n=2, cutoff=0.7)
    found = [name for name in known if name.rpartition(".")[2] in meant]
    found.sort(key=lambda name: -difflib.SequenceMatcher(None, key, name).ratio())
    found = found or difflib.get_close_matches(key, known, n=1)
    shown = " or ".join(found[: 3 if last in words else 1])
    return f"; did you mean {shown}?" if shown else "; rlvr/config.py lists all"


def _check_sections(settings: dict[str, Any], section: type[Any], prefix: str) -> None:
    for name, hint in get_type_hints(section).items():
        kind = _section(hint)
        if kind is not None and name in settings:
            value, inside = settings[name], f"{prefix}{name}"
            if value is None and kind is not hint:
                continue
            if not isinstance(value, dict):
                raise ConfigError(
                    f"{inside}={value}: it is a section; set what is in it, such as "
                    f"{inside}.{fields(kind)[0].name}=VALUE"
                )
            _check_sections(cast(dict[str, Any], value), kind, f"{inside}.")


def _section(hint: Any) -> type[Any] | None:
    """The section that a setting is, or may be in place of null."""
    kinds = [hint, *get_args(hint)]
    return next((cast(type[Any], kind) for kind in kinds if is_dataclass(kind)), None)


def _keys(section: type[Any], prefix: str) -> Iterator[str]:
    hints = get_type_hints(section)
    for item in fields(section):
        yield f"{prefix}{item.name}"
        if (kind := _section(hints[item.name])) is not None:
            yield from _keys(kind, f"{prefix}{item.name}.")


def _make_paths_absolute(run: RunConfig) -> None:
    """Workers on other machines, and a resume from elsewhere, must find the same files."""
    if is_local(run.model):
        run.model = os.path.abspath(os.path.expanduser(run.model))
    if isinstance(run.reward, str):
        run.reward = _absolute_function(run.reward)
    elif isinstance(run.reward, dict):
        node = cast(dict[str, Any], run.reward)
        if isinstance(node.get("path"), str):
            node["path"] = _absolute_function(node["path"])
    if run.run_dir:
        run.run_dir = os.path.abspath(os.path.expanduser(run.run_dir))
    if run.checkpoint.resume not in ("auto", "never"):
        run.checkpoint.resume = os.path.abspath(os.path.expanduser(run.checkpoint.resume))


def _absolute_function(place: str) -> str:
    path, colon, name = place.rpartition(":")
    if not path.endswith(".py"):
        return place
    return f"{os.path.abspath(os.path.expanduser(path))}{colon}{name}"


def _plain(run: RunConfig) -> dict[str, Any]:
    settings = asdict(run)
    for key, optimizer in _optimizers(run):
        node: dict[str, Any] = settings
        for part in key.split("."):
            node = node[part]
        node["betas"] = list(optimizer.betas)
    return settings
