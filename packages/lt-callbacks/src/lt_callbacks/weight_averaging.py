"""Averages weights while they're trained, to validate with the average and end with it."""

from collections.abc import Iterator, Mapping
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lt_callbacks.run import PlacedRun
from lt_interfaces.callback import Callback
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.spelling import did_you_mean
from lt_interfaces.states import TrainerFn
from lt_interfaces.strategy import Capability

_LIVE, _STATE = "current_model_state", "averaging_state"  # the keys that Lightning has in its files


class WeightAveraging(Callback):
    """Averages the weights after optimizer steps; validation in a fit uses the average, and the module ends with it.

    Override `should_update` to say after which steps or epochs; by default it's every step. The average is torch's
    `AveragedModel`: the mean of all, or what ``avg_fn`` or ``multi_avg_fn`` make of it. The first update takes the
    weights as they are.

    A checkpoint's ``state_dict`` holds the average, also with ``weights_only=True``; beside it are the weights being
    trained, with which a resumed run goes on.

    Args:
        device: where the average is kept; ``None``: with the weights.
        use_buffers: whether buffers (such as those of batch norm) are averaged, too; if not, they're the current ones.
        kwargs: of `torch.optim.swa_utils.AveragedModel`: ``avg_fn``, ``multi_avg_fn``.

    Raises:
        TypeError: for an argument that `AveragedModel` doesn't take.
        MisconfigurationException: when fitting starts, under a strategy that shards weights or holds copies of them.

    Example::

        class AverageTheEnd(WeightAveraging):
            def should_update(self, step_idx=None, epoch_idx=None):
                return step_idx is not None and step_idx >= 1000
    """

    def __init__(self, device: torch.device | str | int | None = None, use_buffers: bool = True, **kwargs: Any) -> None:
        _check_arguments(kwargs)
        self._device = None if device is None else torch.device(device)
        self._arguments = {"use_buffers": use_buffers, **kwargs}
        self._average: AveragedModel | None = None
        self._is_swapped = False
        """Whether the module holds the average now, and the average's place the weights being trained."""
        self._final: dict[str, Any] | None = None
        """The state of the average once the module has taken it over."""
        self._resumed: tuple[Mapping[str, Any], Mapping[str, Any]] | None = None
        self._latest_update_step = 0
        self._latest_update_epoch = -1

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Say whether to update the average now.

        Args:
            step_idx: after an optimizer step: which one, counted from 0.
            epoch_idx: at the end of an epoch: which one, counted from 0.
        """
        return step_idx is not None

    # --- what survives a resume ---

    def state_dict(self) -> dict[str, Any]:
        return {"latest_update_step": self._latest_update_step, "latest_update_epoch": self._latest_update_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._latest_update_step = state_dict["latest_update_step"]
        self._latest_update_epoch = state_dict.get("latest_update_epoch", -1)

    def on_save_checkpoint(self, trainer: PlacedRun, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if self._average is None and self._final is None:
            return
        own = checkpoint["state_dict"]
        checkpoint[_LIVE] = self._exchanged(pl_module, own) if self._is_swapped else own
        checkpoint["state_dict"] = self.weights_to_save(pl_module, own)
        checkpoint[_STATE] = self._final or _state_of(self._average)

    def weights_to_save(self, pl_module: nn.Module, state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the weights that a checkpoint is to hold in place of the module's own: the average."""
        is_apart = self._average is not None and not self._is_swapped
        return self._exchanged(pl_module, state_dict) if is_apart else state_dict

    def on_load_checkpoint(self, trainer: PlacedRun, pl_module: Any, checkpoint: Mapping[str, Any]) -> None:
        if trainer.state.fn is not TrainerFn.FITTING:
            return
        if _LIVE in checkpoint:
            self._resumed = checkpoint[_LIVE], checkpoint[_STATE]
        else:
            rank_zero_warn(
                f"{type(self).__name__}: the checkpoint was saved without averaging weights. Training goes on with its"
                " weights, and a new average begins."
            )

    # --- the moments at which it acts ---

    def setup(self, trainer: PlacedRun, pl_module: Any, stage: str) -> None:
        if stage != TrainerFn.FITTING:
            return
        self._average = self._resumed = self._final = None
        self._is_swapped = False
        self._latest_update_step, self._latest_update_epoch = trainer.global_step, -1
        if not trainer.strategy.supports(Capability.TRIAL_RUN):
            self._refuse(trainer)

    def on_fit_start(self, trainer: PlacedRun, pl_module: Any) -> None:
        if any(hasattr(parameter, "full_tensor") for parameter in pl_module.parameters()):
            self._refuse(trainer)
        self._average = AveragedModel(_Weights(pl_module), device=self._device, **self._arguments)
        if self._resumed is not None:  # the module has loaded the average
            live, state = self._resumed
            self._resumed = None
            self._average.n_averaged.copy_(state["n_averaged"])
            trainer.strategy.load_module_state(pl_module, live)

    def on_train_batch_end(self, trainer: PlacedRun, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = trainer.global_step
        if step > self._latest_update_step and self.should_update(step_idx=step - 1):
            self._latest_update_step = step
            self._update(pl_module)

    def on_train_epoch_end(self, trainer: PlacedRun, pl_module: Any) -> None:
        epoch = trainer.current_epoch
        if epoch > self._latest_update_epoch and self.should_update(epoch_idx=epoch):
            self._latest_update_epoch = epoch
            self._update(pl_module)

    def on_validation_epoch_start(self, trainer: PlacedRun, pl_module: Any) -> None:
        self._swap(pl_module, to_average=True)

    def on_validation_epoch_end(self, trainer: PlacedRun, pl_module: Any) -> None:
        self._swap(pl_module, to_average=False)

    def on_exception(self, trainer: PlacedRun, pl_module: Any, exception: BaseException) -> None:
        self._swap(pl_module, to_average=False)  # what's saved now is to hold what's trained

    def on_train_end(self, trainer: PlacedRun, pl_module: Any) -> None:
        if self._average is not None:
            self._swap(pl_module, to_average=True)
            self._final, self._average, self._is_swapped = _state_of(self._average), None, False

    # --- how ---

    def _update(self, pl_module: nn.Module) -> None:
        if self._average is not None:
            self._average.update_parameters(_Weights(pl_module))

    @torch.no_grad()
    def _swap(self, pl_module: nn.Module, *, to_average: bool) -> None:
        """Exchange the module's weights with those kept, tensor by tensor, if it doesn't hold the right ones."""
        if self._average is None or self._is_swapped is to_average:
            return
        for own, kept in self._pairs(pl_module):
            before = own.clone()
            own.copy_(kept)
            kept.copy_(before)
        self._is_swapped = to_average

    def _pairs(self, pl_module: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
        """Return each tensor of the module with the one kept of it."""
        assert self._average is not None  # asked before
        return zip(_tensors(pl_module), _tensors(self._average.module), strict=True)

    def _exchanged(self, pl_module: nn.Module, state_dict: Mapping[str, Any]) -> dict[str, Any]:
        """Return a state with the tensors kept in place of the module's; nothing is copied."""
        if self._average is None:  # the module has it
            return dict(state_dict)
        kept_of = {id(own): kept for own, kept in self._pairs(pl_module)}
        named = [*pl_module.named_parameters(remove_duplicate=False), *pl_module.named_buffers(remove_duplicate=False)]
        kept = {name: kept_of[id(tensor)].detach() for name, tensor in named}
        return {name: kept.get(name, value) for name, value in state_dict.items()}

    def _refuse(self, trainer: PlacedRun) -> None:
        message = (
            f"{type(self).__name__} exchanges whole weights, but {type(trainer.strategy).__name__} shards them or holds"
            " copies of them. Use one device or `strategy='ddp'`, or leave the callback out."
        )
        raise MisconfigurationException(message)


class EMAWeightAveraging(WeightAveraging):
    """Keeps an exponential moving average of the weights: each update moves it by ``1 - decay`` to the current ones.

    Args:
        device: as for `WeightAveraging`.
        use_buffers: as for `WeightAveraging`.
        decay: how much of the average stays with each update, from 0 to 1.
        update_every_n_steps: optimizer steps between two updates.
        update_starting_at_step: the first step, counted from 0, after which it may be updated; ``None``: the first.
        update_starting_at_epoch: from which epoch on it's updated at the end of epochs, beside what's done after steps;
            ``None``: not at all.
        kwargs: as for `WeightAveraging`.

    Raises:
        MisconfigurationException: for ``update_every_n_steps`` below 1.

    >>> ema = EMAWeightAveraging(decay=0.99, update_every_n_steps=10, update_starting_at_step=100)
    >>> ema.should_update(step_idx=90), ema.should_update(step_idx=110), ema.should_update(epoch_idx=3)
    (False, True, False)
    """

    def __init__(
        self,
        device: torch.device | str | int | None = None,
        use_buffers: bool = True,
        decay: float = 0.999,
        update_every_n_steps: int = 1,
        update_starting_at_step: int | None = None,
        update_starting_at_epoch: int | None = None,
        **kwargs: Any,
    ) -> None:
        if update_every_n_steps < 1:
            message = f"`update_every_n_steps` must be a number of optimizer steps above 0, not {update_every_n_steps}."
            raise MisconfigurationException(message)
        super().__init__(device, use_buffers, **{"multi_avg_fn": _moving_average(decay), **kwargs})
        self.update_every_n_steps = update_every_n_steps
        self.update_starting_at_step = update_starting_at_step
        self.update_starting_at_epoch = update_starting_at_epoch

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        if step_idx is not None:
            return step_idx >= (self.update_starting_at_step or 0) and step_idx % self.update_every_n_steps == 0
        starts = self.update_starting_at_epoch
        return epoch_idx is not None and starts is not None and epoch_idx >= starts


class _Weights(nn.Module):
    """A module's parameters and buffers without the module, whose other parts needn't be copied with them."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.kept = nn.ParameterList(module.parameters())
        for index, buffer in enumerate(module.buffers()):
            self.register_buffer(f"buffer_{index}", buffer)


def _moving_average(decay: float) -> Any:
    return get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _state_of(average: AveragedModel | None) -> dict[str, Any]:
    assert average is not None  # asked before
    return {"n_averaged": average.n_averaged.clone()}


def _check_arguments(arguments: Mapping[str, Any]) -> None:
    known = [name for name in signature(AveragedModel.__init__).parameters if name.endswith("avg_fn")]
    for name in arguments:
        if name not in known:
            message = f"`{name}` isn't an argument of `AveragedModel`.{did_you_mean(name, known)} It takes {known}."
            raise TypeError(message)
