"""How a model is laid out over the ranks of a job, said beforehand instead of done by hand."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import prod
from typing import Any, Final

from lt_fsdp.meshes import ParallelSizes, Size
from lt_fsdp.pipeline import SCHEDULES, Schedule
from lt_fsdp.sharding import Layout
from lt_fsdp.tensor_styles import Styles, check_styles
from lt_interfaces import MisconfigurationException

_AXES: Final = ("replicate", "shard", "tensor", "pipeline")


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
    pipeline: int = 1
    """Ranks that each have a stage of the model, which says what these are (`lt_fsdp.pipeline.Pipelined`). With several
    the other axes have no length yet."""
    pipeline_schedule: Schedule = "1f1b"
    """"1f1b" (each stage alternates forward and backward, so that few micro-batches are under way) or "gpipe"."""
    num_microbatches: int | None = None
    """How many a pipeline cuts each batch into, at most: those that divide it; ``None``: two per stage."""
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
            is_open = size == "auto" and axis != "pipeline"
            if not is_open and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
                way_out = "" if axis == "pipeline" else ", or 'auto'"
                message = f"`{axis}={size!r}` must be a whole number of processes, at least 1{way_out}."
                raise MisconfigurationException(message)
        if (open_axes := [axis for axis, size in sizes.items() if size == "auto"])[1:]:
            message = f"At most one axis can be what the others leave, but {' and '.join(open_axes)} are 'auto'."
            raise MisconfigurationException(message)
        if self.pipeline_schedule not in SCHEDULES:
            message = f"`pipeline_schedule={self.pipeline_schedule!r}` must be one of {', '.join(SCHEDULES)}."
            raise ValueError(message)
        if self.num_microbatches is not None and self.num_microbatches < 1:
            message = f"`num_microbatches={self.num_microbatches!r}` must be at least 1, or None."
            raise ValueError(message)
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
            _refuse_beside_pipeline(sizes)
            return ParallelSizes(**sizes)
        product = " x ".join(str(size) for size in asked.values() if size != "auto")
        rest = {axis: prod(sizes[other] for other in _AXES if other != axis) for axis in _AXES}
        candidates = [axis for axis in _AXES if axis != "pipeline" or rest[axis] == 1]  # which stands alone so far
        lengths = {axis: world_size // rest[axis] for axis in candidates if rest[axis] and not world_size % rest[axis]}
        fitting = [f"`{axis}={length}`" for axis, length in lengths.items()]
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


def _refuse_beside_pipeline(sizes: Mapping[str, int]) -> None:
    others = [f"`{axis}={size}`" for axis, size in sizes.items() if axis != "pipeline" and size > 1]
    if sizes["pipeline"] > 1 and others:
        message = (
            f"`pipeline={sizes['pipeline']}` can't be combined with {' and '.join(others)} yet. Give the pipeline all"
            " ranks of the job, or leave it out."
        )
        raise MisconfigurationException(message)
