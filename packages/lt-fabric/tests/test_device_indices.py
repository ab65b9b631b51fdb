import pytest

from lt_fabric.device_indices import parse_indices
from lt_interfaces import MisconfigurationException


@pytest.mark.parametrize(
    ("devices", "indices"),
    [(1, [0]), ("2", [0, 1]), (-1, [0, 1, 2]), ("-1", [0, 1, 2]), ([2, 0], [2, 0]), ("0, 2", [0, 2]), ("1,", [1])],
)
def test_every_form_names_indices(devices: int | str | list[int], indices: list[int]) -> None:
    assert parse_indices(devices, available=[0, 1, 2], kind="CUDA") == indices


@pytest.mark.parametrize("devices", [0, "0", [], [0, 0], [3], 4, "a", "0,a", [-1], -2])
def test_what_this_machine_lacks_is_refused_by_name(devices: int | str | list[int]) -> None:
    with pytest.raises(MisconfigurationException, match="`devices"):
        parse_indices(devices, available=[0, 1, 2], kind="CUDA")


@pytest.mark.parametrize("devices", [None, 1.0, True, [0.5], [True], {"a": 1}])
def test_other_types_are_refused(devices: object) -> None:
    with pytest.raises(TypeError, match="`devices`"):
        parse_indices(devices, available=[0], kind="CUDA")  # type: ignore[arg-type]  # the mistakes under test


def test_all_of_none_is_refused() -> None:
    with pytest.raises(MisconfigurationException, match="no CUDA device"):
        parse_indices(-1, available=[], kind="CUDA")
