"""What the user asked of one entry point: the module and where the data comes from."""

import os
from dataclasses import dataclass
from typing import Any, Final

from lt_core.checkpointing.ckpt_path import CheckpointPlaces, resolve_ckpt_path
from lt_core.module import LightningModule
from lt_core.run.job import Resume, RunLimits
from lt_core.run.loaders import LoaderSource
from lt_core.specs import LimitsSpec, TrainerSpecs, resolve_epochs
from lt_fabric.runtime import Runtime
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.states import TrainerFn

LOADER_STAGE: Final = {TrainerFn.VALIDATING: "val", TrainerFn.TESTING: "test", TrainerFn.PREDICTING: "predict"}
"""What the loaders of an evaluating entry point are called after."""


def run_limits(limits: LimitsSpec, fn: TrainerFn, *, has_timer: bool) -> RunLimits:
    """Return the limits of one call, settled now."""
    if fn is not TrainerFn.FITTING:
        return RunLimits()
    max_epochs, min_epochs = resolve_epochs(limits, has_timer=has_timer)
    return RunLimits(max_epochs, min_epochs, limits.max_steps, limits.min_steps or 0)


def check_model(model: Any, fn: str) -> LightningModule:
    """Return the module that an entry point works with.

    Raises:
        TypeError: for anything but a LightningModule, or when there's none.
    """
    if model is None:
        message = f"`Trainer.{fn}()` needs a model: none was passed, and none was used before."
        raise TypeError(message)
    if not isinstance(model, LightningModule):
        message = f"`model` must be a LightningModule (or one that was compiled), but got {type(model).__name__}."
        raise TypeError(message)
    return model


@dataclass(frozen=True)
class Order:
    """What the user passed to one entry point."""

    model: Any
    loaders: Any
    given_datamodule: Any
    ckpt_path: str | os.PathLike[str] | None
    weights_only: bool | None
    strict: bool = True

    def __post_init__(self) -> None:
        """Refuse loaders and a datamodule at once.

        Raises:
            MisconfigurationException: naming both.
        """
        if self.given_datamodule is not None and self.loaders is not None:
            message = "Loaders and `datamodule` were both given; pass one of them."
            raise MisconfigurationException(message)

    @property
    def datamodule(self) -> Any | None:
        """The datamodule, which may have been passed in the loaders' place."""
        return self.loaders if _is_datamodule(self.loaders) else self.given_datamodule

    def source(self, stage: str, module: Any, passed: Any) -> LoaderSource:
        """Return where the loaders of a stage come from: what was passed, else the datamodule, else the module.

        Args:
            stage: "train", "val", "test" or "predict".
            module: the user's module.
            passed: the loaders passed for this stage.

        Raises:
            MisconfigurationException: for loaders beside a datamodule.
        """
        if passed is None or passed is self.datamodule:
            return LoaderSource(stage, module if self.datamodule is None else self.datamodule, is_hook=True)
        if self.datamodule is not None:
            message = f"`{stage}_dataloaders` and `datamodule` were both given; pass one of them."
            raise MisconfigurationException(message)
        return LoaderSource(stage, passed, is_hook=False)

    def resume(
        self,
        fn: TrainerFn,
        specs: TrainerSpecs,
        *,
        callbacks: list[Any],
        runtime: Runtime,
        user: str | os.PathLike[str] | None,
    ) -> Resume:
        """Return the checkpoint to begin with.

        Args:
            fn: the entry point.
            specs: the Trainer's.
            callbacks: the Trainer's.
            runtime: its checkpoint IO knows what is stored where; its environment, whether a scheduler may have put
                this job into its queue again. Where nobody names a checkpoint, fitting then goes on from the one that
                was saved for that.
            user: what was assigned to ``trainer.ckpt_path``; used where the call names none.
        """
        if user is not None and self.ckpt_path is not None:
            rank_zero_warn(f"`ckpt_path={self.ckpt_path!r}` is used; `trainer.ckpt_path = {user!r}` isn't.")
        given = user if self.ckpt_path is None else self.ckpt_path
        places = CheckpointPlaces(runtime.checkpoint_io, callbacks, specs.saving.default_root_dir)
        is_queued_again = runtime.environment.requeue_signal is not None
        if given is None and is_queued_again and fn is TrainerFn.FITTING and places.numbered:
            given = "hpc"
        path = resolve_ckpt_path(
            given,
            fn,
            places=places,
            has_model=self.model is not None,
            fast_dev_run=bool(specs.limits.fast_dev_run),
        )
        return Resume(path, self.weights_only, self.strict)


def require_loaders(source: LoaderSource, fn: str) -> None:
    """Refuse to evaluate without data.

    Raises:
        MisconfigurationException: naming what to pass or define.
    """
    if not source.is_defined:
        message = (
            f"`Trainer.{fn}()` needs data: pass `dataloaders` or a `datamodule`, or define"
            f" `{source.stage}_dataloader()` in the module."
        )
        raise MisconfigurationException(message)


def wants_predictions(return_predictions: bool | None, *, gather: bool) -> bool:
    """Return whether `Trainer.predict` keeps what it predicts.

    Raises:
        MisconfigurationException: when it shall gather what it doesn't keep.
    """
    if return_predictions is False and gather:
        message = (
            "`return_predictions=False` keeps no predictions, so `gather=True` has none to gather: pass one of both."
        )
        raise MisconfigurationException(message)
    return return_predictions is not False


def _is_datamodule(value: Any) -> bool:
    return all(callable(getattr(value, name, None)) for name in ("prepare_data", "setup", "train_dataloader"))
