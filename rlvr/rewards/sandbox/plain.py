"""Plain values on their way out of a process that nobody trusts.

JSON that keeps tuples, sets and keys of any type apart; reading it runs nothing.
"""

from __future__ import annotations

# Annotations alone need more; these imports are paid for by every sandbox that starts.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MANY: dict[Any, str] = {list: "list", tuple: "tuple", set: "set", frozenset: "set"}
MAX_HASHED = 2000
"""Entries of a set or dict: chosen to collide, many of them would take the reader for ever."""


def encoded(value: Any) -> Any:
    """A plain value as JSON that keeps tuples, sets and keys of any type apart.

    Raises:
        TypeError: it holds something that is not plain.
    """
    if value is None or isinstance(value, bool):
        return value
    # By the methods of the plain types: a subclass may have written its own.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float.__pos__(value)
    if isinstance(value, int):
        whole = int.__pos__(value)
        return whole if -(1 << 64) < whole < 1 << 64 else {"int": hex(whole)}
    held: Any = value
    if isinstance(value, dict):
        return {"dict": [[encoded(key), encoded(item)] for key, item in held.items()]}
    for kind in _MANY:
        if isinstance(value, kind):
            return {_MANY[kind]: [encoded(item) for item in kind.__iter__(held)]}
    if isinstance(value, complex):
        number = complex.__pos__(value)
        return {"complex": [number.real, number.imag]}
    if isinstance(value, bytes):
        return {"bytes": bytes.hex(value)}
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return encoded(value.tolist())
    raise TypeError(f"a result of type {type(value).__name__} is no plain value")


def decoded(value: Any) -> Any:
    """The plain value that ``encoded`` was given.

    Raises:
        ValueError: it is not what ``encoded`` returns.
    """
    if isinstance(value, list):
        raise ValueError("a bare list")
    entries: Any = value
    if not isinstance(value, dict):
        return entries
    ((kind, held),) = entries.items()
    if kind in ("dict", "set") and len(held) > MAX_HASHED:
        raise ValueError(f"a {kind} of {len(held)} entries")
    match kind:
        case "int":
            return int(held, 16)
        case "dict":
            return {decoded(key): decoded(item) for key, item in held}
        case "list":
            return [decoded(item) for item in held]
        case "tuple":
            return tuple(decoded(item) for item in held)
        case "set":
            return {decoded(item) for item in held}
        case "complex":
            return complex(*held)
        case "bytes":
            return bytes.fromhex(held)
        case _:
            raise ValueError(f"an unknown kind {kind!r}")


def copied(value: Any) -> Any:
    """The same value, made of nothing whose ``__eq__`` a program wrote."""
    return decoded(encoded(value))
