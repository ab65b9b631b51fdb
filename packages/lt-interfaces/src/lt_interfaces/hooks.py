"""The table of hooks: every moment of a run, in loop order, with who hears it and whether `log` is allowed there.

Dispatch, permission checks, the documentation and the check of misspelt hooks are computed from `HOOKS`; `Callback`,
`LightningModule` and `LightningDataModule` offer exactly what it lists.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from lightning_utilities.core.enums import StrEnum

Function = TypeVar("Function")


class Hearer(StrEnum):
    """Who hears a hook."""

    CALLBACK = "callback"
    """Every callback; `MONITOR` callbacks too, unless the hook lists them separately."""
    MODULE = "module"
    DATAMODULE = "datamodule"
    MONITOR = "monitor"
    """Callbacks that decide on metrics (roles checkpoint and stop), where they must come after the module."""


class Kind(StrEnum):
    """How the loop uses a method of the table."""

    EVENT = "event"
    """Told to every hearer; what it returns doesn't matter, except for the module's ``on_train_batch_start``."""
    STEP = "step"
    """The work itself: exactly one hearer does it."""
    SETTING = "setting"
    """Asked once per entry point: configuration and loaders."""
    TRANSFER = "transfer"
    """A batch on its way to the device: the datamodule's if it overrides it, else the module's."""


@dataclass(frozen=True)
class LogRule:
    """What ``self.log`` takes in a hook: the defaults, and whether they may be changed."""

    on_step: bool
    on_epoch: bool
    fixed: bool = False
    """Nothing but the defaults is accepted."""


STEP_LOG: Final = LogRule(on_step=True, on_epoch=False)
EVALUATION_LOG: Final = LogRule(on_step=False, on_epoch=True)
EPOCH_LOG: Final = LogRule(on_step=False, on_epoch=True, fixed=True)

_CM: Final = (Hearer.CALLBACK, Hearer.MODULE)
_M: Final = (Hearer.MODULE,)
_MONITORS_LAST: Final = (Hearer.CALLBACK, Hearer.MODULE, Hearer.MONITOR)
"""For hooks in which checkpoints are saved: a file holds what everybody else has done in the hook."""
_MD: Final = (Hearer.MODULE, Hearer.DATAMODULE)


@dataclass(frozen=True)
class Hook:
    """One row of the table."""

    name: str
    arguments: tuple[str, ...] = ()
    """Arguments after ``self`` (for callbacks: after ``trainer, pl_module``), with defaults: ``dataloader_idx=0``."""
    heard_by: tuple[Hearer, ...] = _CM
    """In calling order."""
    log: LogRule | None = None
    """``None``: ``self.log`` isn't allowed here."""
    kind: Kind = Kind.EVENT


def _evaluation(stage: str, log: LogRule | None, epoch_log: LogRule | None) -> Iterator[Hook]:
    """Yield the rows of one evaluating stage, in loop order."""
    batch = ("batch", "batch_idx", "dataloader_idx=0")
    outputs = ("outputs", *batch)
    yield Hook(f"{_LOADER_STAGE[stage]}_dataloader", (), _MD, kind=Kind.SETTING)
    if stage == "validation":
        yield Hook("on_validation_model_zero_grad", (), _M)
    yield Hook(f"on_{stage}_model_eval", (), _M)
    yield Hook(f"on_{stage}_start", log=epoch_log)
    yield Hook(f"on_{stage}_epoch_start", log=epoch_log)
    yield Hook(f"on_{stage}_batch_start", batch, log=log)
    yield Hook(f"{_STEP_STAGE[stage]}_step", ("batch", "batch_idx", "dataloader_idx=0"), _M, log, Kind.STEP)
    yield Hook(f"on_{stage}_batch_end", outputs, log=log)
    yield Hook(f"on_{stage}_epoch_end", log=epoch_log)
    yield Hook(f"on_{stage}_end", (), _MONITORS_LAST if stage == "validation" else _CM)
    yield Hook(f"on_{stage}_model_train", (), _M)


_LOADER_STAGE: Final = {"validation": "val", "test": "test", "predict": "predict"}
_STEP_STAGE: Final = {"validation": "validation", "test": "test", "predict": "predict"}

