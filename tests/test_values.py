"""The decorator of value classes: what it makes compares, hashes and prints as what attrs makes."""

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topone_proto._values import value


def classes(decorate: Any) -> list[type[Any]]:
    @decorate
    class Plain:
        a: object
        b: object = 0

    @decorate
    class Below(Plain):
        c: object = 0

    @decorate
    class Own:
        a: object
        b: object = 0

        def __repr__(self) -> str:
            return "of its own"

    @decorate
    class Partly:
        a: object = attrs.field(repr=False)
        b: object = attrs.field(default=0, eq=False)
        c: object = attrs.field(default=0, eq=str, repr=lambda c: f"<{c}>")

    @decorate
    class Empty:
        pass

    @decorate(kw_only=True)
    class Named:
        a: object
        b: object = 0

    @decorate(auto_exc=False)
    class Raised(Exception):
        a: object
        b: object = 0

    return [Plain, Below, Own, Partly, Empty, Named, Raised]


PAIRS = list(zip(classes(value), classes(attrs.frozen), strict=True))
SMALL = st.integers(0, 1) | st.sampled_from(["0", ""])


@pytest.mark.parametrize(("ours", "other"), PAIRS, ids=lambda cls: str(cls.__name__))
@given(data=st.data())
def test_values_compare_hash_and_print_as_those_of_attrs(
    ours: type[Any], other: type[Any], data: st.DataObject
) -> None:
    names = [field.name for field in attrs.fields(ours)]
    first, second = (data.draw(st.fixed_dictionaries(dict.fromkeys(names, SMALL))) for _ in "ab")
    assert repr(ours(**first)) == repr(other(**first))
    alike = other(**first) == other(**second)
    assert (ours(**first) == ours(**second)) is alike
    assert (ours(**first) != ours(**second)) is not alike
    if alike:
        assert hash(ours(**first)) == hash(ours(**second))
    assert ours(**first) != other(**first)
    assert ours(**first).__eq__(0) is NotImplemented


def test_a_value_of_another_class_is_another_value() -> None:
    plain, below = (pair[0] for pair in PAIRS[:2])
    assert plain(1) != below(1)
    assert len({plain(1), below(1), plain(1)}) == 2


@pytest.mark.parametrize("use", [repr, hash, lambda found: found == 0], ids=["repr", "hash", "eq"])
def test_attrs_writes_the_methods_at_the_first_use_of_one(use: Any) -> None:
    for cls in classes(value):
        methods = [dict(vars(cls))[name] for name in ("__eq__", "__hash__")]
        made = cls(**dict.fromkeys((field.name for field in attrs.fields(cls)), 1))
        assert [dict(vars(cls))[name] for name in ("__eq__", "__hash__")] == methods
        use(made)
        is_own = cls.__name__ == "Own" and use is repr
        assert ([dict(vars(cls))[name] for name in ("__eq__", "__hash__")] == methods) is is_own
