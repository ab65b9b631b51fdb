"""Metrics, hyper-parameters and graphs for TensorBoard."""

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from lt_interfaces.errors import missing_package
from lt_interfaces.logger import Logger
from lt_interfaces.moving import move_data_to_device
from lt_interfaces.rank_zero import rank_zero_only, rank_zero_warn
from lt_interfaces.rng import isolate_rng
from lt_interfaces.roles import CheckpointRole
from lt_loggers.experiment import rank_zero_experiment
from lt_loggers.hparams_yaml import HPARAMS_FILE, flat_hyperparameters, plain_hyperparameters, write_hparams
from lt_loggers.prefix import prefixed
from lt_loggers.versions import RunFolder, StrPath


class TensorBoardLogger(Logger):
    """Writes event files to ``<save_dir>/<name>/version_<n>``, hyper-parameters to ``hparams.yaml`` beside them.

    Look at them with ``tensorboard --logdir <save_dir>``. Files are written on global rank 0. A version that exists is
    continued in a further event file; TensorBoard shows the points of both. To hide those of the interrupted run that a
    resumed one logs again, give ``purge_step``, the first step that is logged again.

    Args:
        save_dir: the folder that all experiments share; environment variables and ``~`` are expanded.
        name: the experiment's folder; ``None`` or ``""`` for none.
        version: an int ``n`` means the folder ``version_n``, a string is the folder's name; ``None`` means the next
            free number.
        log_graph: record the module's graph when a run starts; it needs ``example_input_array``.
        default_hp_metric: write ``hp_metric = -1`` with the hyper-parameters, for a metric of that name logged later.
        prefix: put before each metric's name, joined by ``-``.
        sub_dir: a folder within the version for the files; environment variables and ``~`` are expanded.
        root_dir: another name for ``save_dir``, as users of Fabric know it.
        kwargs: further arguments of `torch.utils.tensorboard.SummaryWriter`, such as ``flush_secs``.

    Raises:
        MissingPackageError: tensorboard isn't installed.
        MisconfigurationException: no folder, or a remote one.

    >>> logger = TensorBoardLogger("runs", name="digits")
    >>> logger.log_hyperparams({"lr": 0.1})
    >>> logger.log_metrics({"loss": 0.5}, step=0)
    >>> logger.experiment.add_text("note", "anything that a SummaryWriter can do")
    >>> logger.finalize("success")
    >>> sorted(file.name[:6] for file in Path(logger.log_dir).iterdir())
    ['events', 'hparam']
    """

    def __init__(
        self,
        save_dir: StrPath | None = None,
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        log_graph: bool = False,
        default_hp_metric: bool = True,
        prefix: str = "",
        sub_dir: StrPath | None = None,
        *,
        root_dir: StrPath | None = None,
        **kwargs: Any,
    ) -> None:
        if find_spec("tensorboard") is None:
            error = missing_package("tensorboard", "`TensorBoardLogger`", "tensorboard")
            raise error
        self._folder: Final = RunFolder(save_dir, name=name, version=version, root_dir=root_dir)
        self._sub_dir: Final = os.path.expandvars(os.path.expanduser(sub_dir or ""))
        self._log_graph: Final = log_graph
        self._default_hp_metric: Final = default_hp_metric
        self._prefix: Final = prefix
        self._writer_arguments: Final = kwargs
        self._hparams: Final[dict[Any, Any]] = {}
        self._writer: Any = None  # a SummaryWriter: torch's has no types, and the import waits for its first use

    @property
    def name(self) -> str:
        return self._folder.name

    @property
    def version(self) -> int | str:
        return self._folder.version

    @property
    def save_dir(self) -> str:
        return self._folder.save_dir

    @property
    def root_dir(self) -> str:
        return self._folder.root_dir

    @property
    def log_dir(self) -> str:
        return os.path.join(self._folder.path, self._sub_dir) if self._sub_dir else self._folder.path

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The `torch.utils.tensorboard.SummaryWriter`, opened when first asked for; on other ranks it ignores calls."""
        if self._writer is None:
            # Imported here: TensorBoard takes about a second to load, and `import lt_loggers` shouldn't.
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(log_dir=self.log_dir, **self._writer_arguments)
        return self._writer

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Record numbers, tensors of one number, and dicts of them (shown as several lines in one plot).

        Raises:
            ValueError: a metric is none of these.
        """
        for name, value in prefixed(metrics, self._prefix).items():
            if isinstance(value, Mapping):
                numbers = {key: _number(f"{name}/{key}", item) for key, item in value.items()}
                self.experiment.add_scalars(name, numbers, step)
            else:
                self.experiment.add_scalar(name, _number(name, value), step)

    @rank_zero_only
    def log_hyperparams(self, params: Any, metrics: Mapping[str, Any] | None = None, step: int | None = None) -> None:
        """Record hyper-parameters for TensorBoard's HPARAMS page, and in ``hparams.yaml`` with those given before.

        Args:
            params: a dict, a Namespace or a dataclass instance; nested names are joined by ``/``.
            metrics: what the page should compare runs by; they're logged too.
            step: the step of these metrics, 0 if not given.
        """
        plain = plain_hyperparameters(params)
        self._hparams.update(plain)
        write_hparams(self.log_dir, self._hparams)
        writer = self.experiment
        is_placeholder = metrics is None and self._default_hp_metric
        compared = {"hp_metric": -1} if is_placeholder else dict(metrics or {})
        # In a folder that is continued, the placeholder would come after the real values and hide them.
        if not (is_placeholder and _continues(self.log_dir)):
            self.log_metrics(compared, step or 0)
        # Imported here: see `experiment`.
        from torch.utils.tensorboard.summary import hparams

        for summary in hparams(_shown(plain), prefixed(compared, self._prefix)):  # type: ignore[no-untyped-call]
            writer.file_writer.add_summary(summary)

    @rank_zero_only
    def log_graph(self, model: nn.Module, input_array: Tensor | None = None) -> None:
        """Record the module's graph, if ``log_graph`` was set; tracing it doesn't change the run.

        Args:
            model: the module; it's traced in evaluation mode.
            input_array: an input; ``None`` takes the module's ``example_input_array``.
        """
        if not self._log_graph:
            return
        example = getattr(model, "example_input_array", None) if input_array is None else input_array
        if not isinstance(example, Tensor | tuple):
            rank_zero_warn(
                "`log_graph=True` has no effect: the module's `example_input_array` must be a tensor or a tuple of "
                f"arguments of `forward`, it is {'not set' if example is None else type(example).__name__}."
            )
            return
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        with _undisturbed(model):
            self.experiment.add_graph(model, move_data_to_device(example, device))

    @rank_zero_only
    def save(self) -> None:
        """Write the events that wait, and ``hparams.yaml`` where there's none: empty for a run without any."""
        if self._writer is not None:
            self._writer.flush()
            if not Path(self.log_dir, HPARAMS_FILE).exists():
                write_hparams(self.log_dir, self._hparams)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the events that wait and close the file, whatever the status."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def after_save_checkpoint(self, checkpoint_callback: CheckpointRole) -> None:
        """Write the events that wait: a run resumed from this checkpoint won't log them again."""
        self.save()

    def __getstate__(self) -> dict[str, Any]:
        # A writer has a thread and an open file; a process that receives the logger opens its own.
        return {**self.__dict__, "_writer": None}


