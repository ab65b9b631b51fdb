from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import ManualNet, Net, fit
from torch import nn, optim

from lt_core import Trainer
from lt_core.clipping import clip_gradients
from lt_interfaces.clipping import GradClipAlgorithmType
from lt_interfaces.errors import MisconfigurationException


def clipped(value: Any = None, algorithm: Any = None, **trainers: Any) -> tuple[list[float], Any]:
    """Clip the gradient [3, 4] and return it with what clipping returned."""
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    trainer = Trainer(accelerator="cpu", logger=False, **trainers)
    optimizer = optim.SGD([parameter], lr=1.0)
    asked = {"value": value, "algorithm": algorithm}
    norm = clip_gradients(trainer._runtime, trainer._specs, note=lambda norm: None, optimizer=optimizer, **asked)
    return parameter.grad.tolist(), norm


BY_NORM = pytest.approx([0.6, 0.8], abs=1e-5)
BY_VALUE = [1.0, 1.0]
UNCHANGED = [3.0, 4.0]


@pytest.mark.parametrize(
    ("value", "algorithm", "trainers", "expected"),
    [
        (1.0, None, {}, BY_NORM),
        (1, "norm", {}, BY_NORM),
        (1.0, "value", {}, BY_VALUE),
        (1.0, "VALUE", {}, BY_VALUE),
        (1.0, GradClipAlgorithmType.VALUE, {}, BY_VALUE),
        (None, None, {}, UNCHANGED),
        (0, None, {}, UNCHANGED),
        (None, "value", {}, UNCHANGED),
        (None, None, {"gradient_clip_val": 1.0}, BY_NORM),
        (None, None, {"gradient_clip_val": 1.0, "gradient_clip_algorithm": "value"}, BY_VALUE),
        (1.0, "value", {"gradient_clip_val": 1.0, "gradient_clip_algorithm": "value"}, BY_VALUE),
        (1.0, "value", {"gradient_clip_algorithm": "value"}, BY_VALUE),
    ],
)
def test_gradients_are_clipped_as_module_or_trainer_say(
    value: Any, algorithm: Any, trainers: dict[str, Any], expected: Any
) -> None:
    assert clipped(value, algorithm, **trainers)[0] == expected


def test_the_norm_before_clipping_comes_back() -> None:
    assert clipped(1.0)[1].item() == 5.0
    assert clipped(1.0, "value")[1] is None
    assert clipped()[1] is None


@pytest.mark.parametrize(
    ("value", "algorithm", "trainers", "argument"),
    [
        (2.0, None, {"gradient_clip_val": 1.0}, "gradient_clip_val=2.0"),
        (
            None,
            "value",
            {"gradient_clip_val": 1.0, "gradient_clip_algorithm": "norm"},
            "gradient_clip_algorithm='value'",
        ),
    ],
)
def test_contradicting_the_trainer_is_refused(
    value: Any, algorithm: Any, trainers: dict[str, Any], argument: str
) -> None:
    with pytest.raises(MisconfigurationException, match=f"`{argument}`.*but the Trainer has"):
        clipped(value, algorithm, **trainers)


def test_the_same_algorithm_in_other_letters_is_no_contradiction() -> None:
    trainers = {"gradient_clip_val": 1.0, "gradient_clip_algorithm": "value"}
    assert clipped(1.0, "VALUE", **trainers)[0] == BY_VALUE
    assert clipped(1.0, GradClipAlgorithmType.VALUE, **trainers)[0] == BY_VALUE


@pytest.mark.parametrize("algorithm", ["median", 3])
def test_other_algorithms_are_refused(algorithm: Any) -> None:
    with pytest.raises(MisconfigurationException, match=r"accepted are \['norm', 'value'\]"):
        clipped(1.0, algorithm)


def test_manual_optimization_clips_where_it_asks_for_it(tmp_path: Path) -> None:
    class Clips(ManualNet):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch * 100))
            self.clip_gradients(optimizer, gradient_clip_val=1e-3, gradient_clip_algorithm="value")
            assert max(parameter.grad.abs().max() for parameter in self.parameters()) <= 1e-3
            optimizer.step()

    fit(tmp_path, Clips())


def test_a_module_may_clip_in_its_own_way(tmp_path: Path) -> None:
    class Own(Net):
        given: Any = None

        def configure_gradient_clipping(
            self, optimizer: Any, gradient_clip_val: Any, gradient_clip_algorithm: Any
        ) -> None:
            type(self).given = (type(optimizer), gradient_clip_val, gradient_clip_algorithm)

    fit(tmp_path, Own(), gradient_clip_val=0.5, gradient_clip_algorithm="value")
    assert Own.given[1:] == (0.5, "value")
    assert issubclass(Own.given[0], optim.SGD)
