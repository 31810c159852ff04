"""The decorator of this package's value classes. Nothing else may live here.

``@value`` is ``attrs.frozen`` for the type checker and plain slotted ``attrs.define`` at run time:
assigning to a field is an error in mypy and pyright, while building an instance does not pay
``object.__setattr__`` for every field. One order update builds three of them, and a runtime-frozen
class made decoding one frame about a third slower. Instances compare and hash by value; treat them
as immutable, as the type checker does.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attrs import frozen as value
else:
    from functools import partial

    import attrs

    value = partial(attrs.define, unsafe_hash=True)

__all__ = ["value"]
