from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_runs import Batches, ManualNet, Net, fit
from torch import Tensor

from lt_interfaces.errors import MisconfigurationException

ROWS = torch.randn(24, 3, generator=torch.Generator().manual_seed(0))


class Weighted(Net):
    """Returns its loss with the number of rows that it's the mean of."""

    as_tensor = False

    def training_step(self, batch: Tensor, batch_idx: int) -> dict[str, Any]:
        weight = torch.tensor([len(batch)]) if self.as_tensor else len(batch)
        return {"loss": self.loss(batch), "loss_weight": weight}


@settings(deadline=None, max_examples=20)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    planned=st.integers(1, 6),
    as_tensor=st.booleans(),
    clip=st.sampled_from([None, 0.1]),
)
def test_steps_do_not_depend_on_how_their_batches_were_cut(
    sizes: list[int], planned: int, as_tensor: bool, clip: float | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tmp_path = tmp_path_factory.mktemp("run")
    cut, whole = Weighted(), Net()
    cut.as_tensor = as_tensor
    batches = list(ROWS[: sum(sizes)].split(sizes))
    in_windows = [torch.cat(batches[start : start + planned]) for start in range(0, len(batches), planned)]
    fit(tmp_path, cut, data=Batches(batches), accumulate_grad_batches=planned, gradient_clip_val=clip, max_epochs=2)
    fit(tmp_path, whole, data=Batches(in_windows), gradient_clip_val=clip, max_epochs=2)
    torch.testing.assert_close(cut.weights, whole.weights, rtol=0, atol=1e-6)


def test_a_micro_batch_without_tokens_counts_for_nothing(tmp_path: Path) -> None:
    class Masked(Net):
        def training_step(self, batch: Tensor, batch_idx: int) -> dict[str, Any]:
            kept = batch[batch_idx:2] if batch_idx == 2 else batch
            return {"loss": self.loss(kept), "loss_weight": len(kept)}  # the mean of nothing is NaN

    masked, without = Masked(), Net()
    batches = list(ROWS[:8].split(2))
    fit(tmp_path, masked, data=Batches(batches), accumulate_grad_batches=4, max_epochs=1)
    fit(tmp_path, without, data=Batches([torch.cat([batches[0], batches[1], batches[3]])]), max_epochs=1)
    torch.testing.assert_close(masked.weights, without.weights)


def test_hooks_see_the_loss_and_the_weight_as_returned(tmp_path: Path) -> None:
    seen = []

    class Seeing(Weighted):
        def on_train_batch_end(self, outputs: Any, batch: Tensor, batch_idx: int) -> None:
            seen.append((outputs["loss"].item(), outputs["loss_weight"]))

    net = Seeing()
    expected = [(net.loss(batch).item(), len(batch)) for batch in ROWS[:6].split([1, 5])]
    fit(tmp_path, net, data=Batches(ROWS[:6].split([1, 5])), accumulate_grad_batches=2, max_epochs=1)
    assert seen == [(pytest.approx(loss), weight) for loss, weight in expected]


@pytest.mark.parametrize("weight", [-1, "3", float("nan"), True, torch.ones(2)])
def test_a_weight_that_is_none_is_refused(tmp_path: Path, weight: Any) -> None:
    class Wrong(Net):
        def training_step(self, batch: Tensor, batch_idx: int) -> dict[str, Any]:
            return {"loss": self.loss(batch), "loss_weight": weight}

    with pytest.raises(MisconfigurationException, match="'loss_weight' that must be a number >= 0"):
        fit(tmp_path, Wrong())


def test_weights_for_some_micro_batches_of_a_window_are_refused(tmp_path: Path) -> None:
    class Some(Net):
        def training_step(self, batch: Tensor, batch_idx: int) -> dict[str, Any]:
            return {"loss": self.loss(batch), "loss_weight": 2 if batch_idx else None}

    with pytest.raises(ValueError, match="weight"):
        fit(tmp_path, Some(), accumulate_grad_batches=2)


def test_manual_optimization_says_that_it_takes_no_weight(tmp_path: Path) -> None:
    class Manual(ManualNet):
        def training_step(self, batch: Tensor, batch_idx: int) -> dict[str, Any]:
            super().training_step(batch, batch_idx)
            return {"loss_weight": 3}

    with pytest.warns(UserWarning, match="'loss_weight' has no effect in manual optimization"):
        fit(tmp_path, Manual())
