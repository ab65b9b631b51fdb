"""How a model is laid out over the ranks of a job, said beforehand instead of done by hand."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import prod
from typing import Any, Final

from lt_fsdp.meshes import ParallelSizes, Size
from lt_fsdp.sharding import Layout
from lt_fsdp.tensor_styles import Styles, check_styles
from lt_interfaces import MisconfigurationException

_AXES: Final = ("replicate", "shard", "tensor")


@dataclass(frozen=True, kw_only=True)
class ParallelPlan:
    """Says along which axes the ranks of a job lie, which layers are divided, and what's sharded as a unit.

    Raises:
        MisconfigurationException: an axis has no length, or layers are to be divided but none is named.
        ValueError: for an unknown style.
        TypeError: for what can't be a style.

    Example::

        styles = {"model.blocks.*.attention.qkv": "colwise", "model.blocks.*.attention.out": "rowwise"}
        ModelParallelStrategy(plan=ParallelPlan(shard=4, tensor=2, tensor_styles=styles, auto_wrap_policy={Block}))
    """

    replicate: Size = 1
    """Replicas of the sharded model; at most one axis is "auto": what the others leave of the job."""
    shard: Size = "auto"
    """Ranks over which each replica's parameters, gradients and optimizer state are sharded."""
    tensor: Size = 1
    """Ranks that compute each divided layer together; neighbours."""
    tensor_styles: Styles = field(default_factory=dict)
    """How layers are divided: by pattern of the names of ``named_modules()``, in which ``*`` stands for any one part, a
    style: "colwise" (each rank has some of a linear layer's outputs), "rowwise" (some of its inputs, as a "colwise"
    layer before it gives them), "sequence" (a norm that sees a part of each sequence), or an object of torch's
    ``ParallelStyle``. Embeddings are cut along rows or columns by the same names; what they give is whole."""
    auto_wrap_policy: Any = None
    """What's sharded as a unit, as for `FSDPStrategy`."""
    activation_checkpointing_policy: Any = None
    """The layers whose activations are computed again in backward, in the same terms."""
    reshard_after_forward: bool | int | None = None
    """Whether units are freed between forward and backward; ``None``: all but what's around them."""
    mixed_precision: Any = None
    """torch's ``MixedPrecisionPolicy``, instead of the formats that ``precision`` says."""
    cpu_offload: Any = None
    """Keep shards on the CPU while they aren't used; a bool, or torch's ``CPUOffloadPolicy``."""

    def __post_init__(self) -> None:
        sizes = self._asked()
        for axis, size in sizes.items():
            if size != "auto" and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
                message = f"`{axis}={size!r}` must be a whole number of processes, at least 1, or 'auto'."
                raise MisconfigurationException(message)
        if (open_axes := [axis for axis, size in sizes.items() if size == "auto"])[1:]:
            message = f"At most one axis can be what the others leave, but {' and '.join(open_axes)} are 'auto'."
            raise MisconfigurationException(message)
        check_styles(self.tensor_styles)
        if self.tensor != 1 and not self.tensor_styles:
            message = (
                f"`tensor={self.tensor!r}` divides layers over ranks, but `tensor_styles` names none. Say there how,"
                ' e.g. {"model.blocks.*.up": "colwise", "model.blocks.*.down": "rowwise"}.'
            )
            raise MisconfigurationException(message)

    def sizes(self, world_size: int) -> ParallelSizes:
        """Return the length of each axis in a job.

        Raises:
            MisconfigurationException: they don't make up the job; says which length of an axis would.
        """
        asked = self._asked()
        fixed = prod(size for size in asked.values() if isinstance(size, int))
        sizes = {axis: world_size // fixed if size == "auto" else int(size) for axis, size in asked.items()}
        if prod(sizes.values()) == world_size:
            return ParallelSizes(**sizes)
        product = " x ".join(str(size) for size in asked.values() if size != "auto")
        rest = {axis: prod(sizes[other] for other in _AXES if other != axis) for axis in _AXES}
        fitting = [f"`{axis}={world_size // one}`" for axis, one in rest.items() if one and world_size % one == 0]
        way_out = f" Of the axes alone, {' or '.join(fitting)} would fit." if fitting else ""
        message = (
            f"`ParallelPlan({', '.join(f'{axis}={size!r}' for axis, size in asked.items())})` asks for {product} ="
            f" {fixed} processes{' or a multiple of it' if 'auto' in asked.values() else ''}, but this job has"
            f" {world_size}.{way_out} Change an axis, or `devices` and `num_nodes`."
        )
        raise MisconfigurationException(message)

    @property
    def layout(self) -> Layout:
        """How what's whole is sharded."""
        return Layout(self.auto_wrap_policy, self.reshard_after_forward, self.activation_checkpointing_policy)

    def _asked(self) -> Mapping[str, Size]:
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name in _AXES}
