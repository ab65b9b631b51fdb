"""A small GPT trained with compiled steps in every layout, in a module that ranks import by name."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from small_gpt import Block, SmallGPT, TextWindows, loss_of
from torch import Tensor, nn
from torch._dynamo.backends.debugging import aot_eager
from torch._dynamo.utils import counters
from torch.utils.data import DataLoader

from lt_core import LightningModule, Trainer
from lt_deepspeed import DeepSpeedStrategy
from lt_fsdp import FSDPStrategy
from lt_strategies import DDPStrategy

LAYOUTS: Final[dict[str, Callable[[], Any]]] = {
    "single": lambda: "single_device",
    "ddp": DDPStrategy,
    "ddp, several buckets": lambda: DDPStrategy(bucket_cap_mb=1),
    "fsdp": lambda: FSDPStrategy(auto_wrap_policy={Block}),
    # These need DeepSpeed once they're made, and run in its own environment alone.
    **{f"deepspeed_stage_{stage}": partial(DeepSpeedStrategy, stage=stage) for stage in (1, 2, 3)},
}
SAMPLES: Final = 14
"""Of an epoch: with batches of four per job, the last one is short."""


@dataclass(frozen=True)
class Outcome:
    """What a rank saw."""

    losses: list[float]
    logged: dict[str, float]
    graphs: int
    """What the compiler was given, parts that DDP cuts a graph into counted one by one."""
    breaks: dict[str, int]
    keys: set[str]


class Graphs:
    """A compiler that traces gradients like torch's own, generates no code, and counts its graphs."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, graph: Any, inputs: Any) -> Any:
        self.count += 1
        return aot_eager(graph, inputs)


class Net(LightningModule):
    """Logs ten values in each step."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.model = SmallGPT(width=width, num_blocks=2, heads=2)
        self.losses: list[Tensor] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        logits = self.model(batch[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        self.log("loss", loss, on_epoch=True)
        for place in range(8):
            self.log(f"logit {place}", logits[..., place].mean(), on_step=False, on_epoch=True)
        self.log("largest", logits.max(), on_step=False, on_epoch=True, reduce_fx="max")
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val_loss", loss_of(self.model, batch))

    def on_train_batch_end(self, outputs: Any, *args: Any) -> None:
        self.losses.append(outputs["loss"])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def train(
    layout: str,
    *,
    world_size: int = 2,
    backend: Any = None,
    by_user: bool = False,
    width: int = 32,
    samples: int = SAMPLES,
) -> Outcome:
    """Fit for three epochs and return what this rank saw.

    Args:
        layout: of `LAYOUTS`.
        world_size: ranks of the job.
        backend: compiles; a `Graphs` by default, ``False``: nothing is compiled.
        by_user: whether the module is passed as `torch.compile` returned it.
        width: of the model.
        samples: of an epoch.
    """
    warnings.simplefilter("ignore")
    torch._dynamo.reset()
    counters.clear()
    torch.manual_seed(0)
    graphs, module = Graphs(), Net(width)
    settings: Any = backend is not False and {"backend": backend or graphs}
    trainer = Trainer(
        accelerator="cpu",
        devices=world_size,
        strategy=LAYOUTS[layout](),
        max_epochs=3,
        compile=False if by_user else settings,
        accumulate_grad_batches=2,
        gradient_clip_val=1.0,
        **dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False),
    )
    loader: Any = DataLoader(TextWindows(samples), batch_size=4 // world_size)
    trainer.fit(torch.compile(module, **settings) if by_user and settings else module, loader, loader)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    breaks = {reason.splitlines()[0]: count for reason, count in counters["graph_break"].items()}
    return Outcome([float(loss) for loss in module.losses], logged, graphs.count, breaks, set(module.state_dict()))


def compare(layout: str, width: int = 32) -> tuple[Outcome, Outcome, Outcome]:
    """Return how a layout trains uncompiled, compiled by the Trainer, and compiled by the user."""
    plain = train(layout, backend=False, width=width)
    return plain, train(layout, width=width), train(layout, by_user=True, width=width)
