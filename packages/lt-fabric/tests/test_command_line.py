import warnings

import pytest

from lt_fabric.command_line import is_started_by_command_line, overridden


@pytest.fixture(autouse=True)
def _devices_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LT_CLI_USED", raising=False)
    monkeypatch.setenv("LT_DEVICES", "2")
    monkeypatch.setenv("LT_NUM_NODES", "3")


def test_variables_replace_defaults_quietly() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert overridden(devices="auto", num_nodes=1, precision=None) == {
            "devices": "2",
            "num_nodes": 3,
            "precision": None,
        }


def test_agreeing_is_no_contradiction() -> None:
    assert overridden(devices=2) == {"devices": "2"}


def test_a_choice_of_the_script_is_not_replaced_quietly() -> None:
    with pytest.warns(UserWarning, match=r"`devices=4`.*`LT_DEVICES=2`"):
        assert overridden(devices=4) == {"devices": "2"}


def test_a_command_line_does_not_contradict_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LT_CLI_USED", "1")
    assert is_started_by_command_line()
    with pytest.raises(ValueError, match=r"`devices=4`.*`LT_DEVICES=2`"):
        overridden(devices=4)
