import pytest

from lt_strategies.ddp import DDPStrategy
from lt_strategies.wrapping import Wrapping


def test_misspelled_argument_is_answered_with_the_likely_one() -> None:
    with pytest.raises(TypeError, match=r"doesn't take `find_unused_parameter`\..*find_unused_parameters"):
        DDPStrategy(find_unused_parameter=True)


@pytest.mark.parametrize("argument", ["module", "device_ids", "process_group", "device_mesh"])
def test_what_the_strategy_sets_by_itself_is_not_taken(argument: str) -> None:
    with pytest.raises(TypeError, match=f"doesn't take `{argument}`"):
        Wrapping({argument: None}, None)
