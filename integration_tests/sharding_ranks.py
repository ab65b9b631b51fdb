"""A small GPT trained in every layout over processes, in a module that ranks import by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from small_gpt import Block, SmallGPT, StagedGPT, TextWindows, loss_of
from torch import Tensor
from torch.utils.data import DataLoader

from lt_core import LightningModule, Trainer
from lt_deepspeed import DeepSpeedStrategy
from lt_fsdp import FSDPStrategy, ModelParallelStrategy, ParallelPlan
from lt_interfaces import Callback
from lt_strategies import DDPStrategy

GLOBAL_BATCH_SIZE: Final = 8
_COLWISE: Final = ("attention.query", "attention.key", "attention.value", "up")
_ROWWISE: Final = ("attention.out", "down")
STYLES: Final = {
    f"model.blocks.*.{name}": style for style, names in (("colwise", _COLWISE), ("rowwise", _ROWWISE)) for name in names
}
LAYOUTS: Final[dict[str, Callable[[], Any]]] = {
    "single": lambda: "single_device",
    "ddp": DDPStrategy,
    "fsdp": lambda: FSDPStrategy(auto_wrap_policy={Block}),
    "fsdp, sharded state": lambda: FSDPStrategy(state_dict_type="sharded"),
    "fsdp, kept after forward": lambda: FSDPStrategy(sharding_strategy="SHARD_GRAD_OP"),
    "fsdp, recomputed": lambda: FSDPStrategy(activation_checkpointing_policy={Block}),
    "fsdp, offloaded": lambda: FSDPStrategy(cpu_offload=True),
    "tensor": lambda: ModelParallelStrategy(plan=ParallelPlan(shard=1, tensor=2, tensor_styles=STYLES)),
    "shard x tensor": lambda: ModelParallelStrategy(plan=ParallelPlan(shard=2, tensor=2, tensor_styles=STYLES)),
    "pipeline": lambda: ModelParallelStrategy(
        plan=ParallelPlan(shard=1, pipeline=2), save_distributed_checkpoint=False
    ),
    "hybrid": lambda: FSDPStrategy(sharding_strategy="HYBRID_SHARD", device_mesh=(2, 2)),
    # These need DeepSpeed once they're made, and run in its own environment alone.
    **{f"deepspeed_stage_{stage}": partial(DeepSpeedStrategy, stage=stage) for stage in (1, 2, 3)},
    **{
        f"deepspeed_stage_{stage}, own folder": partial(DeepSpeedStrategy, stage=stage, state_dict_type="sharded")
        for stage in (1, 2, 3)
    },
}


RANKS: Final = {"single": 1, "hybrid": 4, "shard x tensor": 4}
"""Processes of a layout; two, where it isn't named."""
SHARES: Final = {"single": 1, "tensor": 1, "pipeline": 1, "hybrid": 4}
"""On how many different batches the ranks of a layout train at once; two, where it isn't named."""


@dataclass(frozen=True)
class Run:
    """How a run is made."""

    folder: str
    layout: str = "single"
    accumulation: int = 1
    clip: float | None = None
    steps: int = 20
    save_at: Sequence[int] = ()
    """After how many steps a checkpoint is saved."""
    resume: str | None = None
    on_meta: bool = False
    """Whether the model is made in `configure_model`."""
    num_blocks: int = 5
    dropout: float = 0.0


@dataclass
class Outcome:
    """What came out of a run on one rank."""

    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    logged: dict[str, float] = field(default_factory=dict)


class Net(LightningModule):
    """Trains a small GPT, and keeps losses and norms."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self.outcome = Outcome()
        self.dropout = torch.nn.Dropout(run.dropout)
        if not run.on_meta:
            self.model = self.new_model()

    def new_model(self) -> SmallGPT:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            kind = StagedGPT if self.run.layout == "pipeline" else SmallGPT
            return kind(num_blocks=self.run.num_blocks)

    def configure_model(self) -> None:
        if self.run.on_meta and not hasattr(self, "model"):
            self.model = SmallGPT(num_blocks=self.run.num_blocks)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = loss_of(self.model, batch)
        loss = loss * self.dropout(torch.ones(1000)).mean()
        self.outcome.losses.append(loss.item())
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        if gradient_clip_val is not None:
            norm = self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            assert norm is not None
            self.outcome.norms.append(norm.item())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


class Saves(Callback):
    """Saves after some steps."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step in self.run.save_at:
            trainer.save_checkpoint(file_of(self.run, trainer.global_step))


def file_of(run: Run, step: int) -> str:
    return str(Path(run.folder, f"{run.layout}-{step}.ckpt"))


def new_trainer(run: Run, num_devices: int, **arguments: Any) -> Trainer:
    return Trainer(
        accelerator="cpu",
        devices=num_devices,
        strategy=LAYOUTS[run.layout](),
        max_steps=run.steps,
        accumulate_grad_batches=run.accumulation,
        gradient_clip_val=run.clip,
        default_root_dir=run.folder,
        callbacks=[Saves(run)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=5,
        num_sanity_val_steps=0,
        **arguments,
    )


def training_data(num_shares: int) -> DataLoader[Tensor]:
    return DataLoader(TextWindows(352), GLOBAL_BATCH_SIZE // num_shares)


def train(runs: Sequence[Run]) -> list[Outcome]:
    """Train one run after the other; returns what this rank saw."""
    return [_train(run) for run in runs]


def _train(run: Run) -> Outcome:
    torch.set_num_threads(1)
    torch.manual_seed(5)
    return fit(Net(run))


def fit(module: Net) -> Outcome:
    """Make the module's run."""
    run = module.run
    trainer = new_trainer(run, RANKS.get(run.layout, 2))
    trainer.fit(module, training_data(SHARES.get(run.layout, 2)), ckpt_path=run.resume)
    module.outcome.logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    return module.outcome


def mean_losses(ranks: Sequence[Outcome], accumulation: int = 1) -> list[float]:
    """Return the loss of each optimizer step over all ranks."""
    losses = torch.tensor([one.losses for one in ranks], dtype=torch.float64).mean(dim=0)
    return losses.reshape(-1, accumulation).mean(dim=1).tolist()
