from contract_checks import assert_offers
from toy_parts import ToyDataModule

from lt_interfaces.datamodule import DataModule
from lt_interfaces.hooks import Hearer, heard_by


def test_a_datamodule_is_one_by_its_methods() -> None:
    datamodule: DataModule = ToyDataModule()
    assert DataModule not in type(datamodule).__mro__
    assert_offers(datamodule, DataModule)
    assert all(hasattr(datamodule, name) for name in DataModule.__annotations__)


def test_the_contract_holds_every_hook_that_datamodules_hear() -> None:
    assert {hook.name for hook in heard_by(Hearer.DATAMODULE)} <= set(vars(DataModule))
