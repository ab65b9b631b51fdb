"""The contract of a module with steps: what loops, strategies and callbacks need of a ``LightningModule``."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class StepModule(Protocol):
    """A torch module that knows how to train, validate, test and predict on a batch."""

    automatic_optimization: bool
    """Whether the loop runs backward and steps the optimizer, or the module's training step does."""
    training: bool
    trainer: Any

    @property
    def strict_loading(self) -> bool:
        """Whether loading weights demands that all keys match."""

    @property
    def hparams(self) -> Any:
        """The saved hyper-parameters; a dict with attribute access."""

    @property
    def device(self) -> torch.device:
        """Where the module's parameters are."""

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor | Mapping[str, Any] | None:
        """Return the loss of a batch, alone or under the key ``"loss"``."""

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate a batch."""

    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate a batch."""

    def predict_step(self, *args: Any, **kwargs: Any) -> Any:
        """Return the predictions for a batch."""

    def log(self, name: str, value: Any, *args: Any, **kwargs: Any) -> None:
        """Record a metric; see ``LightningModule.log``."""

    def named_parameters(self) -> Any:
        """As `torch.nn.Module.named_parameters`."""

    def named_modules(self) -> Any:
        """As `torch.nn.Module.named_modules`."""

    def modules(self) -> Any:
        """As `torch.nn.Module.modules`."""

    def parameters(self) -> Any:
        """As `torch.nn.Module.parameters`."""

    def state_dict(self) -> dict[str, Any]:
        """As `torch.nn.Module.state_dict`."""

    def train(self, mode: bool = True) -> nn.Module:
        """As `torch.nn.Module.train`."""
