import inspect
from importlib import import_module
from typing import Any

import pytest

from lt_compat import differences
from lt_compat.names import MODULES, Owner
from lt_interfaces.hooks import BY_NAME

OWNERS = {name: entry for names in MODULES.values() for name, entry in names.items() if isinstance(entry, Owner)}


def found(name: str) -> Any:
    return getattr(import_module(OWNERS[name].module), OWNERS[name].name)


@pytest.mark.parametrize("name", sorted({*differences.NAMES, *differences.ARGUMENTS} - {"getLogger"}))
def test_rows_belong_to_names_that_lightning_has(name: str) -> None:
    assert name in OWNERS
    for keyword in differences.ARGUMENTS.get(name, {}):
        parameters = inspect.signature(found(name)).parameters
        assert not keyword or keyword in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def test_rows_belong_to_methods_that_users_override() -> None:
    assert set(differences.METHODS) - {differences.MISSPELT} <= set(BY_NAME)


def test_a_row_says_what_lt_does_and_how_to_get_the_old_way() -> None:
    (row,) = differences.of_argument("seed_everything", "")
    assert row.title == "`seed_everything()` without a seed"
    assert "fresh random seed" in row.lt
    assert row.switch == "`seed_everything(0, workers=False)`"


def test_what_has_no_rows_differs_in_nothing() -> None:
    assert differences.of_name("Trainer") == ()
    assert differences.of_argument("Trainer", "max_epochs") == ()
    assert differences.of_method("training_step") == ()
