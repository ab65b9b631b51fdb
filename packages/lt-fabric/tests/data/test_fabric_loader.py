import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from lt_fabric.data.fabric_loader import FabricDataLoader, unwrap_loader
from lt_interfaces.testing import RandomDataset


def test_a_loader_is_no_dataloader_but_has_its_attributes() -> None:
    plain = DataLoader(RandomDataset(2, 6), batch_size=2)
    loader = FabricDataLoader(plain)
    assert not isinstance(loader, DataLoader)
    assert loader.batch_size == 2
    assert loader.dataset is plain.dataset
    assert len(loader) == 3
    assert all(torch.equal(one, other) for one, other in zip(loader, plain, strict=True))


def test_batches_are_moved() -> None:
    loader = FabricDataLoader(DataLoader(RandomDataset(2, 6), batch_size=2), torch.device("meta"))
    assert {batch.device.type for batch in loader} == {"meta"}


def test_samplers_hear_which_epoch_begins() -> None:
    dataset = RandomDataset(2, 6)
    sampler: DistributedSampler[Tensor] = DistributedSampler(dataset, num_replicas=1, rank=0)
    loader = FabricDataLoader(DataLoader(dataset, sampler=sampler))
    for epoch in range(3):
        list(loader)
        assert sampler.epoch == epoch


def test_unwrapping_finds_the_loader_and_where_its_batches_go() -> None:
    plain, device = DataLoader(RandomDataset(2, 6)), torch.device("meta")
    assert unwrap_loader(FabricDataLoader(plain, device)) == (plain, device)
    assert unwrap_loader(plain) == (plain, None)
