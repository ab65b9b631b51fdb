import sys

import pytest
import torch

from lt_datamodules.digits import DigitsDataModule


def set_up(**arguments: float) -> DigitsDataModule:
    data = DigitsDataModule(**arguments)  # type: ignore[arg-type]
    data.setup("fit")
    return data


def test_images_are_floats_between_0_and_1_with_one_channel() -> None:
    images, labels = set_up().train_set.tensors
    assert images.dtype == torch.float32
    assert images.shape[1:] == (1, 8, 8)
    assert (images.min(), images.max()) == (0, 1)
    assert labels.unique().tolist() == list(range(10))


def test_every_sample_is_in_exactly_one_part() -> None:
    data = set_up(val_fraction=0.1, test_fraction=0.3)
    sizes = [len(part) for part in (data.train_set, data.val_set, data.test_set)]
    assert sum(sizes) == 1797
    assert sizes[1] == pytest.approx(180, abs=5)
    assert sizes[2] == pytest.approx(539, abs=5)


def test_every_part_has_the_same_share_of_each_digit() -> None:
    data = set_up()
    shares = [
        torch.bincount(part.tensors[1], minlength=10) / len(part)
        for part in (data.train_set, data.val_set, data.test_set)
    ]
    assert torch.stack(shares).std(dim=0).max() < 0.005


def test_split_depends_on_the_seed_alone() -> None:
    first, again, other = set_up(seed=3), set_up(seed=3), set_up(seed=4)
    assert torch.equal(first.test_set.tensors[0], again.test_set.tensors[0])
    assert not torch.equal(first.test_set.tensors[1], other.test_set.tensors[1])
    torch.manual_seed(5)
    again.setup("test")
    assert torch.equal(first.val_set.tensors[0], again.val_set.tensors[0])


def test_only_training_batches_are_shuffled() -> None:
    data = set_up(batch_size=8)
    assert next(iter(data.val_dataloader()))[0].shape == (8, 1, 8, 8)
    assert torch.equal(next(iter(data.test_dataloader()))[1], next(iter(data.predict_dataloader()))[1])
    torch.manual_seed(0)
    loader = data.train_dataloader()
    assert not torch.equal(next(iter(loader))[1], next(iter(loader))[1])


def test_augmented_training_images_get_other_noise_every_time() -> None:
    plain, noisy = set_up().train_set, set_up(augment=True).train_set
    first, again = (torch.stack([noisy[index][0] for index in range(8)]) for _ in range(2))
    assert not torch.equal(first, again)
    assert 0.02 < (first - plain.tensors[0][:8]).std() < 0.1
    assert (first.min(), first.max()) == (0, 1)
    assert torch.equal(torch.stack([label for _, label in noisy]), plain.tensors[1])


def test_only_training_images_are_augmented() -> None:
    data = set_up(augment=True)
    for part in (data.val_set, data.test_set):
        assert torch.equal(part[0][0], part.tensors[0][0])


def test_arguments_become_hyperparameters() -> None:
    assert DigitsDataModule(batch_size=7).hparams.batch_size == 7


@pytest.mark.parametrize(("val", "test"), [(0.5, 0.5), (0, 0.1), (0.1, -0.1), (float("nan"), 0.1)])
def test_fractions_must_leave_something_for_every_part(val: float, test: float) -> None:
    with pytest.raises(ValueError, match="`val_fraction` and `test_fraction`"):
        DigitsDataModule(val_fraction=val, test_fraction=test)


def test_without_scikit_learn_the_install_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "sklearn", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "lt-datamodules\[digits\]"'):
        DigitsDataModule()
