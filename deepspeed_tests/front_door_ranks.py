"""What ranks do through Trainer and Fabric, in a module that their processes import by name."""

from typing import Any

import torch
from language_model import LanguageModel, adamw, rows
from torch import Tensor
from torch.utils.data import DataLoader

from lt_core import LightningModule, Trainer
from lt_deepspeed import DeepSpeedStrategy
from lt_fabric import Fabric

QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)


class Trained(LightningModule):
    """The language model, trained by a Trainer."""

    def __init__(self, seed: int = 0, *, by_hand: bool = False) -> None:
        super().__init__()
        self.model = LanguageModel(seed)
        self.automatic_optimization = not by_hand
        self.losses: list[float] = []
        self.evaluated: list[float] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self.model.training_step(batch)
        self.losses.append(self.trainer.strategy.reduce(loss.detach()).item())
        if not self.automatic_optimization:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            self.trainer.strategy.clip_gradients(list(self.parameters()), max_norm=0.5)
            optimizer.step()
            self.lr_schedulers().step()
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.evaluated.append(self.trainer.strategy.reduce(self.model.training_step(batch)).item())

    test_step = validation_step

    def configure_optimizers(self) -> Any:
        optimizer = adamw(self)
        return [optimizer], [{"scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 3), "interval": "step"}]


def text(steps: int, micro: int = 1) -> DataLoader[Any]:
    """Return batches whose shares over two ranks and micro-batches are those of `engine_ranks.train`."""
    whole = torch.stack([rows(step) for step in range(steps)])  # the sampler gives rank r every second row
    parts = whole.unflatten(1, (2, micro, -1)).transpose(1, 2).transpose(2, 3).reshape(-1, whole.shape[-1])
    return DataLoader(parts, batch_size=8 // 2 // micro)  # type: ignore[arg-type]  # a tensor will do


def fit(folder: str, arguments: dict[str, Any], module: Trained, *, steps: int, micro: int = 1, **more: Any) -> Trainer:
    """Fit a module under a strategy with arguments."""
    options = {"accelerator": "cpu", "devices": 2, **QUIET}
    resumed = more.pop("ckpt_path", None)
    if module.automatic_optimization:
        options |= {"gradient_clip_val": 0.5, "accumulate_grad_batches": micro}
    trainer = Trainer(
        default_root_dir=folder, strategy=DeepSpeedStrategy(**arguments), max_steps=steps, **options, **more
    )
    loader = text(10, micro)
    trainer.fit(module, loader, loader if more.get("limit_val_batches") else None, ckpt_path=resumed)
    return trainer


def fits(folder: str, cases: list[dict[str, Any]]) -> list[list[float]]:
    """Return the losses of a fit for each case."""
    found = []
    for case in cases:
        case = dict(case)
        module = Trained(by_hand=case.pop("by_hand", False))
        fit(folder, case, module, steps=10, micro=case.pop("micro", 1))
        found.append(module.losses)
    return found


def loop_of_ones_own(
    case: dict[str, Any], *, order: str = "together", micro: int = 1, apart: bool = True, steps: int = 5
) -> list[Any]:
    """Return losses and norms of a loop with Fabric; ``apart``: all but the last micro-batch don't synchronise."""
    fabric = Fabric(accelerator="cpu", devices=2, strategy=DeepSpeedStrategy(**case))
    fabric.launch()
    with fabric.init_module():
        module = LanguageModel(fabric.global_rank)
    if order == "together":
        model, optimizer = fabric.setup(module, adamw(module))
    elif order == "module first":
        model = fabric.setup_module(module)
        optimizer = fabric.setup_optimizers(adamw(module))
    else:
        made = adamw(module)
        model = fabric.setup_module(module)
        optimizer = fabric.setup_optimizers(made)
    found = []
    for step in range(steps):
        parts = rows(step).chunk(2 * micro)
        optimizer.zero_grad()
        losses = []
        for number in range(micro):
            with fabric.no_backward_sync(model, enabled=apart and number < micro - 1):
                loss = model.training_step(parts[fabric.global_rank * micro + number])
                fabric.backward(loss / micro)
            losses.append(loss.detach())
        norm = fabric.clip_gradients(model, optimizer, max_norm=0.5)
        optimizer.step()
        found.append((fabric.all_reduce(torch.stack(losses).mean()).item(), norm.item()))
    return found


def loops_of_ones_own(cases: list[tuple[dict[str, Any], dict[str, Any]]]) -> list[Any]:
    """Return what a loop found for each case."""
    return [loop_of_ones_own(case, **options) for case, options in cases]
