"""Modules on DeepSpeed's engines: making an engine, running through it, differentiating, clipping and stepping."""

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import inf
from typing import Any, Final
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from lt_deepspeed.installation import deepspeed
from lt_interfaces import MisconfigurationException
from lt_interfaces.redirection import StepRedirection
from lt_strategies.ranks import Ranks

_BY_PARAMETER: Final = ("LBFGS", "Adafactor", "Muon")
"""Optimizers that must see each parameter's shape, which ZeRO's flat shards haven't."""


_LIVE: Final[WeakKeyDictionary[nn.Module, "EngineModule"]] = WeakKeyDictionary()
"""What stands for each module, while it does."""


class EngineModule(nn.Module):
    """The user's module, run by an engine once there's one.

    An engine takes module and optimizer at once, while users of Fabric may set them up one after the other. So this
    stands for the module from the beginning.

    Args:
        module: the user's.
        config: DeepSpeed's.
        excludes_frozen: leave frozen parameters out of the engine's own folders.
    """

    def __init__(self, module: nn.Module, config: Mapping[str, Any], *, excludes_frozen: bool = False) -> None:
        super().__init__()
        earlier = _LIVE.get(module)
        if earlier is not None:
            earlier.close()  # its hooks would run, too
        _LIVE[module] = self
        self.module = module
        # Not as submodules: parameters and states must appear once.
        vars(self).update(engine=None, optimizer=None, _config=config)
        vars(self).update(excludes_frozen=excludes_frozen, _is_stepping_by_hand=False, _has_whole_gradients=False)

    engine: Any
    """DeepSpeed's engine; ``None`` until `train_with` or the first call."""
    optimizer: Optimizer | None
    """The user's optimizer, whose settings hold."""
    excludes_frozen: bool
    """Whether frozen parameters are left out of the engine's own folders."""
    _config: Mapping[str, Any]
    _is_stepping_by_hand: bool
    _has_whole_gradients: bool
    _trained: list[int]

    @property
    def stage(self) -> int:
        """What is sharded, as DeepSpeed counts."""
        stage: int = self._config["zero_optimization"]["stage"]
        return stage

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module through its engine."""
        if self.engine is None:
            if self.stage != 3:
                return self.module(*args, **kwargs)
            self.evaluate()
        return self.engine(*args, **kwargs)

    def train_with(self, optimizer: Optimizer) -> None:
        """Let an engine train the module with this optimizer, whose settings it follows from step to step.

        Raises:
            MisconfigurationException: it can't work on ZeRO's shards, or the module has an engine already.
        """
        if self.engine is not None:
            message = "`DeepSpeedStrategy` trains a module with one optimizer, and this one has its engine already."
            raise MisconfigurationException(message)
        if type(optimizer).__name__ in _BY_PARAMETER:
            message = (
                f"`DeepSpeedStrategy` can't work with {type(optimizer).__name__}, which needs whole parameters: ZeRO"
                " has flat shards of them. Use one that works on each element alone, such as AdamW."
            )
            raise MisconfigurationException(message)
        vars(self).update(optimizer=optimizer, _trained=_trained_by_group(optimizer))
        self._make_engine(_twin(optimizer))
        self.set_boundary(True)

    def evaluate(self) -> None:
        """Let an engine run the sharded module without training it."""
        self._make_engine(None)

    def set_boundary(self, is_boundary: bool) -> None:
        """Say whether the next backward completes the gradients of a step."""
        if self.optimizer is not None:
            self.engine.set_gradient_accumulation_boundary(is_boundary)

    def stepping(self, name: str) -> Callable[..., Any]:
        """Return what runs a method of the module through the engine."""
        redirected = StepRedirection(self, self.module, name=name)
        if getattr(self.module, "automatic_optimization", True):
            return redirected

        def step(*args: Any, **kwargs: Any) -> Any:
            vars(self)["_is_stepping_by_hand"] = True
            try:
                return redirected(*args, **kwargs)
            finally:
                vars(self)["_is_stepping_by_hand"] = False

        return step

    def backward(self, loss: Tensor, run_backward: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        """Differentiate a loss, as the engine does or as the module wants it."""
        engine = self.engine
        self._refuse_second_last_backward()
        if self._is_stepping_by_hand:
            # Engines begin a backward by hooks on what their forward returns, which isn't over yet.
            self.zero_optimizer.clear_backward_seen_flag()
            deepspeed("runtime.utils").register_output_backward_hooks(loss, engine._backward_prologue)
        if run_backward is Tensor.backward and not args and set(kwargs) <= {"retain_graph"}:
            engine.backward(loss, scale_wrt_gas=False, **kwargs)
        else:
            run_backward(engine.scale(loss), *args, **kwargs)

    def step(self) -> None:
        """Update the parameters with the user's current settings, and drop the gradients."""
        optimizer = self.optimizer
        assert optimizer is not None  # whoever steps has set one up
        self._refuse_changes(optimizer)
        groups = [group for group in optimizer.param_groups if group["params"]]  # the engine leaves empty ones out
        for own, engines in zip(groups, self.base_optimizer.param_groups, strict=True):
            engines.update({key: value for key, value in own.items() if key != "params"})
        self.engine.step()
        self.zero_optimizer.clip_grad = 0.0
        vars(self)["_has_whole_gradients"] = False
        # Learning-rate schedulers look for it, to tell that steps come in the right order.
        optimizer._opt_called = True  # type: ignore[attr-defined]

    def clip(self, max_norm: float) -> Tensor:
        """Let the next step clip the global norm, unless the limit is infinite; returns what it is before.

        The engine's own arithmetic does it, on shards, over all ranks.
        """
        zero = self.zero_optimizer
        norm = zero.scaled_global_norm() if self.stage < 3 else _norm_under_stage_3(zero)
        if max_norm != inf:  # else what the user's own config says of clipping stays
            zero.clip_grad = float(max_norm)
        return torch.as_tensor(norm).to(self.engine.device).float() / float(zero.loss_scale)

    def _refuse_second_last_backward(self) -> None:
        is_last = self.engine.is_gradient_accumulation_boundary()
        if is_last and self._has_whole_gradients and self.stage < 3:
            message = (
                "A second backward for one optimizer step, and the first wasn't announced as one of several:"
                " DeepSpeed's engine would lose its gradients. Run all but the last backward within"
                " `no_backward_sync(module)`, or add the losses up."
            )
            raise RuntimeError(message)
        vars(self)["_has_whole_gradients"] = is_last

    def close(self) -> None:
        """Let go of the engine; parameters stay where they are."""
        engine = self.engine
        vars(self).update(engine=None, optimizer=None)
        if engine is not None:
            engine.destroy()

    @property
    def zero_optimizer(self) -> Any:
        """The engine's optimizer, which shards."""
        return self.engine.optimizer

    @property
    def base_optimizer(self) -> Optimizer:
        """The optimizer within it, which updates flat shards."""
        base: Optimizer = self.zero_optimizer.optimizer
        return base

    def _refuse_changes(self, optimizer: Optimizer) -> None:
        """Refuse to go on when what's trained isn't what the engine was made for: it would be left out in silence."""
        if _trained_by_group(optimizer) != self._trained:
            message = (
                f"What {type(optimizer).__name__} trains has changed since `DeepSpeedStrategy` set it up: parameters"
                " were frozen or unfrozen, or groups added. Engines take that once, at the start: freeze before, or use"
                " `strategy='fsdp'` or 'ddp'."
            )
            raise MisconfigurationException(message)

    def _make_engine(self, optimizer: Optimizer | None) -> None:
        config = self._config
        engine, *_ = deepspeed().initialize(
            model=self.module,
            optimizer=optimizer,
            model_parameters=[one for one in self.module.parameters() if one.requires_grad],
            config=copy.deepcopy(config),
            dist_init_required=False,
        )
        # For users who checkpoint activations with `deepspeed.checkpointing.checkpoint`.
        deepspeed().checkpointing.configure(None, deepspeed_config=copy.deepcopy(config))
        vars(self)["engine"] = engine


