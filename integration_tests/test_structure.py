"""How lt is built, as far as users and plugin authors rely on it: hooks, call depth, calls and host syncs per step."""

import ast
import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lt_core import LightningModule, Trainer
from lt_core.run.fit_run import FitRun
from lt_datamodules import LightningDataModule
from lt_interfaces.callback import Callback
from lt_interfaces.hooks import HOOKS, RETIRED, Hearer, Hook, Kind, heard_by

ROOT = Path(__file__).parent.parent
QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


class Model(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(32, 2)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.001)


def loader(num_batches: int) -> DataLoader[Tensor]:
    return DataLoader(torch.randn(num_batches, 32))  # type: ignore[arg-type]  # a tensor serves as a dataset


def fit(root: Path, model: LightningModule, num_batches: int = 3, **arguments: Any) -> None:
    arguments = QUIET | {"max_epochs": 1, "accelerator": "cpu", "default_root_dir": root} | arguments
    Trainer(**arguments).fit(model, loader(num_batches))


# --- no hook is forgotten by those who hear it ---

HEARERS = {Hearer.CALLBACK: Callback, Hearer.MODULE: LightningModule, Hearer.DATAMODULE: LightningDataModule}
# How a class names the arguments that come before those of the table.
LEADING = {Hearer.CALLBACK: ["self", "trainer", "pl_module"], Hearer.MODULE: ["self"], Hearer.DATAMODULE: ["self"]}
# The user's own steps take what the user declares; the base class accepts anything and says what it's called with.
FREE = {"training_step", "validation_step", "test_step", "predict_step"}


def rows() -> Iterator[Any]:
    for hearer, cls in HEARERS.items():
        for hook in heard_by(hearer):
            yield pytest.param(cls, hearer, hook, id=f"{cls.__name__}.{hook.name}")


def declared(parameter: inspect.Parameter) -> str:
    """Return a parameter as the table writes it."""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    default = "" if parameter.default is inspect.Parameter.empty else f"={parameter.default!r}"
    return f"{stars}{parameter.name}{default}"


@pytest.mark.parametrize(("cls", "hearer", "hook"), list(rows()))
def test_hearers_offer_every_hook_with_the_arguments_of_the_table(cls: type, hearer: Hearer, hook: Hook) -> None:
    parameters = [declared(each) for each in inspect.signature(getattr(cls, hook.name)).parameters.values()]
    if hook.name in FREE:
        assert parameters in (["self", "*args", "**kwargs"], [*LEADING[hearer], *hook.arguments])
    else:
        assert parameters == [*LEADING[hearer], *hook.arguments]


@pytest.mark.parametrize("hearer", list(HEARERS))
def test_hearers_offer_no_hook_that_the_table_does_not_know(hearer: Hearer) -> None:
    cls = HEARERS[hearer]
    known = {hook.name for hook in HOOKS if hearer in hook.heard_by}
    if hearer is Hearer.CALLBACK:
        known |= {hook.name for hook in heard_by(Hearer.MONITOR)}
    looks_like_one = re.compile(r"on_(?!gpu)|(setup|teardown|prepare_data)$|.*_(step|dataloader|zero_grad)$")
    # `lr_schedulers()` and its like are asked by users; these two look like hooks and are none.
    offered = {name for name in dir(cls) if looks_like_one.match(name) and callable(getattr(cls, name))}
    assert offered - {"zero_grad"} <= known


def test_retired_hooks_name_one_that_exists() -> None:
    # `load_state_dict` belongs to state, which isn't a moment of the run and so not in the table.
    assert set(RETIRED.values()) <= {hook.name for hook in HOOKS} | {"load_state_dict"}
    assert not set(RETIRED) & {hook.name for hook in HOOKS}


def test_every_event_hook_is_heard() -> None:
    assert all(hook.heard_by for hook in HOOKS if hook.kind is Kind.EVENT)


# --- the shape of the code ---


def test_the_state_of_a_fit_has_at_most_eight_parts() -> None:
    assert len(dataclasses.fields(FitRun)) <= 8


def test_no_module_is_named_after_a_drawer() -> None:
    drawer = re.compile(r"(^|_)(utils?|helpers?|common|misc|managers?|connectors?|handlers?)(_|$)")
    modules = [path for path in ROOT.glob("packages/*/src/**/*") if path.suffix == ".py" or path.is_dir()]
    assert [str(path) for path in modules if drawer.search(path.stem)] == []


