import torch

from lt_interfaces.testing import RegressionDataset, TinyRegressor


def test_one_seed_gives_one_model_and_leaves_torchs_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    one, other = TinyRegressor(seed=3), TinyRegressor(seed=3)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_it_learns_the_regression_set() -> None:
    data, model = RegressionDataset(length=64), TinyRegressor()
    batch = (data.rows, data.targets)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    before = model.training_step(batch).item()
    for _ in range(50):
        optimizer.zero_grad()
        torch.autograd.backward(model.training_step(batch))
        optimizer.step()
    assert model.training_step(batch).item() < before / 4
