"""Training parts of a module first and others later."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from lt_callbacks import freezing
from lt_callbacks.late_gradients import average_gradients, late_parameters
from lt_callbacks.run import PlacedRun
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.states import TrainerFn
from lt_interfaces.strategy import Capability


class BaseFinetuning(Callback):
    """Base class of callbacks that freeze parts of a module at first and train them later.

    Override `freeze_before_training`, called before the optimizers are made, and `finetune_function`, called for each
    optimizer when an epoch starts. Let ``configure_optimizers`` take only what's trained from the start:
    ``filter(lambda p: p.requires_grad, self.parameters())``.

    A resumed run, or a second call of ``fit``, has the parameter groups, and trains and freezes what the run before
    did. With several processes the gradients of what's unfrozen later are averaged over ranks here, where the strategy
    (DDP) no longer does; so call ``super()`` in a subclass that overrides ``on_after_backward``, too.

    Raises:
        NotImplementedError: when fitting starts, under a strategy whose engine makes the optimizer its own (DeepSpeed).
        MisconfigurationException: when a run is resumed whose groups hold parameters that the module doesn't have.

    Example::

        class TrainFeaturesLater(BaseFinetuning):
            def freeze_before_training(self, pl_module):
                self.freeze(pl_module.features)

            def finetune_function(self, pl_module, epoch, optimizer):
                if epoch == 5:
                    self.unfreeze_and_add_param_group(pl_module.features, optimizer)
    """

    def __init__(self) -> None:
        self._internal_optimizer_metadata: dict[int, list[dict[str, Any]]] = {}
        self._trained: list[str] | None = None
        """The names of the parameters that are trained; ``None`` before that's known."""
        self._without_statistics: list[str] = []
        """The names of the batch norm layers that don't note statistics."""
        self._restarting = False
        self._known: list[nn.Parameter] = []
        self._late: list[nn.Parameter] = []

    # --- what a subclass says ---

    def freeze_before_training(self, pl_module: Any) -> None:
        """Freeze what isn't trained at first; called before the optimizers are made."""
        raise NotImplementedError

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Optimizer) -> None:
        """Unfreeze what's trained from this epoch on, or change learning rates; called when an epoch starts."""
        raise NotImplementedError

    # --- what it says that with ---

    flatten_modules = staticmethod(freezing.flatten_modules)
    filter_params = staticmethod(freezing.filter_params)
    make_trainable = staticmethod(freezing.make_trainable)
    freeze_module = staticmethod(freezing.freeze_module)
    freeze = staticmethod(freezing.freeze)
    filter_on_optimizer = staticmethod(freezing.filter_on_optimizer)
    unfreeze_and_add_param_group = staticmethod(freezing.unfreeze_and_add_param_group)

    # --- what survives a resume ---

    def state_dict(self) -> dict[str, Any]:
        return {
            "internal_optimizer_metadata": self._internal_optimizer_metadata,
            "trained": self._trained,
            "without_statistics": self._without_statistics,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back the parameter groups, and what's trained; a file of Lightning says only the former."""
        self._internal_optimizer_metadata = state_dict["internal_optimizer_metadata"]
        self._trained = state_dict.get("trained")
        self._without_statistics = state_dict.get("without_statistics", [])
        self._restarting = True

    # --- the moments at which it acts ---

    def setup(self, trainer: PlacedRun, pl_module: Any, stage: str) -> None:
        self._restarting = False
        if stage != TrainerFn.FITTING:
            return
        if not trainer.strategy.supports(Capability.SEVERAL_OPTIMIZERS):
            name, strategy = type(self).__name__, type(trainer.strategy).__name__
            message = (
                f"{name} gives the optimizer parameters while training, but {strategy} takes the optimizer as it is at"
                " the start. Train all parameters from the start, or use `strategy='fsdp'` or 'ddp'."
            )
            raise NotImplementedError(message)
        self.freeze_before_training(pl_module)

    def on_fit_start(self, trainer: PlacedRun, pl_module: Any) -> None:
        self._known = [one for one in pl_module.parameters() if one.requires_grad]
        names = dict(pl_module.named_parameters())
        if self._restarting or (trainer.current_epoch > 0 and self._fits(names)):
            self._require_parameters(names)
            for index, optimizer in enumerate(trainer.optimizers):
                self._restore_groups(optimizer, self._internal_optimizer_metadata.get(index, []), names)
            self._restore_training(pl_module)
        self._restarting = False
        self._note(trainer, pl_module)

    def on_train_epoch_start(self, trainer: PlacedRun, pl_module: Any) -> None:
        for optimizer in trainer.optimizers:
            self.finetune_function(pl_module, trainer.current_epoch, optimizer)
        self._note(trainer, pl_module)

    def on_after_backward(self, trainer: PlacedRun, pl_module: Any) -> None:
        # With each backward, and not once per step: a loss scaler looks at the gradients right after the last one.
        if self._late:
            average_gradients(self._late, partial(trainer.strategy.reduce, op="mean"))

    def teardown(self, trainer: PlacedRun, pl_module: Any, stage: str) -> None:
        self._known, self._late = [], []

    # --- how ---

    def _note(self, trainer: PlacedRun, pl_module: nn.Module) -> None:
        """Note what the optimizers hold and what's trained, for the next checkpoint."""
        names = {id(parameter): name for name, parameter in pl_module.named_parameters()}
        self._internal_optimizer_metadata = {
            index: [_described(group, names) for group in optimizer.param_groups]
            for index, optimizer in enumerate(trainer.optimizers)
        }
        self._trained = [name for name, parameter in pl_module.named_parameters() if parameter.requires_grad]
        layers = ((name, one) for name, one in pl_module.named_modules() if isinstance(one, _BatchNorm))
        self._without_statistics = [name for name, layer in layers if not layer.track_running_stats]
        self._late = late_parameters(pl_module, self._known) if trainer.world_size > 1 else []

    def _fits(self, names: Mapping[str, nn.Parameter]) -> bool:
        """Say whether the module has all parameters of the groups noted."""
        return not self._missing(names)

    def _missing(self, names: Mapping[str, nn.Parameter]) -> list[str]:
        groups = (group for groups in self._internal_optimizer_metadata.values() for group in groups)
        return [name for group in groups for name in group["params"] if name not in names]

    def _require_parameters(self, names: Mapping[str, nn.Parameter]) -> None:
        missing = self._missing(names)
        if missing:
            message = (
                f"The checkpoint's state of {type(self).__name__} has {missing} in an optimizer's groups, but the"
                " module has no parameters of these names. Resume with the module that the run was saved with."
            )
            raise MisconfigurationException(message)

    def _restore_groups(
        self, optimizer: Optimizer, saved: Sequence[Mapping[str, Any]], names: Mapping[str, nn.Parameter]
    ) -> None:
        """Give an optimizer the groups that were added to it after it was made."""
        for group in saved[len(optimizer.param_groups) :]:
            parameters = [names[name] for name in group["params"]]
            if self._trained is None:  # a file of Lightning
                _train(parameters)
            optimizer.add_param_group({**group, "params": parameters})

    def _restore_training(self, pl_module: nn.Module) -> None:
        """Train and freeze what was, when the state was noted."""
        if self._trained is None:
            return
        trained, silent = set(self._trained), set(self._without_statistics)
        for name, parameter in pl_module.named_parameters():
            if parameter.requires_grad != (name in trained):
                parameter.requires_grad = name in trained
        for name, layer in pl_module.named_modules():
            if isinstance(layer, _BatchNorm):
                layer.track_running_stats = name not in silent


def _described(group: Mapping[str, Any], names: Mapping[int, str]) -> dict[str, Any]:
    """Return a parameter group with names in the place of parameters."""
    settings = {key: value for key, value in group.items() if key not in ("params", "param_names")}
    return {**settings, "params": [names[id(parameter)] for parameter in group["params"]]}


def _train(parameters: Iterable[nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.requires_grad = True