def test_loops_never_ask_for_the_kind_of_a_strategy_or_precision() -> None:
    """A loop that knows kinds has to change with every new one; parts are asked what they can do instead."""
    asked = [
        f"{path.name}:{node.lineno}"
        for path in sorted((ROOT / "packages/lt-core/src/lt_core/loops").glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass", "type")
        if re.search("strategy|precision|runtime|accelerator", ast.unparse(node), re.IGNORECASE)
    ]
    assert asked == []


# --- how deep the user's step lies ---


def own_frames_above() -> list[str]:
    """Return our frames between the caller's caller and `fit()`, innermost first; torch's and others aren't counted."""
    frames: list[str] = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.split(".")[0] in ("lt_core", "lt_fabric", "lt_interfaces"):
            frames.append(f"{module}.{frame.f_code.co_qualname}")
            if frame.f_code.co_name == "fit" and module.startswith("lt_core.trainer"):
                return frames
        frame = frame.f_back
    message = f"not called from within fit: {frames}"
    raise AssertionError(message)


class NotesDepth(Model):
    def __init__(self) -> None:
        super().__init__()
        self.frames: list[str] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.frames = own_frames_above()
        return super().training_step(batch, batch_idx)


class NotesDepthInOwnStep(NotesDepth):
    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)


@pytest.mark.parametrize(("model", "most"), [(NotesDepth, 10), (NotesDepthInOwnStep, 13)])
def test_few_frames_lie_between_fit_and_the_training_step(tmp_path: Path, model: type[NotesDepth], most: int) -> None:
    deep = model()
    fit(tmp_path, deep)
    # `fit` itself is where we start to count.
    between = deep.frames[:-1]
    assert 0 < len(between) <= most, "\n".join(between)


# --- what a step costs ---

FIRST, LAST = 20, 120
"""The steps between which is counted: no set-up, no epoch end."""


def hand_written(at: Callable[[int], None]) -> None:
    layer = nn.Linear(32, 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.001)
    for batch_idx, batch in enumerate(loader(LAST + 10)):
        at(batch_idx)
        optimizer.zero_grad()
        layer(batch).square().mean().backward()
        optimizer.step()


def python_calls_per_step(train: Callable[[Callable[[int], None]], None]) -> float:
    count = 0

    def hear(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    def at(batch_idx: int) -> None:
        if batch_idx in (FIRST, LAST):
            sys.setprofile(hear if batch_idx == FIRST else None)

    before = sys.getprofile()
    try:
        train(at)
    finally:
        sys.setprofile(before)
    return count / (LAST - FIRST)


def test_a_bare_step_calls_at_most_sixty_functions_more_than_a_loop_by_hand(tmp_path: Path) -> None:
    def with_trainer(at: Callable[[int], None]) -> None:
        class Reports(Model):
            def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
                at(batch_idx)
                return self.layer(batch).square().mean()

        fit(tmp_path, Reports(), LAST + 10)

    assert python_calls_per_step(with_trainer) - python_calls_per_step(hand_written) <= 60


SYNCING = ["item", "tolist", "cpu", "numpy", "__float__", "__int__", "__bool__", "__index__", "__array__"]


@contextmanager
def counted_syncs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Note each call by which the host waits for a tensor's value."""
    calls: list[str] = []

    def noting(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def note(self: Tensor, *args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return method(self, *args, **kwargs)

        return note

    with monkeypatch.context() as patch:
        for name in SYNCING:
            patch.setattr(Tensor, name, noting(name, getattr(Tensor, name)))
        yield calls


@pytest.mark.parametrize("logs", [False, True], ids=["bare", "with log"])
@pytest.mark.parametrize("accumulation", [1, 3])
def test_no_step_waits_for_the_device_between_flushes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs: bool, accumulation: int
) -> None:
    at_step: list[int] = []

    class Logs(Model):
        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            at_step.append(len(syncs))
            loss = super().training_step(batch, batch_idx)
            if logs:
                self.log("loss", loss, on_step=True, on_epoch=True, prog_bar=True)
                self.log_dict({"largest": loss.detach(), "count": 3}, on_step=True, on_epoch=True, reduce_fx="max")
            return loss

    with counted_syncs(monkeypatch) as syncs:
        arguments = {"log_every_n_steps": 1000, "gradient_clip_val": 1.0, "accumulate_grad_batches": accumulation}
        fit(tmp_path, Logs(), 30, **arguments)
    # From the first step on: what happens while the run is put together doesn't count.
    assert at_step[-1] - at_step[0] == 0, syncs[at_step[0] : at_step[-1]]


def test_a_flush_is_what_the_counter_of_syncs_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Logs(Model):
        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            loss = super().training_step(batch, batch_idx)
            self.log("loss", loss, on_step=True, on_epoch=True)
            return loss

    with counted_syncs(monkeypatch) as syncs:
        fit(tmp_path, Logs())
    assert syncs
