"""A small GPT that reads real text, byte by byte; in a module that ranks import by name."""

from itertools import pairwise
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

TEXT: Final = Path(__file__).parent.parent / "LICENSE"
LENGTH: Final = 32
"""Bytes of a sample."""


class Attention(nn.Module):
    """Lets each position look at those before it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, states: Tensor) -> Tensor:
        batch, length = states.shape[:2]
        # Under tensor parallelism each rank has some of the heads.
        query, key, value = (
            layer(states).view(batch, length, -1, states.shape[-1] // self.heads).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        seen = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out(seen.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention, then two layers for each position by itself."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, states: Tensor) -> Tensor:
        states = states + self.attention(self.attention_norm(states))
        return states + self.down(nn.functional.gelu(self.up(self.norm(states))))


class SmallGPT(nn.Module):
    """About a million parameters."""

    def __init__(self, width: int = 128, num_blocks: int = 5, heads: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, width)
        self.positions = nn.Embedding(LENGTH, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(num_blocks))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 256)

    def forward(self, tokens: Tensor) -> Tensor:
        states = self.embedding(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            states = block(states)
        return self.head(self.norm(states))


class Embedding(nn.Module):
    """What a GPT begins with, as a module of its own."""

    def __init__(self, tokens: nn.Embedding, positions: nn.Embedding) -> None:
        super().__init__()
        self.tokens, self.positions = tokens, positions

    def forward(self, tokens: Tensor) -> Tensor:
        return self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))


class StagedGPT(SmallGPT):
    """The same, which says what its stages are, and returns the loss."""

    def pipeline_stages(self, num_stages: int) -> list[nn.Module]:
        layers = [Embedding(self.embedding, self.positions), *self.blocks, self.norm, self.head]
        bounds = [round(number * len(layers) / num_stages) for number in range(num_stages + 1)]
        return [nn.Sequential(*layers[start:end]) for start, end in pairwise(bounds)]

    def pipeline_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    def forward(self, tokens: Tensor, targets: Tensor | None = None) -> Tensor:
        assert targets is not None
        return self.pipeline_loss(super().forward(tokens), targets)


def loss_of(model: nn.Module, tokens: Tensor) -> Tensor:
    """Return how badly the model foretells each next byte.

    Args:
        model: gives logits of the shape (batch, length, 256), or, if it has stages, the loss.
        tokens: of the shape (batch, length + 1).
    """
    if hasattr(model, "pipeline_stages"):
        loss: Tensor = model(tokens[:, :-1], tokens[:, 1:])
        return loss
    logits = model(tokens[:, :-1])
    return nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


class TextWindows(Dataset[Tensor]):
    """Pieces of a text, one after the other."""

    def __init__(self, num_samples: int) -> None:
        data = TEXT.read_bytes()[: num_samples * LENGTH + 1]
        self.tokens = torch.frombuffer(bytearray(data), dtype=torch.uint8).long()

    def __len__(self) -> int:
        return (len(self.tokens) - 1) // LENGTH

    def __getitem__(self, index: int) -> Tensor:
        return self.tokens[index * LENGTH : (index + 1) * LENGTH + 1]
