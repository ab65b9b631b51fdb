"""A small language model on real text, and what one process makes of it."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

TEXT = (Path(__file__).parents[1] / "LICENSE").read_bytes()
LENGTH = 32
WIDTH = 64


class Block(nn.Module):
    """Attention and a small network, each beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        # a bias of keys has no gradient but rounding errors, which Adam would blow up
        self.mixed, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH)
        self.network = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        rows, length, _ = x.shape
        parts = self.mixed(self.first(x)).view(rows, length, 3, 4, WIDTH // 4).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(rows, length, WIDTH))
        return x + self.network(self.second(x))


class LanguageModel(nn.Module):
    """Predicts the next byte; its parameters don't divide evenly into two shards."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.bytes, self.places = nn.Embedding(256, WIDTH), nn.Embedding(LENGTH, WIDTH)
            self.blocks = nn.Sequential(Block(), Block())
            self.head = nn.Linear(WIDTH, 257)
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, text: Tensor) -> Tensor:
        return self.head(self.blocks(self.bytes(text) + self.places(torch.arange(text.shape[1]))))

    def training_step(self, text: Tensor, batch_idx: int = 0) -> Tensor:
        logits = self(text[:, :-1])
        return nn.functional.cross_entropy(
            logits.to(torch.promote_types(logits.dtype, torch.float32)).flatten(0, 1), text[:, 1:].flatten()
        )


def rows(step: int, size: int = 8) -> Tensor:
    """Return the rows of text that a step is trained on, over all ranks and micro-batches."""
    generator = torch.Generator().manual_seed(step)
    starts = torch.randint(len(TEXT) - LENGTH - 1, (size,), generator=generator).tolist()
    return torch.stack([torch.tensor(list(TEXT[start : start + LENGTH + 1])) for start in starts])


def adamw(module: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer, with two groups as language models usually have."""
    # by name: while a parameter is sharded, its shape says nothing
    named = [(name, one) for name, one in module.named_parameters() if one.requires_grad]
    others = [one for name, one in named if name.endswith("bias") or ".first." in name or ".second." in name]
    matrices = [one for _, one in named if all(one is not other for other in others)]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    # with the usual 1e-8 an element without gradient follows rounding errors
    return torch.optim.AdamW(groups, lr=1e-3, eps=1e-5)


def trained_alone(
    steps: int,
    *,
    clip: float | None = None,
    start: int = 0,
    module: nn.Module | None = None,
    optimizer: torch.optim.Optimizer | None = None,
) -> Iterator[tuple[float, float]]:
    """Yield loss and gradient norm of each step that one process takes on whole batches."""
    module = module or LanguageModel()
    optimizer = optimizer or adamw(module)
    for step in range(start, start + steps):
        optimizer.zero_grad()
        loss = module.training_step(rows(step))
        torch.autograd.backward(loss)
        norm = nn.utils.clip_grad_norm_(module.parameters(), clip or float("inf"))
        optimizer.step()
        yield loss.item(), norm.item()
