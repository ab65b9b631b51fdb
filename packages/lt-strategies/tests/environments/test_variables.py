from collections.abc import Callable

import pytest

from lt_strategies.environments.variables import number


def test_a_variable_without_a_number_is_named(variables: Callable[..., None]) -> None:
    with pytest.raises(RuntimeError, match=r"variable RANK .* it isn't set"):
        number("RANK")
    variables(RANK="first")
    with pytest.raises(RuntimeError, match=r"variable RANK .* it's 'first'"):
        number("RANK")
