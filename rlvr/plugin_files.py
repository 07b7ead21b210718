"""Plug-ins from files: modules that no path leads to, known by their source.

A process that was told the sources imports such a module when it first unpickles something of it,
on whatever machine it runs; one that does not need it never runs it. Standard library only.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import ExecutionLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

PREFIX = "rlvr_plugin_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    path: str
    """Where it was read, for tracebacks."""
    code: bytes


def load(path: Path) -> ModuleType:
    """The module of a file, imported once in a process, as any other.

    Raises:
        Exception: whatever its import raises; a later call tries again.
    """
    found = path.resolve()
    # Files of one name in different folders are different modules.
    digest = hashlib.sha256(str(found).encode()).hexdigest()[:8]
    stem = re.sub(r"\W", "_", found.stem)
    name = f"{PREFIX}{stem}_{digest}"
    if name not in sys.modules:
        serve({name: Source(path=str(found), code=found.read_bytes())})
    return importlib.import_module(name)


def sources() -> dict[str, Source]:
    """Of the modules imported from files so far, by module name."""
    return {name: source for name, source in _FINDER.known.items() if name in sys.modules}


def serve(known: Mapping[str, Source]) -> None:
    """Let this process import these modules by their names."""
    _FINDER.known.update(known)
    if _FINDER not in sys.meta_path:
        sys.meta_path.append(_FINDER)


class _Finder(MetaPathFinder):
    def __init__(self) -> None:
        self.known: dict[str, Source] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        source = self.known.get(fullname)
        if source is None:
            return None
        return importlib.util.spec_from_file_location(
            fullname, source.path, loader=_Loader(fullname, source)
        )


class _Loader(ExecutionLoader):
    """From memory, for the file may have changed since, or lie on another machine."""

    def __init__(self, name: str, source: Source) -> None:
        self._name = name
        self._source = source

    def get_filename(self, fullname: str) -> str:
        return self._source.path

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self._source.code)

    def is_package(self, fullname: str) -> bool:
        return False


_FINDER = _Finder()