def _number(name: str, value: Any) -> float:
    """Return a metric's number, which may come as a tensor or a NumPy scalar."""
    try:
        number: float = value.item() if hasattr(value, "item") else value + 0
    except (TypeError, ValueError, RuntimeError) as error:
        message = (
            f"TensorBoard can't plot metric `{name}`: expected a number, a tensor of one number or a dict of them, "
            f"got {type(value).__name__}. Use `logger.experiment` for other kinds of data."
        )
        raise ValueError(message) from error
    return number


def _shown(params: Mapping[Any, Any]) -> dict[str, bool | int | float | str]:
    """Return flat hyper-parameters; what TensorBoard has no type for as strings."""
    return {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in flat_hyperparameters(params).items()
    }


def _continues(log_dir: str) -> bool:
    """Say whether the folder holds events of an earlier writer beside the open one's."""
    return len(list(Path(log_dir).glob("events.out.tfevents.*"))) > 1


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Let a module be traced without changing the run: afterwards its modes and the generators are as before.

    TensorBoard's tracing puts the module into evaluation mode and then all of its parts back into the root's mode.
    """
    modes = {module: module.training for module in model.modules()}
    try:
        with warnings.catch_warnings(), isolate_rng(), torch.no_grad():
            # TensorBoard's graphs have no other source, and the graph is looked at, never run: that torch deprecates
            # tracing, or that it froze a branch or a random number, is nothing the user should act on.
            warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]  # not in torch's __all__
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
