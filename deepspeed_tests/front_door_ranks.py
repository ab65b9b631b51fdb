"""What ranks do through Trainer and Fabric, in a module that their processes import by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from language_model import LanguageModel, adamw, rows
from torch import Tensor
from torch.utils.data import DataLoader

from lt_core import LightningModule, Trainer
from lt_deepspeed import DeepSpeedStrategy
from lt_fabric import Fabric
from lt_interfaces import Callback

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


class SavesAfterFour(Callback):
    """Saves after four steps.

    Args:
        path: a folder.
    """

    def __init__(self, path: str) -> None:
        self._file = f"{path}/saved.ckpt"

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step == 4:
            trainer.save_checkpoint(self._file)


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


def resumed_fits(folder: str, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the losses of a fit, and of one that was saved after four steps and resumed, for each case."""
    found = []
    for number, case in enumerate(cases):
        path = str(Path(folder, str(number)))
        whole, second = Trained(), Trained(seed=3)
        fit(path, case, whole, steps=8, callbacks=[SavesAfterFour(path)])
        fit(path, case, second, steps=8, ckpt_path=f"{path}/saved.ckpt")
        found.append({"whole": whole.losses, "resumed": second.losses})
    return found


def evaluated(folder: str, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what validation within a fit found, a test after it, and one from its checkpoint, for each case."""
    found = []
    for number, case in enumerate(cases):
        path, module = str(Path(folder, str(number))), Trained()
        trainer = fit(path, case, module, steps=4, limit_val_batches=2, num_sanity_val_steps=0, val_check_interval=4)
        trainer.save_checkpoint(f"{path}/saved.ckpt")
        within = module.evaluated[:]
        module.evaluated.clear()
        trainer.test(module, text(2), verbose=False)
        after = module.evaluated[:]
        fresh = Trained(seed=4)
        options = {"accelerator": "cpu", "devices": 2, "default_root_dir": path, **QUIET}
        Trainer(strategy=DeepSpeedStrategy(**case), **options).test(
            fresh, text(2), ckpt_path=f"{path}/saved.ckpt", verbose=False
        )
        found.append({"within": within, "after": after, "fresh": fresh.evaluated})
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


def saved_by_fabric(folder: str, cases: list[dict[str, Any]]) -> list[tuple[list[float], list[float]]]:
    """Return the losses after a save, and those from it, for each case."""
    found = []
    for number, case in enumerate(cases):
        path = Path(folder, f"{number}.ckpt")
        fabric = Fabric(accelerator="cpu", devices=2, strategy=DeepSpeedStrategy(**case))
        fabric.launch()
        module = LanguageModel()
        model, optimizer = fabric.setup(module, adamw(module))
        _steps(fabric, model, optimizer, range(3))
        fabric.save(path, {"model": model, "optimizer": optimizer, "step": 3})
        on = _steps(fabric, model, optimizer, range(3, 6))
        fabric = Fabric(accelerator="cpu", devices=2, strategy=DeepSpeedStrategy(**case))
        fabric.launch()
        module = LanguageModel(seed=7)
        model, optimizer = fabric.setup(module, adamw(module))
        state = {"model": model, "optimizer": optimizer, "step": 0}
        fabric.load(path, state)
        assert state["step"] == 3
        found.append((on, _steps(fabric, model, optimizer, range(3, 6))))
    return found


def _steps(fabric: Fabric, model: Any, optimizer: Any, numbers: range) -> list[float]:
    losses = []
    for number in numbers:
        loss = model.training_step(rows(number).chunk(2)[fabric.global_rank])
        fabric.backward(loss)
        optimizer.step()
        losses.append(fabric.all_reduce(loss.detach()).item())
    return losses


class TwoOptimizers(Trained):
    """Wants to be trained with two optimizers."""

    def configure_optimizers(self) -> Any:
        return [adamw(self.model.blocks), adamw(self.model.head)]


def refused(folder: str, what: str) -> str:
    """Return what's said of something that engines can't do; the job is over then."""
    attempts: dict[str, Callable[[], Any]] = {
        "two optimizers": lambda: fit(folder, {"stage": 3}, TwoOptimizers(by_hand=True), steps=1),
        "a second whole backward": lambda: loop_of_ones_own({"stage": 2}, micro=2, apart=False, steps=1),
        "an optimizer of whole parameters": _set_up_adafactor,
    }
    try:
        attempts[what]()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _set_up_adafactor() -> None:
    fabric = Fabric(accelerator="cpu", devices=2, strategy=DeepSpeedStrategy(stage=2))
    fabric.launch()
    module = LanguageModel()
    fabric.setup(module, torch.optim.Adafactor(module.parameters()))
