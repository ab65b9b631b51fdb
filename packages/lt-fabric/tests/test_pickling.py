"""Asking about pickling never raises."""

from lt_fabric.pickling import is_picklable


class Refuses:
    def __reduce__(self) -> str:
        raise RuntimeError


def test_it_says_whether_pickle_takes_an_object() -> None:
    assert is_picklable({"a": 1})
    assert not is_picklable(lambda: 1)
    assert not is_picklable(type("Local", (), {}))
    assert not is_picklable(Refuses())
    assert not is_picklable(number for number in range(3))
