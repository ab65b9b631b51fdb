"""`LightningModule`: the users' base class, a torch module that knows how to train, validate, test and predict."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import IO, TYPE_CHECKING, Any, ClassVar, Self

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch.optim import Optimizer

from lt_core.compiled import CompiledStep, CompiledSteps, TakesLog, own_methods
from lt_core.loading import load_from_checkpoint
from lt_core.logging.recorder import warn_not_recording
from lt_core.logging.slots import LogOptions
from lt_core.toggling import toggle, untoggle
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.hyperparameters import HyperparametersMixin
from lt_interfaces.moving import move_data_to_device

if TYPE_CHECKING:  # the type of a return value only; torch.export takes long to import
    from torch.export import ExportedProgram

FilePath = str | os.PathLike[str]

_LEFT_BEHIND = ("_trainer", "_fabric", "_recorder", "_compiled_steps")
"""Attributes that a copy of a module begins without: they belong to the module itself, or to its run."""

# torch's compiler to TorchScript reads every attribute of a module, `trainer` too, and takes no RuntimeError for a no.
_is_scripting: ContextVar[bool] = ContextVar("_is_scripting", default=False)


class _LoadFromCheckpoint:
    """A classmethod that says so when it's called on an instance, which would be left as it was."""

    def __get__(self, instance: Any, owner: type) -> Callable[..., Any]:
        def load(
            checkpoint_path: FilePath | IO[bytes],
            map_location: Any = None,
            hparams_file: FilePath | None = None,
            strict: bool | None = None,
            weights_only: bool | None = None,
            **kwargs: Any,
        ) -> Any:
            if instance is not None:
                message = (
                    "`load_from_checkpoint` returns a new module and is called on the class:"
                    f" `{owner.__name__}.load_from_checkpoint(path)`."
                )
                raise TypeError(message)
            options = {"strict": strict, "weights_only": weights_only, **kwargs}
            return load_from_checkpoint(owner, checkpoint_path, map_location, hparams_file, **options)

        return load


