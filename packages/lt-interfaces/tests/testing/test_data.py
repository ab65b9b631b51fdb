import torch

from lt_interfaces.testing import RandomDataset, RandomIterableDataset, RegressionDataset


def test_rows_are_the_same_every_time_and_leave_torchs_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(RandomDataset(3, 5).rows, RandomDataset(3, 5).rows)
    assert torch.equal(torch.rand(3), expected)


def test_another_seed_gives_other_rows() -> None:
    assert not torch.equal(RandomDataset(3, 5).rows, RandomDataset(3, 5, seed=1).rows)


def test_a_stream_gives_the_rows_of_the_set_without_a_length() -> None:
    stream = RandomIterableDataset(3, 5)
    assert torch.equal(torch.stack(list(stream)), RandomDataset(3, 5).rows)
    assert not hasattr(stream, "__len__")


def test_targets_follow_from_the_rows() -> None:
    row, target = RegressionDataset()[3]
    torch.testing.assert_close(target, torch.sin(row.sum()).reshape(1))
