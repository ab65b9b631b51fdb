"""A small transformer and its data, for the ranks of a test: its layers can be divided over ranks."""

from itertools import pairwise
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VOCABULARY: Final = 17
LENGTH: Final = 8


class Attention(nn.Module):
    """Attention whose heads may be divided over ranks: it has as many as its projections give it."""

    def __init__(self, width: int, head_width: int) -> None:
        super().__init__()
        self.head_width = head_width
        # A bias of keys changes nothing, so its gradient would be noise that Adam makes steps of.
        self.query, self.key, self.value = (nn.Linear(width, width, bias=has_bias) for has_bias in (True, False, True))
        self.out = nn.Linear(width, width)

    def forward(self, rows: Tensor) -> Tensor:
        """Mix the rows of each sequence with earlier ones."""
        shape = (*rows.shape[:2], -1, self.head_width)
        query, key, value = (layer(rows).view(shape).transpose(1, 2) for layer in (self.query, self.key, self.value))
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        joined: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return joined


class Block(nn.Module):
    """Attention and a wide layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention_norm, self.wide_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, head_width=4)
        self.up, self.down = nn.Linear(width, 2 * width + 2), nn.Linear(2 * width + 2, width)

    def forward(self, rows: Tensor) -> Tensor:
        """Add to the rows what both make of them."""
        rows = rows + self.attention(self.attention_norm(rows))
        changed: Tensor = rows + self.down(F.gelu(self.up(self.wide_norm(rows))))
        return changed


class Positions(nn.Module):
    """A learned row for each place, which is nobody else's kind of layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.empty(LENGTH, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start small."""
        nn.init.normal_(self.rows, std=0.1)

    def forward(self, rows: Tensor) -> Tensor:
        """Add the places."""
        return rows + self.rows[: rows.shape[1]]


class Transformer(nn.Module):
    """Predicts the next of 17 letters; the same seed gives the same weights."""

    def __init__(self, *, width: int = 16, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            self.embedding, self.positions = nn.Embedding(VOCABULARY, width), Positions(width)
            self.blocks = nn.ModuleList(Block(width) for _ in range(2))
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, VOCABULARY)

    def forward(self, letters: Tensor) -> Tensor:
        """Return what may come next at each place."""
        rows = self.positions(self.embedding(letters))
        for block in self.blocks:
            rows = block(rows)
        scores: Tensor = self.head(self.norm(rows))
        return scores

    def training_step(self, letters: Tensor, batch_idx: int = 0) -> Tensor:
        """Return the loss of a batch of sequences."""
        return F.cross_entropy(self(letters[:, :-1]).flatten(0, 1), letters[:, 1:].flatten())


class Staged(Transformer):
    """Tells what its stages are; called with inputs and targets it returns the loss."""

    def pipeline_stages(self, num_stages: int) -> list[nn.Module]:
        """Return so many parts, each called with what the one before returns."""
        layers = [self.embedding, self.positions, *self.blocks, self.norm, self.head]
        bounds = [round(number * len(layers) / num_stages) for number in range(num_stages + 1)]
        return [nn.Sequential(*layers[start:end]) for start, end in pairwise(bounds)]

    def pipeline_loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of what the last stage returns."""
        return F.cross_entropy(scores.flatten(0, 1), targets.flatten())

    def forward(self, letters: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return the loss."""
        assert targets is not None
        return self.pipeline_loss(super().forward(letters), targets)

    def training_step(self, letters: Tensor, batch_idx: int = 0) -> Tensor:
        """Return the loss of a batch of sequences."""
        loss: Tensor = self(letters[:, :-1], letters[:, 1:])
        return loss


def letters(number: int, *, of: int = 0, shares: int = 1, batch_size: int = 8) -> Tensor:
    """Return a batch of sequences that grow by a step each, or one of some equal shares of it."""
    starts = torch.arange(number, number + batch_size)[:, None]
    steps = 1 + torch.arange(batch_size)[:, None] % 3
    whole = (starts + steps * torch.arange(LENGTH + 1)) % VOCABULARY
    return whole.chunk(shares)[of]


def optimizer_of(module: nn.Module) -> Any:
    """Return an optimizer with state."""
    return torch.optim.AdamW(module.parameters(), lr=0.01)
