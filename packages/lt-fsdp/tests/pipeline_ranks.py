"""What ranks of a pipeline do, in a module that their processes import by name."""

from copy import deepcopy
from typing import Any

import torch
from small_transformer import Staged, letters, optimizer_of
from tensor_jobs import QUIET, loader
from tensor_ranks import Outcome, Training, connected
from torch import Tensor, nn

from lt_core import LightningModule, Trainer
from lt_fabric import Fabric
from lt_fsdp import ModelParallelStrategy, ParallelPlan
from lt_interfaces.loss_weights import LossWeights


def pipeline(num_stages: int = 2, **arguments: Any) -> ModelParallelStrategy:
    """Return a strategy of a pipeline, ready to set up modules."""
    plan = ParallelPlan(pipeline=num_stages, **arguments)
    return connected(num_stages, plan=plan, save_distributed_checkpoint=False)


def parity(num_stages: int) -> dict[str, Outcome]:
    """Train in several ways."""
    found = {}
    for schedule, accumulation, clip in (("1f1b", 1, None), ("gpipe", 2, 0.3)):
        strategy = pipeline(num_stages, pipeline_schedule=schedule, num_microbatches=num_stages)
        training = Training(strategy, module=Staged(seed=strategy.global_rank))
        outcome = Outcome()
        for number in range(20 if num_stages == 2 else 5):
            loss, norm = training.loss(number, accumulation=accumulation, clip=clip)
            outcome.losses.append(loss)
            outcome.norms.append(norm)
        outcome.weights = dict(strategy.broadcast(strategy.module_state(training.wrapped)))
        found[schedule + (", clipped" if clip else "")] = outcome
        strategy.teardown()
    return found


def states() -> dict[str, Any]:
    """Train, save, go on; and let a fresh module go on from what was saved."""
    strategy = pipeline()
    training = Training(strategy, module=Staged())
    training.losses(0, 3)
    weights = strategy.module_state(training.wrapped)
    optimizer = strategy.optimizer_state(training.wrapped, training.optimizer)
    found: dict[str, Any] = {"whole": deepcopy((weights, optimizer)), "going on": training.losses(3, 4)}
    fresh = Training(strategy, module=Staged(seed=5))
    weights, optimizer = strategy.broadcast((weights, optimizer))
    strategy.load_module_state(fresh.wrapped, weights)
    strategy.load_optimizer_state(fresh.wrapped, fresh.optimizer, optimizer)
    found["resumed"] = fresh.losses(3, 4)
    found["bytes"] = sum(one.numel() for one in fresh.module.parameters() if not one.is_meta)
    return found


def weighted_gradients(weights: list[float] | None) -> float:
    """Return how far the gradients of a window are from those of one process; batches have other sizes."""
    strategy = pipeline()
    training, alone = Training(strategy, module=Staged()), Staged()
    window, expected = strategy.open_window(3), LossWeights()
    expected.reopen(3)
    for number, size in enumerate((4, 6, 5)):
        batch, weight = letters(number, batch_size=size), None if weights is None else weights[number]
        window.begin(is_last=number == 2)
        strategy.backward(window.add(training.step(batch, 0), weight), Tensor.backward)
        torch.autograd.backward(expected.scaled(alone.training_step(batch), weight))
    window.close()
    factor = expected.factor() or 1.0
    pairs = zip(training.module.parameters(), alone.parameters(), strict=True)
    return max((own.grad - factor * one.grad).abs().max().item() for own, one in pairs if own.grad is not None)  # type: ignore[operator]


class Net(LightningModule):
    """A pipeline and a loss that's logged."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.model: nn.Module | None = None

    def configure_model(self) -> None:
        """Make the model."""
        if self.model is None:
            self.model = Staged()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Train on a batch."""
        assert isinstance(self.model, Staged)
        loss = self.model.training_step(batch[0])
        self.log("loss", loss)
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Evaluate a batch."""
        assert isinstance(self.model, Staged)
        self.log("val", self.model.training_step(batch[0]))

    def configure_optimizers(self) -> Any:
        """Return an optimizer with state."""
        return optimizer_of(self)


def fitted_and_resumed(ranks: int, folder: str) -> dict[str, Any]:
    """Fit with batches that don't divide alike, save, validate and go on."""
    strategy: Any = "auto"
    if ranks > 1:
        strategy = ModelParallelStrategy(plan=ParallelPlan(pipeline=ranks), save_distributed_checkpoint=False)
    how: Any = {"devices": ranks, "strategy": strategy, "default_root_dir": folder, "enable_checkpointing": False}
    model, path = Net(), f"{folder}/{ranks}.ckpt"
    first = Trainer(**QUIET, **how, max_epochs=1, gradient_clip_val=0.5)
    first.fit(model, loader(12), loader(12))
    first.save_checkpoint(path)
    validated = first.validate(model, loader(12), verbose=False)[0]["val"]
    resumed = Net()
    Trainer(**QUIET, **how, max_epochs=2, gradient_clip_val=0.5).fit(resumed, loader(12), loader(12), ckpt_path=path)
    return {"losses": model.losses, "validated": validated, "resumed": resumed.losses}


def with_fabric() -> list[float]:
    """Return the losses of a loop of one's own."""
    strategy = ModelParallelStrategy(plan=ParallelPlan(pipeline=2), save_distributed_checkpoint=False)
    fabric = Fabric(accelerator="cpu", devices=2, strategy=strategy)
    fabric.launch()
    with torch.device("meta"):
        module = Staged()
    plain = Staged()
    module.load_state_dict(plain.state_dict(), assign=True)
    wrapped, optimizer = fabric.setup(module, optimizer_of(module))
    losses = []
    for number in range(4):
        optimizer.zero_grad()
        rows = letters(number)
        loss = wrapped(rows[:, :-1], rows[:, 1:])
        fabric.backward(loss)
        fabric.clip_gradients(wrapped, optimizer, max_norm=0.5)
        optimizer.step()
        losses.append(loss.item())
    return losses


class Outside(nn.Module):
    """Has a layer beside its pipeline."""

    def __init__(self) -> None:
        super().__init__()
        self.model, self.beside = Staged(), nn.Linear(1, 1)


class Tied(Staged):
    """Its first and its last layer are one."""

    def __init__(self) -> None:
        super().__init__()
        self.head.weight = self.embedding.weight


class TooFew(Staged):
    """Has one stage whatever it's asked for."""

    def pipeline_stages(self, num_stages: int) -> list[nn.Module]:
        """Return one."""
        return super().pipeline_stages(1)


def refusals() -> list[str]:
    """Return what is said of modules that can't be a pipeline."""
    strategy, found = pipeline(), []
    for module in (nn.Linear(1, 1), Outside(), Tied(), TooFew()):
        try:
            strategy.setup(module, None)
        except (RuntimeError, TypeError) as error:
            found.append(str(error))
    return found


def made_on_meta() -> tuple[list[str], bool]:
    """Return which parameters a rank has when it's made its module on the meta device, and whether they're filled."""
    with torch.device("meta"):
        module = Staged()
    Training(pipeline(), module=module)
    own = {name: one for name, one in module.named_parameters() if not one.is_meta}
    return sorted(own), all(one.isfinite().all().item() for one in own.values())
