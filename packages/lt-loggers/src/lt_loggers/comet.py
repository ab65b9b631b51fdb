"""Metrics, hyper-parameters and the module's structure for Comet."""

import getpass
import hashlib
import os
import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from torch import Tensor, nn

from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.logger import Logger
from lt_interfaces.rank_zero import rank_zero_deprecation, rank_zero_only
from lt_loggers.comet_runs import CometRun
from lt_loggers.experiment import rank_zero_experiment
from lt_loggers.hparams_yaml import plain_hyperparameters
from lt_loggers.trackers import require_tracker
from lt_loggers.versions import StrPath

_MODES: Final = ("get_or_create", "get", "create")
_KEY = re.compile(r"[0-9A-Za-z]{32,50}")
_RENAMED: Final = {"experiment_name": "name", "project_name": "project", "save_dir": "offline_directory"}


class CometLogger(Logger):
    """Sends metrics, hyper-parameters and the module's structure to Comet.

    Needs the extra ``lt-loggers[comet]``. The experiment starts with the first thing that's logged, on global rank 0
    alone. It stays open when the Trainer is done, so that you can go on logging to it; call ``experiment.end()``, or
    end the program. One that your own code has started before is continued, unless you give another key.

    To go on with an experiment after a restart, give its ``experiment_key`` again.

    Args:
        api_key: by default what ``comet login`` or ``COMET_API_KEY`` says.
        workspace: by default yours.
        project: by default what the environment variable ``COMET_PROJECT_NAME`` says, else "Uncategorized".
        experiment_key: 32 to 50 letters and digits; a key that exists is continued.
        mode: ``"get_or_create"`` (the default); ``"get"``: continue one that must exist; ``"create"``: start a new one.
        online: ``False`` writes to ``offline_directory`` alone; ``comet upload`` sends it later.
        prefix: put before each metric's name, joined by ``_``.
        kwargs: arguments of `comet_ml.ExperimentConfig`, such as ``name``, ``tags``, ``offline_directory`` or
            ``log_code``. The older names ``experiment_name``, ``project_name``, ``save_dir`` (the offline directory)
            and ``offline`` are understood, with a warning.

    Raises:
        MissingPackageError: comet_ml isn't installed.
        MisconfigurationException: a ``mode`` that isn't one, or ``"get"`` without a key; a key that can't be one; an
            older name beside the newer one.

    Example::

        logger = CometLogger(project="digits", tags=["small"])
        Trainer(logger=logger).fit(model)
        logger.experiment.log_confusion_matrix(labels, predictions)
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        workspace: str | None = None,
        project: str | None = None,
        experiment_key: str | None = None,
        mode: Literal["get_or_create", "get", "create"] | None = None,
        online: bool | None = None,
        prefix: str | None = None,
        **kwargs: Any,
    ) -> None:
        given = _renamed({"project": project, "online": online, **kwargs})
        self._project: Final = given.pop("project", None) or os.environ.get("COMET_PROJECT_NAME")
        self._prefix: Final = prefix
        self._offline_directory: Final = given.get("offline_directory")
        _check_key(experiment_key, mode)
        require_tracker("comet_ml", distribution="comet_ml", logger="CometLogger", extra="comet")
        self._run: Final = CometRun(
            experiment_key,
            mode,
            arguments={
                "api_key": api_key,
                "workspace": workspace,
                "project_name": self._project,
                "online": given.pop("online", None),
            },
            config=given,
        )

    @property
    def name(self) -> str | None:
        """The project, ``None`` for Comet's own default."""
        return self._project

    @property
    def version(self) -> str:
        """The experiment's key: the one given, that of the experiment that your code has started, or a new one."""
        return self._run.key

    @property
    def save_dir(self) -> str | None:
        """The folder of experiments that aren't sent, ``None`` where none was given."""
        return None if self._offline_directory is None else os.fspath(self._offline_directory)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The `comet_ml.CometExperiment`, started when first asked for; on other ranks it ignores calls."""
        return self._run.started()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float | Tensor], step: int | None = None) -> None:
        """Record metrics; one named ``epoch`` becomes Comet's own epoch of the others."""
        numbers = {name: value.item() if isinstance(value, Tensor) else value for name, value in metrics.items()}
        epoch = numbers.pop("epoch", None)
        self.experiment.log_metrics(
            numbers, prefix=self._prefix or None, step=step, epoch=None if epoch is None else int(epoch)
        )

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Record hyper-parameters; Comet joins the names of nested ones by ``|``."""
        self.experiment.log_parameters(plain_hyperparameters(params))

    @rank_zero_only
    def log_graph(self, model: nn.Module, input_array: Tensor | None = None) -> None:
        """Record the module's structure, as it's printed."""
        self.experiment.set_model_graph(str(model))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Send what waits, whatever the status; Comet's experiment stays open."""
        self._run.end()


def comet_logger(save_dir: StrPath, version: str | None) -> CometLogger:
    """Return the logger that the name "comet" stands for.

    Args:
        save_dir: the folder of experiments that aren't sent.
        version: a job's own name: when it's run again it goes on with its experiment.
    """
    return CometLogger(offline_directory=os.fspath(save_dir), experiment_key=version and _key_of(save_dir, version))


def _key_of(save_dir: StrPath, version: str) -> str:
    """Return the key of a user's job: keys are unique among all users of a server, names of jobs aren't."""
    told = f"{getpass.getuser()}:{os.path.abspath(save_dir)}:{version}"
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def _renamed(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that were given, older names replaced by newer ones, with a warning for each.

    Raises:
        MisconfigurationException: both names of an argument were given.
    """
    arguments = {name: value for name, value in given.items() if value is not None}
    for old in [name for name in arguments if name in _RENAMED or name == "offline"]:
        value = arguments.pop(old)
        new = _RENAMED.get(old, "online")
        if new in arguments:
            message = f"`{old}` is the older name of `{new}`, and both were given. Leave `{old}` out."
            raise MisconfigurationException(message)
        negated = " (and its value negated)" if old == "offline" else ""
        rank_zero_deprecation(f"`CometLogger({old}=...)` is called `{new}` by now{negated}.")
        arguments[new] = not value if old == "offline" else value
    return arguments


def _check_key(key: str | None, mode: str | None) -> None:
    if mode not in (None, *_MODES):
        message = f"`mode` must be one of {', '.join(_MODES)}, got {mode!r}."
        raise MisconfigurationException(message)
    if mode == "get" and not key and "COMET_EXPERIMENT_KEY" not in os.environ:
        message = '`mode="get"` needs `experiment_key`: the experiment to go on with.'
        raise MisconfigurationException(message)
    if key is not None and not _KEY.fullmatch(key):
        message = f"`experiment_key` must be 32 to 50 letters and digits, got {key!r}."
        raise MisconfigurationException(message)