class LightningModule(HyperparametersMixin, nn.Module):
    """A torch module that knows how to train, validate, test and predict on a batch; subclass it.

    The Trainer calls the methods below; those of `lt_interfaces.hooks` that you don't override cost nothing.

    Example::

        class Classifier(LightningModule):
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(64, 10)

            def training_step(self, batch, batch_idx):
                images, labels = batch
                loss = nn.functional.cross_entropy(self.layer(images), labels)
                self.log("loss", loss)
                return loss

            def configure_optimizers(self):
                return torch.optim.Adam(self.parameters())
    """

    CHECKPOINT_HYPER_PARAMS_KEY: ClassVar[str] = "hyper_parameters"
    CHECKPOINT_HYPER_PARAMS_NAME: ClassVar[str] = "hparams_name"
    CHECKPOINT_HYPER_PARAMS_TYPE: ClassVar[str] = "hparams_type"
    __jit_unused_properties__: ClassVar[list[str]] = [
        *("trainer", "fabric", "example_input_array", "current_epoch", "global_step", "global_rank", "local_rank"),
        *("on_gpu", "automatic_optimization", "strict_loading", "logger", "loggers", "device_mesh", "device", "dtype"),
        *("hparams", "hparams_initial"),
    ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.automatic_optimization = True
        self.example_input_array: Any = None
        self.prepare_data_per_node = True
        self.allow_zero_length_dataloader_with_multiple_devices = False
        self._strict_loading: bool | None = None
        self._trainer: Any = None
        self._fabric: Any = None
        self._recorder: TakesLog | None = None
        self._compiled_steps: CompiledSteps | None = None
        # Follows every move and cast, so that `device` and `dtype` hold for modules without parameters too.
        self._probe = torch.empty(0)
        self._required_grad: dict[nn.Parameter, bool] = {}

    # --- where it lives ---

    @property
    def trainer(self) -> Any:
        """The Trainer this module is attached to.

        Raises:
            RuntimeError: when it isn't attached.
        """
        if self._trainer is None and self._fabric is not None:
            return self._fabric
        if self._trainer is None and not _is_scripting.get():
            message = f"{type(self).__name__} isn't attached to a Trainer yet; `trainer.fit(module)` attaches it."
            raise RuntimeError(message)
        return self._trainer

    @trainer.setter
    def trainer(self, trainer: Any) -> None:
        for child in self.modules():
            if isinstance(child, LightningModule):
                child._trainer = trainer
                child._recorder = getattr(trainer, "recorder", None)

    @property
    def fabric(self) -> Any:
        """The Fabric this module was set up with, or ``None``."""
        return self._fabric

    @fabric.setter
    def fabric(self, fabric: Any) -> None:
        for child in self.modules():
            if isinstance(child, LightningModule):
                child._fabric = fabric

    @property
    def device(self) -> torch.device:
        """Where the module is."""
        return self._probe.device

    @property
    def device_mesh(self) -> Any:
        """The ranks of the job in rows and columns, for `configure_model`; ``None``: the strategy has no mesh."""
        runs = self._trainer if self._trainer is not None else self._fabric
        return getattr(getattr(runs, "strategy", None), "device_mesh", None)

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point format of the module."""
        return self._probe.dtype

    @dtype.setter
    def dtype(self, dtype: torch.dtype) -> None:
        message = "`dtype` follows the module's own; change it with `module.to(dtype)`."
        raise RuntimeError(message)

    @property
    def on_gpu(self) -> bool:
        """Whether the module is on a CUDA device."""
        return self.device.type == "cuda"

    @property
    def strict_loading(self) -> bool:
        """Whether all keys must match when weights are loaded; ``True`` unless set."""
        return self._strict_loading is None or self._strict_loading

    @strict_loading.setter
    def strict_loading(self, strict: bool) -> None:
        self._strict_loading = strict

    @property
    def current_epoch(self) -> int:
        """Epochs completed; 0 without a Trainer."""
        return self._trainer.current_epoch if self._trainer is not None else 0

    @property
    def global_step(self) -> int:
        """Optimizer steps taken; 0 without a Trainer."""
        return self._trainer.global_step if self._trainer is not None else 0

    @property
    def global_rank(self) -> int:
        """Rank of this process in the job; 0 without a Trainer."""
        return self._trainer.global_rank if self._trainer is not None else 0

    @property
    def local_rank(self) -> int:
        """Rank of this process on its node; 0 without a Trainer."""
        return self._trainer.local_rank if self._trainer is not None else 0

    @property
    def logger(self) -> Any:
        """The first logger, or ``None``."""
        return next(iter(self.loggers), None)

    @property
    def loggers(self) -> list[Any]:
        """All loggers."""
        owner = self._trainer if self._trainer is not None else self._fabric
        return list(owner.loggers) if owner is not None else []

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._probe = fn(self._probe)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch annotates only its public methods
        return self

    def __getstate__(self) -> dict[str, Any]:
        # A compiled step is bound to this very module; a copy has the method of its class.
        own = {name: value for name, value in self.__dict__.items() if not isinstance(value, CompiledStep)}
        return {**own, **dict.fromkeys(_LEFT_BEHIND), "_required_grad": {}}

    # --- the steps ---

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor | Mapping[str, Any] | None:
        """Return the loss of a batch, alone or in a dict under ``"loss"``; ``None`` skips it.

        Called as ``training_step(batch, batch_idx)``, or ``training_step(batch)`` if it takes no more.
        """
        message = f"{type(self).__name__} doesn't define `training_step(self, batch, batch_idx)`."
        raise MisconfigurationException(message)

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate a batch: ``validation_step(batch, batch_idx, dataloader_idx=0)``; ``log`` what you want to know."""
        message = f"{type(self).__name__} doesn't define `validation_step(self, batch, batch_idx)`."
        raise MisconfigurationException(message)

    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate a batch: ``test_step(batch, batch_idx, dataloader_idx=0)``; ``log`` what you want to know."""
        message = f"{type(self).__name__} doesn't define `test_step(self, batch, batch_idx)`."
        raise MisconfigurationException(message)

    def predict_step(self, *args: Any, **kwargs: Any) -> Any:
        """Return the predictions for a batch; by default ``self(batch)``."""
        return self(kwargs.get("batch", args[0] if args else None))

    # --- configuration ---

    def configure_callbacks(self) -> Sequence[Any] | Any:
        """Return callbacks that this module needs; one of the same class replaces the Trainer's."""
        return []

    def configure_model(self) -> None:
        """Make layers here that must be created on their device or sharded; may be called more than once."""

    def configure_optimizers(self) -> Any:
        """Return the optimizer, or optimizers and learning-rate schedulers, in any form that Lightning takes."""
        message = f"{type(self).__name__} doesn't define `configure_optimizers(self)`."
        raise MisconfigurationException(message)

    # --- optimization ---

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        """Return the optimizer, or the list of several.

        Args:
            use_pl_optimizer: ``False`` gives torch's own, whose ``step`` the Trainer doesn't see.
        """
        found = list(self.trainer.lightning_optimizers if use_pl_optimizer else self.trainer.optimizers)
        return found[0] if len(found) == 1 else found

    def lr_schedulers(self) -> Any:
        """Return the learning-rate scheduler, the list of several, or ``None``."""
        found = [config.scheduler for config in self.trainer.lr_scheduler_configs]
        return found[0] if len(found) == 1 else found or None

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute gradients in manual optimization, through precision and hooks.

        Raises:
            MisconfigurationException: in automatic optimization.
        """
        if self.automatic_optimization:
            message = "`manual_backward` is for manual optimization: set `self.automatic_optimization = False`."
            raise MisconfigurationException(message)
        if self._trainer is None and self._fabric is not None:
            self._fabric.backward(loss, *args, **kwargs)
            return
        self.trainer.manual_backward(loss, *args, **kwargs)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute gradients; override to change how."""
        loss.backward(*args, **kwargs)  # type: ignore[no-untyped-call]  # torch leaves it unannotated

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Step the optimizer; override to decide when and how.

        Args:
            epoch: the current epoch.
            batch_idx: index of the batch that ends the accumulation window.
            optimizer: the `LightningOptimizer`.
            optimizer_closure: makes the gradients; must be run, best by ``optimizer.step(closure=optimizer_closure)``.
        """
        optimizer.step(closure=optimizer_closure)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Clear old gradients; override to change how."""
        optimizer.zero_grad()

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        """Step a scheduler; override for schedulers that take something else."""
        if metric is None:
            scheduler.step()
        else:
            scheduler.step(metric)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip before a step, as the Trainer was told; override to clip in your own way."""
        self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def clip_gradients(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> Tensor | None:
        """Clip the gradients of an optimizer's parameters in place; for manual optimization too.

        Args:
            optimizer: whose parameters.
            gradient_clip_val: the largest norm or value; ``None``: the Trainer's.
            gradient_clip_algorithm: "norm" (default) or "value"; ``None``: the Trainer's.

        Returns:
            The global norm before clipping, over all shards of all parameters, to be logged for instance; ``None``
            where nothing is clipped, and when clipping by value.

        Raises:
            MisconfigurationException: when the Trainer was told something else, or for an unknown algorithm.
        """
        norm: Tensor | None = self.trainer.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        return norm

    def toggle_optimizer(self, optimizer: Any) -> None:
        """Let only this optimizer's parameters require grad, until `untoggle_optimizer`."""
        self._required_grad = toggle(self.trainer.optimizers, getattr(optimizer, "optimizer", optimizer))

    def untoggle_optimizer(self, optimizer: Any) -> None:
        """Undo `toggle_optimizer`."""
        untoggle(self._required_grad)
        self._required_grad = {}

    @contextmanager
    def toggled_optimizer(self, optimizer: Any) -> Iterator[None]:
        """Return a context in which only this optimizer's parameters require grad."""
        self.toggle_optimizer(optimizer)
        try:
            yield
        finally:
            self.untoggle_optimizer(optimizer)

    def freeze(self) -> Self:
        """Let no parameter require grad, and switch to evaluation."""
        for parameter in self.parameters():
            parameter.requires_grad = False
        return self.eval()

    def unfreeze(self) -> Self:
        """Let all parameters require grad, and switch to training."""
        for parameter in self.parameters():
            parameter.requires_grad = True
        return self.train()

    # --- logging ---

    def log(
        self,
        name: str,
        value: Any,
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: Any = "mean",
        enable_graph: bool = False,
        sync_dist: bool = False,
        sync_dist_group: Any = None,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        metric_attribute: str | None = None,
        rank_zero_only: bool = False,
    ) -> None:
        """Record a number, a one-element tensor or a metric object, without a host sync.

        Args:
            name: what it's called; the same name in the same hook must come with the same arguments.
            value: the value.
            prog_bar: show it in the progress bar.
            logger: send it to the loggers (default: yes).
            on_step: send the latest value every ``log_every_n_steps`` batches; the default depends on the hook.
            on_epoch: send the value over the epoch; the default depends on the hook.
            reduce_fx: how the epoch's and the ranks' values become one: "mean" (weighted by batch size), "sum", "min",
                "max".
            enable_graph: keep the autograd graph of the value.
            sync_dist: accepted; values are always taken over all ranks.
            sync_dist_group: accepted; the group is always all ranks.
            add_dataloader_idx: append ``/dataloader_idx_<n>`` when there are several loaders.
            batch_size: the weight of this value; by default found in the batch.
            metric_attribute: the attribute of the module that holds a metric object, where it can't be found.
            rank_zero_only: take the value of rank 0 as it is.

        Raises:
            MisconfigurationException: where logging isn't allowed, or for arguments that don't go together.
            ValueError: for a value that isn't one number.
        """
        recorder = self._recorder
        if recorder is None:
            self._log_elsewhere(name, value, logger)
            return
        options = LogOptions(
            prog_bar,
            logger,
            on_step,
            on_epoch,
            reduce_fx,
            enable_graph,
            sync_dist,
            sync_dist_group,
            add_dataloader_idx,
            metric_attribute,
            rank_zero_only,
        )
        recorder.log(self, name, value=value, batch_size=batch_size, options=options)

    def log_dict(self, dictionary: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:
        """Record several values at once; further arguments as in `log`, from ``prog_bar`` on."""
        for name, value in dictionary.items():
            self.log(name, value, *args, **kwargs)

    def pass_log_on(self, name: str, *, value: Any, batch_size: int | None, options: LogOptions) -> None:
        """Record what was logged in a compiled step, when that has returned."""
        if self._recorder is None:
            self._log_elsewhere(name, value, options.logger)
        else:
            self._recorder.log(self, name, value=value, batch_size=batch_size, options=options)

    def _log_elsewhere(self, name: str, value: Any, logger: bool | None) -> None:
        """Take a value without a Trainer: to Fabric's loggers, or nowhere, with a warning."""
        if self._trainer is not None:
            warn_not_recording(name, is_barebones=True)
        elif self._fabric is None:
            warn_not_recording(name, is_barebones=False)
        elif logger is not False:
            self._fabric.log(name, value)

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print on rank 0, above the progress bar."""
        if self.trainer.is_global_zero:
            bar = self.trainer.progress_bar_callback
            (print if bar is None else bar.print)(*args, **kwargs)

    def all_gather(self, data: Any, group: Any = None, sync_grads: bool = False) -> Any:
        """Return tensors of all ranks with a leading dimension; numbers become tensors. Collective."""
        strategy = self.trainer.strategy

        def gather(value: Any) -> Tensor:
            tensor = torch.as_tensor(value, device=self.device)
            gathered: Tensor = strategy.all_gather(tensor, group=group, sync_grads=sync_grads)
            return gathered

        return apply_to_collection(data, (Tensor, int, float), gather)

    # --- data ---

    def prepare_data(self) -> None:
        """Download or convert data; on local rank 0 while other ranks wait. Set no state here."""

    def train_dataloader(self) -> Any:
        """Return the training loader, or a nested collection of loaders."""
        self._refuse_loader("train_dataloader")

    def val_dataloader(self) -> Any:
        """Return the validation loader or loaders."""
        self._refuse_loader("val_dataloader")

    def test_dataloader(self) -> Any:
        """Return the test loader or loaders."""
        self._refuse_loader("test_dataloader")

    def predict_dataloader(self) -> Any:
        """Return the loader or loaders to predict from."""
        self._refuse_loader("predict_dataloader")

    def _refuse_loader(self, name: str) -> None:
        message = f"{type(self).__name__} doesn't define `{name}(self)`."
        raise MisconfigurationException(message)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change a batch before it's moved to the device."""
        return batch

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a batch to the device."""
        return move_data_to_device(batch, device)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change a batch on the device, e.g. augment it there."""
        return batch

    # --- hooks ---

    def setup(self, stage: str) -> None:
        """Build what depends on the data, on every rank; ``stage`` is "fit", "validate", "test" or "predict"."""

    def teardown(self, stage: str) -> None:
        """Clean up when an entry point ends, also after a failure."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add to a checkpoint that is about to be written."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See, and maybe change, a checkpoint before the weights are loaded."""

    def on_fit_start(self) -> None:
        """Begin fitting."""

    def on_fit_end(self) -> None:
        """End fitting."""

    def on_train_start(self) -> None:
        """Begin training."""

    def on_train_end(self) -> None:
        """End training."""

    def on_train_epoch_start(self) -> None:
        """Begin a training epoch."""

    def on_train_epoch_end(self) -> None:
        """End a training epoch, after its validation."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        """Begin a training batch; returning -1 skips it and the rest of the epoch."""
        return None

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """End a training batch."""

    def on_before_zero_grad(self, optimizer: Optimizer) -> None:
        """Before gradients are cleared."""

    def on_before_backward(self, loss: Tensor) -> None:
        """Before gradients are computed."""

    def on_after_backward(self) -> None:
        """After gradients were computed."""

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Before parameters are updated: gradients are final, but not yet clipped."""

    def on_validation_model_zero_grad(self) -> None:
        """Clear gradients before validation, to save memory; not called within an accumulation window."""
        self.zero_grad()

    def on_validation_model_eval(self) -> None:
        """Switch to evaluation before validation."""
        self.eval()

    def on_validation_model_train(self) -> None:
        """Switch back after validation; by default every submodule gets the mode it had."""
        self.train()

    def on_validation_start(self) -> None:
        """Begin validation."""

    def on_validation_end(self) -> None:
        """End validation."""

    def on_validation_epoch_start(self) -> None:
        """Begin a pass over the validation data."""

    def on_validation_epoch_end(self) -> None:
        """End a pass over the validation data."""

    def on_validation_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Begin a validation batch."""

    def on_validation_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """End a validation batch."""

    def on_test_model_eval(self) -> None:
        """Switch to evaluation before testing."""
        self.eval()

    def on_test_model_train(self) -> None:
        """Switch back after testing; by default every submodule gets the mode it had."""
        self.train()

    def on_test_start(self) -> None:
        """Begin testing."""

    def on_test_end(self) -> None:
        """End testing."""

    def on_test_epoch_start(self) -> None:
        """Begin a pass over the test data."""

    def on_test_epoch_end(self) -> None:
        """End a pass over the test data."""

    def on_test_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Begin a test batch."""

    def on_test_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """End a test batch."""

    def on_predict_model_eval(self) -> None:
        """Switch to evaluation before predicting."""
        self.eval()

    def on_predict_start(self) -> None:
        """Begin predicting."""

    def on_predict_end(self) -> None:
        """End predicting."""

    def on_predict_epoch_start(self) -> None:
        """Begin a pass over the data to predict from."""

    def on_predict_epoch_end(self) -> None:
        """End a pass over the data to predict from."""

    def on_predict_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Begin a batch to predict."""

    def on_predict_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """End a predicted batch."""

    # --- storing ---

    load_from_checkpoint = _LoadFromCheckpoint()

    def to_onnx(self, file_path: FilePath | None = None, input_sample: Any = None, **kwargs: Any) -> Any:
        """Export to ONNX with torch's exporter; see `lt_core.export.to_onnx`."""
        from lt_core.export import to_onnx  # exporters are heavy, and few runs export

        with own_methods(self):
            return to_onnx(self, file_path, input_sample, transfer=self._transferred, **kwargs)

    def to_exported_program(
        self, file_path: FilePath | None = None, input_sample: Any = None, **kwargs: Any
    ) -> "ExportedProgram":
        """Export with `torch.export`; see `lt_core.export.to_exported_program`."""
        from lt_core.export import to_exported_program  # exporters are heavy, and few runs export

        with own_methods(self):
            return to_exported_program(self, file_path, input_sample, transfer=self._transferred, **kwargs)

    def to_torchscript(
        self, file_path: FilePath | None = None, method: str = "script", example_inputs: Any = None, **kwargs: Any
    ) -> Any:
        """Compile to TorchScript, which torch has deprecated; see `lt_core.export.to_torchscript`."""
        from lt_core.export import to_torchscript  # exporters are heavy, and few runs export

        token = _is_scripting.set(True)
        try:
            with own_methods(self):
                return to_torchscript(self, file_path, method, example_inputs, transfer=self._transferred, **kwargs)
        finally:
            _is_scripting.reset(token)

    def to_tensorrt(self, file_path: FilePath | None = None, input_sample: Any = None, **kwargs: Any) -> Any:
        """Compile with TensorRT; see `lt_core.export.to_tensorrt`."""
        from lt_core.export import to_tensorrt  # exporters are heavy, and few runs export

        with own_methods(self):
            return to_tensorrt(self, file_path, input_sample, transfer=self._transferred, **kwargs)

    def _transferred(self, sample: Any) -> Any:
        """Return a sample as the batch-transfer hooks would hand it to a step."""
        sample = self.on_before_batch_transfer(sample, 0)
        return self.on_after_batch_transfer(self.transfer_batch_to_device(sample, self.device, 0), 0)
