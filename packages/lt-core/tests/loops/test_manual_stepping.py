from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Batches, Heard, ManualNet, Net, by_hand, fit, rows
from torch import Tensor

from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException


class Outputs(Callback):
    def __init__(self) -> None:
        self.outputs: list[Any] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.outputs.append(outputs)


# --- manual optimization ---


@pytest.mark.parametrize(("num_optimizers", "steps"), [(1, 4), (2, 8)])
def test_every_step_of_every_optimizer_counts(num_optimizers: int, steps: int, tmp_path: Path) -> None:
    class Several(ManualNet):
        pass

    Several.num_optimizers = num_optimizers
    heard = Heard()
    trainer = fit(tmp_path, Several(), heard)
    assert trainer.global_step == steps
    assert heard.count("on_before_optimizer_step") == steps
    assert heard.count("on_before_backward") == heard.count("on_after_backward") == steps


def test_manual_steps_train_as_automatic_ones(tmp_path: Path) -> None:
    data, net = Batches(rows()), ManualNet()
    fit(tmp_path, net, data=data)
    torch.testing.assert_close(net.weights, by_hand(data))


def test_batch_without_step_is_not_counted_as_one(tmp_path: Path) -> None:
    class Lazy(ManualNet):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            if batch_idx == 2:
                super().training_step(batch, batch_idx)

    assert fit(tmp_path, Lazy()).global_step == 1


def test_step_of_torch_own_optimizer_passes_unseen(tmp_path: Path) -> None:
    class Raw(ManualNet):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            self.manual_backward(self.loss(batch))
            self.optimizers(use_pl_optimizer=False).step()

    assert fit(tmp_path, Raw()).global_step == 0


def test_manual_closure_makes_the_gradients(tmp_path: Path) -> None:
    class WithClosure(ManualNet):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            optimizer = self.optimizers()

            def closure() -> Tensor:
                optimizer.zero_grad()
                loss = self.loss(batch)
                self.manual_backward(loss)
                return loss

            optimizer.step(closure=closure)

    data, net = Batches(rows()), WithClosure()
    assert fit(tmp_path, net, data=data).global_step == 4
    torch.testing.assert_close(net.weights, by_hand(data))


def test_manual_outcome_may_be_a_dict_without_loss(tmp_path: Path) -> None:
    class Tells(ManualNet):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            return {"index": batch_idx}

    outputs = Outputs()
    fit(tmp_path, Tells(), outputs)
    assert outputs.outputs == [{"index": index} for index in range(4)]


def test_manual_outcome_of_another_type_is_refused(tmp_path: Path) -> None:
    class Wrong(ManualNet):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            return 0.5

    with pytest.raises(MisconfigurationException, match=r"manual optimization.*but got float"):
        fit(tmp_path, Wrong())


@pytest.mark.parametrize("argument", [{"gradient_clip_val": 0.5}, {"accumulate_grad_batches": 2}])
def test_manual_optimization_excludes_arguments_of_the_automatic_one(argument: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match=next(iter(argument))):
        fit(tmp_path, ManualNet(), **argument)


def test_manual_backward_is_refused_in_automatic_optimization(tmp_path: Path) -> None:
    class Mixed(Net):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            self.manual_backward(self.loss(batch))

    with pytest.raises(MisconfigurationException, match="manual_backward"):
        fit(tmp_path, Mixed())


def test_several_optimizers_need_manual_optimization(tmp_path: Path) -> None:
    class Two(Net):
        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(self.parameters(), lr=0.1) for _ in range(2)]

    with pytest.raises(RuntimeError, match="2 optimizers"):
        fit(tmp_path, Two())
