"""Metrics, media and models for Weights & Biases."""

import os
from collections.abc import Mapping
from typing import Any, Final, Literal

from torch import Tensor, nn

from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.logger import Logger
from lt_interfaces.rank_zero import rank_zero_only
from lt_interfaces.roles import CheckpointRole
from lt_loggers.experiment import rank_zero_experiment
from lt_loggers.hparams_yaml import plain_hyperparameters
from lt_loggers.media import made_media
from lt_loggers.prefix import prefixed
from lt_loggers.saved_checkpoints import NewCheckpoints, SavedCheckpoint, callback_settings
from lt_loggers.trackers import require_tracker
from lt_loggers.versions import StrPath
from lt_loggers.wandb_runs import STEP_METRIC, WandbRun


class WandbLogger(Logger):
    """Sends metrics, hyper-parameters, media and checkpoints to Weights & Biases.

    Needs the extra ``lt-loggers[wandb]``. The run starts when a stage of the Trainer does, or with the first thing that
    is logged, on global rank 0 alone. It stays open when the Trainer is done, so that you can go on logging to it; call
    `wandb.finish`, or end the program. A run that your own code has started before is continued, unless you ask for
    another ``id``.

    To go on with a run after a restart, give its ``id`` (`version`) again.

    Args:
        name: what the run is called in the dashboard; by default wandb thinks of one.
        save_dir: the folder that wandb's own folder ``wandb`` goes into.
        version: the run's id; an id that exists is continued.
        offline: write to ``save_dir`` alone; ``wandb sync`` sends it later.
        dir: another name for ``save_dir``, which it takes the place of.
        id: another name for ``version``, which it takes the place of.
        anonymous: handed to wandb, which doesn't know anonymous runs any more.
        project: by default what the environment variable ``WANDB_PROJECT`` says, else "lightning_logs".
        log_model: send checkpoints as artifacts: ``True``: those that are there when a run ends well, or each one
            where the callback keeps all (``save_top_k=-1``); ``"all"``: each one as it's saved.
        experiment: a run that exists already.
        prefix: put before each metric's name, joined by ``-``.
        checkpoint_name: the name of the artifact, by default ``model-<id>``.
        add_file_policy: ``"mutable"`` lets wandb copy a checkpoint before it's sent, ``"immutable"`` sends the file
            itself, which then must stay as it is.
        kwargs: further arguments of `wandb.init`, such as ``entity``, ``tags`` or ``group``.

    Raises:
        MissingPackageError: wandb isn't installed.
        MisconfigurationException: ``log_model`` together with ``offline``; a choice that isn't one.

    Example::

        logger = WandbLogger(project="digits", log_model=True)
        logger.watch(model)
        Trainer(logger=logger).fit(model)
        logger.log_image("samples", [image], caption=["a seven"])
    """

    def __init__(
        self,
        name: str | None = None,
        save_dir: StrPath = ".",
        version: str | None = None,
        offline: bool = False,
        dir: StrPath | None = None,
        id: str | None = None,
        anonymous: bool | None = None,
        project: str | None = None,
        log_model: bool | Literal["all"] = False,
        experiment: Any = None,
        prefix: str = "",
        checkpoint_name: str | None = None,
        add_file_policy: Literal["mutable", "immutable"] = "mutable",
        **kwargs: Any,
    ) -> None:
        if add_file_policy not in ("mutable", "immutable"):
            message = f'`add_file_policy` must be "mutable" or "immutable", got {add_file_policy!r}.'
            raise MisconfigurationException(message)
        self._checkpoints: Final = NewCheckpoints(log_model)
        if offline and log_model:
            message = (
                f"`log_model={log_model!r}` can't send checkpoints with `offline=True`. Leave one of them out; "
                "checkpoints stay in the folder that ModelCheckpoint writes them to."
            )
            raise MisconfigurationException(message)
        require_tracker("wandb", distribution="wandb", logger="WandbLogger", extra="wandb")
        self._save_dir: Final = os.path.expandvars(os.path.expanduser(save_dir if dir is None else dir))
        self._project: Final = project or os.environ.get("WANDB_PROJECT") or "lightning_logs"
        self._prefix: Final = prefix
        self._checkpoint_name: Final = checkpoint_name
        self._add_file_policy: Final = add_file_policy
        given = version if id is None else id
        self._run: Final = WandbRun(
            experiment,
            run_id=None if given is None else str(given),
            arguments={
                "name": name,
                "project": self._project,
                "dir": self._save_dir,
                **_mode(offline=offline, anonymous=anonymous, further=kwargs),
                **kwargs,
            },
        )

    @property
    def name(self) -> str:
        """The project."""
        return self._project

    @property
    def version(self) -> str:
        """The run's id: the one given, that of the run that your code has started, or a new one."""
        return self._run.id

    @property
    def save_dir(self) -> str:
        return self._save_dir

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The `wandb.Run`, started when first asked for; on other ranks it ignores calls."""
        return self._run.started()

    @rank_zero_only
    def watch(
        self, model: nn.Module, log: str | None = "gradients", log_freq: int = 100, log_graph: bool = True
    ) -> None:
        """Let wandb record histograms of a module, every ``log_freq`` batches.

        Args:
            model: the module.
            log: ``"gradients"``, ``"parameters"``, ``"all"`` or ``None``.
            log_freq: batches between two histograms.
            log_graph: record the module's graph.
        """
        self.experiment.watch(model, log=log, log_freq=log_freq, log_graph=log_graph)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Record metrics, or anything else that wandb has a type for; the step is the metric ``trainer/global_step``.

        It isn't wandb's own step, which only counts up: whatever is logged stays, in whatever order it comes. Without a
        step wandb puts it where the last one was.
        """
        axis = {} if step is None else {STEP_METRIC: step}
        self.experiment.log({**prefixed(metrics, self._prefix), **axis})

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Record hyper-parameters in the run's config; one that's there already is replaced."""
        plain = {str(name): value for name, value in plain_hyperparameters(params).items()}
        self.experiment.config.update(plain, allow_val_change=True)

    @rank_zero_only
    def log_graph(self, model: nn.Module, input_array: Tensor | None = None) -> None:
        """Start the run, so that `wandb.log` in the user's code reaches it from the first batch on.

        The graph itself is recorded by `watch`.
        """
        self._run.started()

    @rank_zero_only
    def log_table(
        self,
        key: str,
        columns: list[str] | None = None,
        data: list[list[Any]] | None = None,
        dataframe: Any = None,
        step: int | None = None,
    ) -> None:
        """Record a table, whose cells may be media.

        Args:
            key: the table's name.
            columns: the names of the columns of ``data``.
            data: the rows.
            dataframe: a pandas DataFrame in place of both.
            step: the step.
        """
        from wandb import Table  # see `experiment`: who doesn't log has no need of wandb

        self.log_metrics({key: Table(columns=columns, data=data, dataframe=dataframe)}, step)

    def log_text(
        self,
        key: str,
        columns: list[str] | None = None,
        data: list[list[str]] | None = None,
        dataframe: Any = None,
        step: int | None = None,
    ) -> None:
        """Record texts: as a table, see `log_table`."""
        self.log_table(key, columns, data, dataframe, step)

    @rank_zero_only
    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        """Record images: tensors, NumPy arrays, PIL images or paths.

        Args:
            key: their name.
            images: a list of them.
            step: the step.
            kwargs: arguments of `wandb.Image`, each a list with one value per image, such as ``caption``.

        Raises:
            TypeError: ``images`` isn't a list.
            ValueError: a further argument doesn't have one value per image.
        """
        from wandb import Image  # see `log_table`

        self.log_metrics({key: made_media(Image, images, name="images", options=kwargs)}, step)

    @rank_zero_only
    def log_audio(self, key: str, audios: list[Any], step: int | None = None, **kwargs: Any) -> None:
        """Record sounds: NumPy arrays or paths. As `log_image`, for `wandb.Audio` (``sample_rate``, ``caption``)."""
        from wandb import Audio  # see `log_table`

        self.log_metrics({key: made_media(Audio, audios, name="audios", options=kwargs)}, step)

    @rank_zero_only
    def log_video(self, key: str, videos: list[Any], step: int | None = None, **kwargs: Any) -> None:
        """Record videos: NumPy arrays or paths. As `log_image`, for `wandb.Video` (``fps``, ``caption``)."""
        from wandb import Video  # see `log_table`

        self.log_metrics({key: made_media(Video, videos, name="videos", options=kwargs)}, step)

    def use_artifact(self, artifact: str, artifact_type: str | None = None) -> Any:
        """Tell wandb that this run uses an artifact, and return it; ``None`` on other ranks than 0.

        Args:
            artifact: its name, with a version or an alias: ``"<project>/<name>:latest"``.
            artifact_type: its type.
        """
        return self.experiment.use_artifact(artifact, type=artifact_type)

    @staticmethod
    @rank_zero_only
    def download_artifact(
        artifact: str,
        save_dir: StrPath | None = None,
        artifact_type: str | None = None,
        use_artifact: bool | None = True,
    ) -> str:
        """Download an artifact and return the folder it's in; ``None`` on other ranks than 0.

        Args:
            artifact: its name, with a version or an alias: ``"<project>/<name>:latest"``.
            save_dir: the folder; by default one that wandb keeps for it.
            artifact_type: its type.
            use_artifact: tell wandb that the active run, if there's one, uses it.
        """
        import wandb  # see `log_table`

        run = wandb.run if use_artifact else None
        if run is None:
            found = wandb.Api().artifact(artifact, type=artifact_type)
        else:
            found = run.use_artifact(artifact, type=artifact_type)
        return str(found.download(root=None if save_dir is None else os.fspath(save_dir)))

    @rank_zero_only
    def after_save_checkpoint(self, checkpoint_callback: CheckpointRole) -> None:
        """Send the new checkpoint, or remember to send what's there at the end; see ``log_model``."""
        for checkpoint in self._checkpoints.at_once(checkpoint_callback):
            self._send(checkpoint, checkpoint_callback)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Send the checkpoints that are there if the run ended well; wandb's own run stays open."""
        if status == "success":
            for callback, checkpoint in self._checkpoints.at_end():
                self._send(checkpoint, callback)
        self._run.end(status)

    def _send(self, checkpoint: SavedCheckpoint, callback: CheckpointRole) -> None:
        from wandb import Artifact  # see `log_table`

        run = self.experiment
        facts = {"score": checkpoint.score, "original_filename": checkpoint.path.name}
        artifact = Artifact(
            name=self._checkpoint_name or f"model-{run.id}",
            type="model",
            metadata={**facts, "ModelCheckpoint": callback_settings(callback)},
        )
        add = artifact.add_dir if checkpoint.path.is_dir() else artifact.add_file
        add(str(checkpoint.path), name="model.ckpt", policy=self._add_file_policy)
        run.log_artifact(artifact, aliases=checkpoint.aliases)


def _mode(*, offline: bool, anonymous: bool | None, further: Mapping[str, Any]) -> dict[str, Any]:
    """Return how wandb starts a run, as far as the user's further arguments leave it open."""
    mode: dict[str, Any] = {"mode": "offline"} if offline else {}
    if anonymous is not None:
        mode["anonymous"] = "allow" if anonymous else None
    # Those two say by themselves how the run goes on.
    if not {"resume_from", "fork_from"} & set(further):
        mode["resume"] = "allow"
    return mode
