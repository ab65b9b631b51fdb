from typing import Any

import pytest
from fabric_pretence import ManyStrategy
from sharable_datasets import Count
from torch.utils.data import DataLoader, DistributedSampler, RandomSampler

from lt_fabric.setting_up import introduce, set_up_loader
from lt_fabric.single_device import SingleDeviceStrategy
from lt_interfaces.testing import RandomDataset


class Sharing(ManyStrategy):
    distributed_sampler_kwargs = {"num_replicas": 2, "rank": 1}  # type: ignore[assignment]  # noqa: RUF012  # fixed


def set_up(loader: Any, strategy: SingleDeviceStrategy, *, share: bool = True) -> Any:
    return set_up_loader(strategy, loader, use_distributed_sampler=share, move_to_device=True)


@pytest.mark.parametrize("shuffle", [True, False])
def test_samples_are_shared_out_shuffled_as_the_user_chose(shuffle: bool) -> None:
    loader = set_up(DataLoader(RandomDataset(1, 6), shuffle=shuffle), Sharing())
    assert isinstance(loader.sampler, DistributedSampler)
    assert loader.sampler.shuffle is shuffle
    assert len(loader) == 3


def test_samplers_may_be_left_as_they_are() -> None:
    loader = set_up(DataLoader(RandomDataset(1, 6), shuffle=True), Sharing(), share=False)
    assert isinstance(loader.sampler, RandomSampler)


@pytest.mark.filterwarnings("ignore:The samples of `Count`")
def test_samples_of_iterable_datasets_are_shared_out() -> None:
    assert [batch.tolist() for batch in set_up(DataLoader(Count(5)), Sharing())] == [[1], [3]]
    assert len(list(set_up(DataLoader(Count(5)), Sharing(), share=False))) == 5


@pytest.mark.parametrize("loader", [[1, 2], RandomDataset(1, 2), None])
def test_only_dataloaders_are_set_up(loader: object) -> None:
    with pytest.raises(TypeError, match=r"`dataloaders`.*not"):
        set_up(loader, SingleDeviceStrategy())


def test_a_module_is_introduced_once() -> None:
    class Knowing:
        fabric: Any = None

    callbacks: list[Any] = []
    module = Knowing()
    for _ in range(2):
        introduce(module, "fabric", callbacks=callbacks)
    introduce(object(), "fabric", callbacks=callbacks)
    assert callbacks == [module]
    assert module.fabric == "fabric"
