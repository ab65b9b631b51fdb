"""Every precision under every layout, in automatic and manual optimization, clipped and not: trains, saves, resumes."""

import itertools
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from serving_ranks import Ask
from torch import Tensor, nn

from lt_core import LightningModule, Trainer
from lt_interfaces import Callback, MisconfigurationException

LAYOUTS: Final = {"single": "one process", "ddp": "DDP on 2", "fsdp": "FSDP2 on 2"}
WITHOUT_GPU: Final = (
    *("32-true", "64-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed"),
    *("fp8-mixed", "float8", "float8-rowwise"),
    *("nf4", "nf4-dq", "fp4", "fp4-dq", "int8", "int8-training", "int8-weight-only"),
)
"""The names that can be tried without a GPU."""

_SAVED_AT: Final = 3
_NUM_STEPS: Final = 6
Mode = Literal["automatic", "manual", "evaluation"]
Clip = Literal["none", "norm", "value"]
Way = tuple[str, str, Mode, Clip]
"""A precision under a layout, how it's used there, and how gradients are clipped."""
TRAINING: Final[list[tuple[Mode, Clip]]] = list(itertools.product(("automatic", "manual"), ("none", "norm", "value")))
EVERY_WAY: Final[list[Way]] = [
    (precision, layout, *use)
    for precision in WITHOUT_GPU
    for layout in LAYOUTS
    for use in (*TRAINING, ("evaluation", "none"))
]


@dataclass(frozen=True)
class Case:
    """One way to train, and where its checkpoint goes."""

    precision: str
    layout: str
    mode: Mode
    clip: Clip
    folder: str


@dataclass(frozen=True)
class Found:
    """What came of a case."""

    refused: str = ""
    """What was said where it's declared unsupported; else empty."""
    has_worked: bool = False
    """Whether losses were finite and training changed the weights."""
    is_exact: bool = False
    """Whether going on from the checkpoint gave the same losses, weights and loss scale to the bit."""

    @property
    def outcome(self) -> str:
        """In a word."""
        if self.refused:
            return "refused"
        return "exact" if self.has_worked and self.is_exact else "WRONG"


def run(case: Case) -> Found:
    """Use a precision in one way, on this rank."""
    try:
        return _evaluate(case) if case.mode == "evaluation" else _train(case)
    except MisconfigurationException as refusal:
        return Found(refused=str(refusal))


