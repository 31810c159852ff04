"""The decorator of this package's value classes. Nothing else may live here.

``@value`` is ``attrs.frozen`` for the type checker and plain slotted ``attrs.define`` at run time:
assigning to a field is an error in mypy and pyright, while building an instance does not pay
``object.__setattr__`` for every field. One order update builds three of them, and a runtime-frozen
class made decoding one frame about a third slower. Instances compare and hash by value; treat them
as immutable, as the type checker does.

attrs writes the methods that compare, hash and print when the first instance of a class needs one
of them, and not before. Writing them all was a seventh of what it takes to import this package, and
most programs need those of a few classes.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

if TYPE_CHECKING:
    from attrs import frozen as value

__all__ = ["value"]

_METHODS: Final = ("__eq__", "__hash__", "__repr__")


def _value(cls: type | None = None, **options: Any) -> Any:
    if cls is None:
        return partial(_value, **options)
    own = [name for name in _METHODS if name not in vars(cls)]
    made: Any = attrs.define(cls, eq=False, repr=False, **options)
    for name in own:
        setattr(made, name, _at_first(made, own, name))
    return made


def _at_first(made: Any, names: Sequence[str], name: str) -> Callable[..., Any]:
    """Return a method that has attrs write those with these names, and gives its place to the one
    that was written."""

    def method(*arguments: Any) -> Any:
        present = cast("Mapping[str, Any]", vars(made))
        if present[name] is method:
            written = vars(_written(made))
            for each in names:
                setattr(made, each, written[each])
        return present[name](*arguments)

    return method


def _written(made: Any) -> type:
    """Return a class that compares, hashes and prints as another one should."""
    fields = {
        each.name: attrs.field(eq=each.eq_key or each.eq, hash=each.hash, repr=each.repr)
        for each in attrs.fields(made)
    }
    bare = type(made.__name__, (), {})
    return attrs.define(bare, these=fields, init=False, slots=False, unsafe_hash=True)


if not TYPE_CHECKING:
    value = _value
