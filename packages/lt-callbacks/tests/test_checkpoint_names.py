import pytest
import torch

from lt_callbacks.checkpoint_names import NameTemplate
from lt_interfaces.errors import MisconfigurationException


def test_each_group_becomes_name_and_value() -> None:
    template = NameTemplate("{epoch}-{step}-{val_loss:.2f}")
    assert template.fill({"epoch": 2, "step": 30, "val_loss": torch.tensor(0.126)}) == "epoch=2-step=30-val_loss=0.13"


def test_names_are_left_out_on_request() -> None:
    assert NameTemplate("m-{epoch:02d}-{vl:.3f}", insert_names=False).fill({"epoch": 2, "vl": 0.5}) == "m-02-0.500"


def test_a_slash_in_a_metric_makes_no_folder() -> None:
    assert NameTemplate("{val/loss:.1f}").fill({"val/loss": 0.5}) == "val_loss=0.5"


def test_a_slash_that_the_user_typed_outside_of_a_group_stays() -> None:
    assert NameTemplate("best/{epoch}").fill({"epoch": 1}) == "best/epoch=1"


def test_a_missing_metric_is_named_with_what_is_available() -> None:
    with pytest.raises(MisconfigurationException, match=r"`val_los`.*Did you mean `val_loss`.*\['epoch', 'val_loss'\]"):
        NameTemplate("{val_los}").fill({"epoch": 1, "val_loss": 0.5})


def test_a_format_that_does_not_fit_is_named() -> None:
    with pytest.raises(MisconfigurationException, match=r"`loss`=0\.5 as '02d'"):
        NameTemplate("{loss:02d}").fill({"loss": 0.5})


def test_a_logged_epoch_can_be_written_as_a_whole_number() -> None:
    assert NameTemplate("{epoch:02d}").fill({"epoch": torch.tensor(3.0)}) == "epoch=03"


def test_one_metric_whose_name_begins_another_is_not_confused() -> None:
    assert NameTemplate("{loss}-{loss_b}", insert_names=False).fill({"loss": 1, "loss_b": 2}) == "1-2"
