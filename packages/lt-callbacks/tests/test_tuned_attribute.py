from types import SimpleNamespace

import pytest

from lt_callbacks.tuned_attribute import TunedAttribute


def test_everybody_who_holds_it_is_set() -> None:
    module = SimpleNamespace(size=1, hparams={"size": 1, "width": 3})
    datamodule = SimpleNamespace(hparams={"size": 2})
    attribute = TunedAttribute("size", [module, datamodule, None])
    assert attribute.get() == 1
    attribute.set(8)
    assert module == SimpleNamespace(size=8, hparams={"size": 8, "width": 3})
    assert datamodule.hparams == {"size": 8}


def test_nobody_gets_what_it_did_not_have() -> None:
    module, datamodule = SimpleNamespace(hparams={}), SimpleNamespace(size=1)
    attribute = TunedAttribute("size", [module, datamodule])
    attribute.set(8)
    assert (module.hparams, datamodule.size) == ({}, 8)


@pytest.mark.parametrize("owner", [SimpleNamespace(), SimpleNamespace(hparams={"width": 3}), None])
def test_an_attribute_that_nobody_has_is_not_held(owner: object) -> None:
    assert not TunedAttribute("size", [owner]).is_held