@contextmanager
def deepspeed_in(ranks: Ranks, *, logging_level: int) -> Iterator[None]:
    """Let DeepSpeed work in the process group that the job has, as long as the context is open.

    It looks up who it is in environment variables, in the middle of a step too, as its own launcher sets them.
    """
    told = {"RANK": ranks.global_rank, "LOCAL_RANK": ranks.local_rank, "WORLD_SIZE": ranks.world_size}
    before = {name: os.environ.get(name) for name in told}
    os.environ.update({name: str(value) for name, value in told.items()})
    try:
        deepspeed("utils").logger.setLevel(logging_level)
        deepspeed().init_distributed(dist.get_backend(), auto_mpi_discovery=False, verbose=False)
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def plain_module(module: nn.Module) -> nn.Module:
    """Return the user's own module."""
    return module.module if isinstance(module, EngineModule) else module


def parameters_of(optimizers: Sequence[Optimizer]) -> set[int]:
    """Return the ids of the parameters that optimizers hold."""
    return {id(one) for optimizer in optimizers for group in optimizer.param_groups for one in group["params"]}


def _trained_by_group(optimizer: Optimizer) -> list[int]:
    """Return how many parameters of each group are trained."""
    return [sum(one.requires_grad for one in group["params"]) for group in optimizer.param_groups]


def _twin(optimizer: Optimizer) -> Optimizer:
    """Return an optimizer of the same kind for the engine, which puts flat shards into its groups.

    So the user's own keeps the parameters that it was made with: schedulers, callbacks and loops go on knowing it.
    """
    kind = type(optimizer)
    if hasattr(kind, "__del__"):  # the original alone gives back what both use
        kind = type(kind.__name__, (kind,), {"__del__": lambda _: None, "__module__": kind.__module__})
    twin: Optimizer = object.__new__(kind)
    vars(twin).update(vars(optimizer))
    vars(twin).pop("step", None)  # a scheduler's, which counts calls of the user's
    twin.param_groups = [dict(group) for group in optimizer.param_groups]
    twin.state = type(optimizer.state)(dict)
    vars(twin)["_lt_original"] = optimizer
    return twin


def _norm_under_stage_3(zero: Any) -> Tensor:
    # What the step itself computes; DeepSpeed offers it publicly for the other stages alone.
    norm: Tensor = deepspeed("runtime.utils").combine_grad_norm_groups(zero._get_norm_groups())
    return norm