HOOKS: Final[tuple[Hook, ...]] = (
    # --- a run is put together ---
    Hook("configure_callbacks", (), _M, kind=Kind.SETTING),
    Hook("prepare_data", (), (Hearer.DATAMODULE, Hearer.MODULE)),
    Hook("setup", ("stage",), (Hearer.DATAMODULE, Hearer.CALLBACK, Hearer.MODULE)),
    Hook("configure_model", (), _M, kind=Kind.SETTING),
    Hook("on_load_checkpoint", ("checkpoint",), (Hearer.MODULE, Hearer.CALLBACK)),
    Hook("configure_optimizers", (), _M, kind=Kind.SETTING),
    Hook("on_fit_start"),
    Hook("on_sanity_check_start", (), (Hearer.CALLBACK,)),
    Hook("on_sanity_check_end", (), (Hearer.CALLBACK,)),
    # --- training ---
    Hook("train_dataloader", (), _MD, kind=Kind.SETTING),
    Hook("on_train_start", log=EPOCH_LOG),
    Hook("on_train_epoch_start", log=EPOCH_LOG),
    Hook("on_before_batch_transfer", ("batch", "dataloader_idx"), _MD, kind=Kind.TRANSFER),
    Hook("transfer_batch_to_device", ("batch", "device", "dataloader_idx"), _MD, kind=Kind.TRANSFER),
    Hook("on_after_batch_transfer", ("batch", "dataloader_idx"), _MD, kind=Kind.TRANSFER),
    Hook("on_train_batch_start", ("batch", "batch_idx"), log=STEP_LOG),
    Hook("optimizer_step", ("epoch", "batch_idx", "optimizer", "optimizer_closure=None"), _M, STEP_LOG, Kind.STEP),
    Hook("training_step", ("batch", "batch_idx"), _M, STEP_LOG, Kind.STEP),
    Hook("on_before_zero_grad", ("optimizer",), log=STEP_LOG),
    Hook("optimizer_zero_grad", ("epoch", "batch_idx", "optimizer"), _M, STEP_LOG, Kind.STEP),
    Hook("on_before_backward", ("loss",), log=STEP_LOG),
    Hook("backward", ("loss", "*args", "**kwargs"), _M, STEP_LOG, Kind.STEP),
    Hook("on_after_backward", log=STEP_LOG),
    Hook("on_before_optimizer_step", ("optimizer",), log=STEP_LOG),
    Hook(
        "configure_gradient_clipping",
        ("optimizer", "gradient_clip_val=None", "gradient_clip_algorithm=None"),
        _M,
        STEP_LOG,
        Kind.STEP,
    ),
    Hook("lr_scheduler_step", ("scheduler", "metric"), _M, kind=Kind.STEP),
    Hook("on_train_batch_end", ("outputs", "batch", "batch_idx"), _MONITORS_LAST, STEP_LOG),
    # --- validating, inside or outside of fitting ---
    *_evaluation("validation", EVALUATION_LOG, EPOCH_LOG),
    # --- the end of an epoch and of training ---
    Hook("on_train_epoch_end", (), _MONITORS_LAST, EPOCH_LOG),
    Hook("on_save_checkpoint", ("checkpoint",), _CM),
    Hook("on_train_end"),
    # --- testing and predicting ---
    *_evaluation("test", EVALUATION_LOG, EPOCH_LOG),
    *(hook for hook in _evaluation("predict", None, None) if hook.name != "on_predict_model_train"),
    # --- the end of a run ---
    Hook("on_fit_end"),
    Hook("on_exception", ("exception",), (Hearer.CALLBACK, Hearer.DATAMODULE)),
    Hook("teardown", ("stage",), (Hearer.DATAMODULE, Hearer.CALLBACK, Hearer.MODULE)),
)

BY_NAME: Final[dict[str, Hook]] = {hook.name: hook for hook in HOOKS}

RETIRED: Final[dict[str, str]] = {
    "training_epoch_end": "on_train_epoch_end",
    "validation_epoch_end": "on_validation_epoch_end",
    "test_epoch_end": "on_test_epoch_end",
    "predict_epoch_end": "on_predict_epoch_end",
    "training_step_end": "training_step",
    "validation_step_end": "validation_step",
    "test_step_end": "test_step",
    "on_epoch_start": "on_train_epoch_start",
    "on_epoch_end": "on_train_epoch_end",
    "on_batch_start": "on_train_batch_start",
    "on_batch_end": "on_train_batch_end",
    "on_pretrain_routine_start": "on_fit_start",
    "on_pretrain_routine_end": "on_fit_start",
    "on_configure_sharded_model": "setup",
    "on_before_accelerator_backend_setup": "setup",
    "on_keyboard_interrupt": "on_exception",
    "on_init_start": "setup",
    "on_init_end": "setup",
    "on_load_checkpoint_state": "load_state_dict",
    "on_train_dataloader": "train_dataloader",
    "on_val_dataloader": "val_dataloader",
    "on_test_dataloader": "test_dataloader",
    "on_predict_dataloader": "predict_dataloader",
    "on_hpc_save": "on_save_checkpoint",
    "on_hpc_load": "on_load_checkpoint",
    "on_post_move_to_device": "on_fit_start",
    "configure_sharded_model": "configure_model",
}
"""Hooks that older Lightning code may define, with what replaces each."""


def heard_by(hearer: Hearer) -> tuple[Hook, ...]:
    """Return the rows that one kind of hearer offers, in loop order.

    >>> [hook.name for hook in heard_by(Hearer.DATAMODULE)][:2]
    ['prepare_data', 'setup']
    """
    return tuple(hook for hook in HOOKS if hearer in hook.heard_by)


def not_a_hook(function: Function) -> Function:
    """Mark an ``on_*`` method as the user's own, though its name is close to that of a hook.

    >>> class Model:
    ...     @not_a_hook
    ...     def on_train_stat(self): ...
    """
    function.__not_a_hook__ = True  # type: ignore[attr-defined]  # the mark is the whole purpose
    return function
