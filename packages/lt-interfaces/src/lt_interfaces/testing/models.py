"""Small modules that train in no time."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TinyRegressor(nn.Module):
    """Two layers from a row of numbers to one; its steps take ``(inputs, targets)``.

    The same seed gives the same weights, and torch's own generator is left alone.

    >>> TinyRegressor(3)(torch.zeros(5, 3)).shape
    torch.Size([5, 1])
    """

    def __init__(self, size: int = 4, *, hidden: int = 8, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            self.hidden = nn.Linear(size, hidden)
            self.output = nn.Linear(hidden, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Predict a column of numbers."""
        prediction: Tensor = self.output(torch.tanh(self.hidden(inputs)))
        return prediction

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int = 0) -> Tensor:
        """Return the mean squared error of the batch."""
        inputs, targets = batch
        return F.mse_loss(self(inputs), targets)


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor with the parts of all ranks, if it's sharded. Collective then."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()