def _evaluate(case: Case) -> Found:
    """Validate twice, the second time with another module that loads what the first one saved."""
    saved = str(Path(case.folder, f"{case.precision}-{case.layout}.ckpt"))
    net, again = Net(case, seed=0), Net(case, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = _trainer(case)
        trainer.validate(net, _Loader(trainer), verbose=False)
        trainer.save_checkpoint(saved)
        trainer = _trainer(case)
        trainer.validate(again, _Loader(trainer), ckpt_path=saved, verbose=False)
    return Found(has_worked=all(map(_is_finite, net.losses)), is_exact=net.losses == again.losses)


def _train(case: Case) -> Found:
    """Train, save in the middle, go on from that with another module, and compare."""
    saved = str(Path(case.folder, f"{case.precision}-{case.layout}-{case.mode}-{case.clip}.ckpt"))
    whole, net, precision = fit(case, save_to=saved)
    resumed, again, its_precision = fit(case, resume_from=saved)
    first, last = net.first or [], net.last
    return Found(
        has_worked=all(map(_is_finite, [*net.losses, *last])) and not _same(first, last),
        is_exact=net.losses[_SAVED_AT:] == again.losses
        and _same(last, again.last)
        and whole.global_step == resumed.global_step == _NUM_STEPS
        and precision.state_dict() == its_precision.state_dict(),
    )


def matrix(ask: Ask, ways: Iterable[Way]) -> dict[Way, Found]:
    """Try these ways: those of one process here, the others on the ranks that are asked."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for way in ways:
            case = Case(*way, folder=folder)
            outcomes = [run(case)] if case.layout == "single" else ask(case)
            assert len(set(outcomes)) == 1, (way, outcomes)
            found[way] = outcomes[0]
    return found


def table(found: dict[Way, Found]) -> str:
    """Return a row per precision, and per layout a column for training in six ways and one for evaluation."""
    columns = [(layout, is_training) for layout in LAYOUTS for is_training in (True, False)]
    names = [f"{LAYOUTS[layout]}: {'trains' if is_training else 'evaluates'}" for layout, is_training in columns]
    lines = ["| precision | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(columns)]
    for precision in dict.fromkeys(way[0] for way in found):
        cells = [outcome_of(found, precision, layout, is_training=is_training) for layout, is_training in columns]
        lines.append(f"| {precision} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def outcome_of(found: dict[Way, Found], precision: str, layout: str, *, is_training: bool) -> str:
    """Return what came of all ways to train, or to evaluate, in a word where it's the same for all."""
    outcomes = [
        one.outcome
        for way, one in found.items()
        if way[:2] == (precision, layout) and (way[2] != "evaluation") is is_training
    ]
    counts = {word: outcomes.count(word) for word in ("exact", "refused", "WRONG")}
    return ", ".join(word if count == len(outcomes) else f"{word}: {count}" for word, count in counts.items() if count)


class Net(LightningModule):
    """Layers whose sizes every precision takes, trained on the same data every time."""

    def __init__(self, case: Case, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layers = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 16))
        self.case = case
        self.automatic_optimization = case.mode == "automatic"
        self.losses: list[float] = []
        self.first: list[Tensor] | None = None
        self.last: list[Tensor] = []

    def training_step(self, batch: Tensor) -> Tensor | None:
        """Fit the layers to a rotation of their inputs."""
        if self.first is None:
            self.first = _whole_weights(self)
        loss = nn.functional.mse_loss(self.layers(batch), batch.roll(1, dims=1))
        self.losses.append(loss.item())
        if self.automatic_optimization:
            return loss
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        if self.case.clip != "none":
            self.clip_gradients(optimizer, gradient_clip_val=0.05, gradient_clip_algorithm=self.case.clip)
        optimizer.step()
        return None

    def validation_step(self, batch: Tensor) -> None:
        """Note the loss."""
        self.losses.append(nn.functional.mse_loss(self.layers(batch), batch.roll(1, dims=1)).item())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Train what isn't frozen."""
        return torch.optim.SGD([one for one in self.parameters() if one.requires_grad], lr=0.1, momentum=0.9)

    def on_train_end(self) -> None:
        """Keep the weights, whole."""
        self.last = _whole_weights(self)


class Saver(Callback):
    """Saves in the middle."""

    def __init__(self, path: str) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        """Save after the third step."""
        if trainer.global_step == _SAVED_AT:
            trainer.save_checkpoint(self.path)


def fit(case: Case, *, save_to: str | None = None, resume_from: str | None = None) -> tuple[Trainer, Net, Any]:
    """Fit, and return the Trainer, the module and the precision."""
    trainer = _trainer(case, *([] if save_to is None else [Saver(save_to)]))
    net = Net(case, seed=0 if resume_from is None else 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(net, _Loader(trainer), ckpt_path=resume_from)
    return trainer, net, trainer.precision_plugin


def _trainer(case: Case, *callbacks: Callback) -> Trainer:
    is_clipped = case.clip != "none" and case.mode == "automatic"
    clipping = {"gradient_clip_val": 0.05, "gradient_clip_algorithm": case.clip}
    return Trainer(
        accelerator="cpu",
        devices=1 if case.layout == "single" else 2,
        strategy="auto" if case.layout == "single" else case.layout,
        precision=case.precision,
        callbacks=list(callbacks),
        max_steps=_NUM_STEPS,
        **(clipping if is_clipped else {}),
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def training_batches(rank: int) -> Iterator[Tensor]:
    """Give the batches of a rank."""
    for step in range(_NUM_STEPS):
        yield torch.randn(16, 16, generator=torch.Generator().manual_seed(2 * step + rank))


class _Loader:
    """Gives each rank batches of its own."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def __iter__(self) -> Iterator[Tensor]:
        return training_batches(self._trainer.global_rank)

    def __len__(self) -> int:
        return _NUM_STEPS


def _whole_weights(net: nn.Module) -> list[Tensor]:
    return [_whole(one).clone() for one in (*net.parameters(), *net.buffers())]


def _whole(parameter: Tensor) -> Tensor:
    whole: Tensor = parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter
    return whole.detach()


def _same(ones: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return len(ones) == len(others) and all(torch.equal(one, other) for one, other in zip(ones, others, strict=True))


def _is_finite(value: Any) -> bool:
    return bool(torch.isfinite(torch.as_tensor(value)).all())
