"""Verification: is this module complete for what's asked of it, before anything is set up."""

from inspect import signature
from typing import Any

from torch import nn

from lt_core.hook_plan import check_hook_names, overrides
from lt_core.run.handing_over import takes_iterator
from lt_core.run.job import Job
from lt_core.run.loaders import LoaderSource
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.hooks import Hearer
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.states import TrainerFn
from lt_interfaces.strategy import Capability

_RESTRICTED = {"gradient_clip_val": None, "accumulate_grad_batches": 1}


def verify(job: Job, sources: dict[str, LoaderSource]) -> None:
    """Refuse what can't work, naming the method or argument and the way out.

    Raises:
        MisconfigurationException: for missing steps, and manual optimization with arguments of the automatic one.
        NotImplementedError: for retired hooks.
        RuntimeError: for a training step of Lightning 1.
    """
    check_hook_names(job.module, Hearer.MODULE)
    for callback in job.callbacks:
        check_hook_names(callback, Hearer.CALLBACK)
    if job.datamodule is not None:
        check_hook_names(job.datamodule, Hearer.DATAMODULE)
    _verify_compilation(job)
    if job.fn is TrainerFn.FITTING:
        _verify_fit(job, sources)
    elif job.fn is TrainerFn.PREDICTING:
        _verify_predict(job.module)
    else:
        stage = "validation" if job.fn is TrainerFn.VALIDATING else "test"
        _require_step(job.module, stage, f"Trainer.{job.fn.value}()")


def validates_while_fitting(module: Any, source: LoaderSource) -> bool:
    """Say whether fitting validates; one half without the other is worth a warning."""
    has_step, has_data = overrides(module, "validation_step"), source.is_defined
    if has_data and not has_step:
        rank_zero_warn("There's validation data, but the module defines no `validation_step`: validation is skipped.")
    if has_step and not has_data:
        rank_zero_warn("The module defines `validation_step`, but there's no validation data: validation is skipped.")
    return has_step and has_data


def _verify_fit(job: Job, sources: dict[str, LoaderSource]) -> None:
    module, spec = job.module, job.specs.optimization
    _require_step(module, "training", "Trainer.fit()")
    if not overrides(module, "configure_optimizers"):
        message = f"`Trainer.fit()` needs `{type(module).__name__}.configure_optimizers(self)`, which isn't defined."
        raise MisconfigurationException(message)
    if not sources["train"].is_defined:
        message = (
            "`Trainer.fit()` needs training data: pass `train_dataloaders` or a `datamodule`, or define"
            " `train_dataloader()` in the module."
        )
        raise MisconfigurationException(message)
    if "optimizer_idx" in signature(module.training_step).parameters:
        message = (
            "`training_step` can't take `optimizer_idx`. With several optimizers set `self.automatic_optimization ="
            " False` and step each in `training_step`."
        )
        raise RuntimeError(message)
    if not module.automatic_optimization:
        _verify_manual(spec)
    _verify_precision(job)
    _verify_capabilities(job)
    if spec.uneven_data == "pad" and job.runtime.strategy.world_size > 1:
        _verify_padding(module)


def _verify_capabilities(job: Job) -> None:
    """Refuse what the strategy can't do, as far as it's known before anything is set up."""
    strategy, spec = job.runtime.strategy, job.specs.optimization
    name = type(strategy).__name__
    if not job.module.automatic_optimization and not strategy.supports(Capability.MANUAL_OPTIMIZATION):
        message = (
            f"{name} steps by itself, but {type(job.module).__name__} has `automatic_optimization = False`. Leave"
            " that out, or choose another strategy."
        )
        raise MisconfigurationException(message)
    is_clipped = spec.gradient_clip_val is not None and spec.gradient_clip_algorithm == "value"
    if is_clipped and not strategy.supports(Capability.CLIP_BY_VALUE):
        message = f"{name} can't clip by value. Use `gradient_clip_algorithm='norm'`, or choose another strategy."
        raise MisconfigurationException(message)
    is_padded = spec.uneven_data == "pad" and strategy.world_size > 1
    if is_padded and not strategy.supports(Capability.WEIGHTED_LOSSES):
        message = (
            f"`Trainer(uneven_data='pad')` gives batches that only pad the weight zero, and {name} can't weight losses."
            " Leave it out, and epochs end together ('stop'), or choose another strategy."
        )
        raise MisconfigurationException(message)


def _verify_precision(job: Job) -> None:
    precision = job.runtime.precision
    if not precision.dtypes().is_trainable:
        message = (
            f"`precision={precision.precision!r}` is for validating, testing and predicting: what it makes of weights"
            " can't be trained. Fit with another precision, such as '32-true' or 'bf16-mixed'."
        )
        raise MisconfigurationException(message)


def _verify_compilation(job: Job) -> None:
    strategy = job.runtime.strategy
    if job.compile_method is not None and not strategy.supports(Capability.COMPILED_MODULE):
        message = (
            f"{type(strategy).__name__} can't run compiled steps. Leave out `Trainer(compile=...)` and pass the module"
            " itself rather than what `torch.compile` returned, or choose another strategy."
        )
        raise MisconfigurationException(message)


def _verify_manual(spec: Any) -> None:
    for name, neutral in _RESTRICTED.items():
        value = getattr(spec, name)
        if value != neutral:
            way_out = "`self.clip_gradients(...)`" if "clip" in name else "your own count of batches"
            message = (
                f"`Trainer({name}={value})` is for automatic optimization, but the module has"
                f" `automatic_optimization = False`. Use {way_out} in `training_step`."
            )
            raise MisconfigurationException(message)


def _verify_padding(module: Any) -> None:
    """Refuse to pad where the loop doesn't know what a batch's loss counts for."""
    own = "`automatic_optimization = False`" if not module.automatic_optimization else None
    if own is None and takes_iterator(module.training_step):
        own = "a `training_step` that takes `dataloader_iter`"
    if own is not None:
        message = f"`Trainer(uneven_data='pad')` can't go with {own}: leave it out, and epochs end together ('stop')."
        raise MisconfigurationException(message)


def _verify_predict(module: Any) -> None:
    step = getattr(module, "predict_step", None)
    if step is None or not (overrides(module, "predict_step") or type(module).forward is not nn.Module.forward):
        message = f"`Trainer.predict()` needs `predict_step` or `forward` in {type(module).__name__}."
        raise MisconfigurationException(message)


def _require_step(module: Any, stage: str, entry: str) -> None:
    if not overrides(module, f"{stage}_step"):
        message = (
            f"`{entry}` needs `{type(module).__name__}.{stage}_step(self, batch, batch_idx)`, which isn't defined."
        )
        raise MisconfigurationException(message)
