import pytest
import torch
from torch.distributed.fsdp import (
    CPUOffload,
    CPUOffloadPolicy,
    MixedPrecision,
    MixedPrecisionPolicy,
    OffloadPolicy,
    ShardingStrategy,
)

from lt_fabric.cpu import CPUAccelerator
from lt_fabric.full_precision import FullPrecision
from lt_fabric.local_environment import LocalEnvironment
from lt_fabric.mps import MPSAccelerator
from lt_fsdp import FSDPStrategy
from lt_fsdp.arguments import mixed_precision_policy, offload_policy, reshards
from lt_interfaces import Assembly, MisconfigurationException, PrecisionDtypes

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("FULL_SHARD", (None, False)),
        ("SHARD_GRAD_OP", (False, False)),
        ("HYBRID_SHARD", (None, True)),
        (ShardingStrategy.SHARD_GRAD_OP, (False, False)),
        (ShardingStrategy._HYBRID_SHARD_ZERO2, (False, True)),
    ],
)
def test_the_names_of_the_first_version_say_what_is_freed_and_replicated(
    strategy: object, expected: tuple[bool | None, bool]
) -> None:
    assert reshards(strategy, None) == expected


def test_what_contradicts_is_refused_naming_both_sides() -> None:
    with pytest.raises(MisconfigurationException, match=r"'SHARD_GRAD_OP'.*`reshard_after_forward=True`"):
        FSDPStrategy(sharding_strategy="SHARD_GRAD_OP", reshard_after_forward=True)


@pytest.mark.parametrize(("strategy", "said"), [("NO_SHARD", "strategy='ddp'"), ("HALF", "must be one of FULL_SHARD")])
def test_a_sharding_strategy_that_shards_nothing_or_is_unknown_is_refused(strategy: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FSDPStrategy(sharding_strategy=strategy)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"use_orig_params": False}, "always works as with `use_orig_params=True`"),
        ({"backward_prefetch": "BACKWARD_POST"}, "gathered during backward anyway"),
        ({"param_init_fn": print}, r"`reset_parameters\(\)`"),
        ({"process_group": None}, "use `device_mesh`"),
        ({"precision": "16-mixed"}, "give `precision` to the Trainer"),
    ],
)
def test_what_has_no_place_in_fsdp2_is_refused_with_what_replaces_it(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(MisconfigurationException, match=said):
        FSDPStrategy(**arguments)


def test_what_fsdp2_always_does_may_be_asked_for() -> None:
    FSDPStrategy(use_orig_params=True, limit_all_gathers=True, sync_module_states=True)


def test_an_unknown_argument_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(TypeError, match="Did you mean `ignored_states`"):
        FSDPStrategy(ignored_state=[])


def test_a_state_dict_type_is_full_or_sharded() -> None:
    with pytest.raises(ValueError, match="must be 'full' or 'sharded'"):
        FSDPStrategy(state_dict_type="local")  # type: ignore[arg-type]  # that's the point
    assert FSDPStrategy().default_checkpoint_io == "torch"
    assert FSDPStrategy(state_dict_type="sharded").default_checkpoint_io == "distributed"


@pytest.mark.parametrize("asked", [True, CPUOffload(offload_params=True)])
def test_offloaded_shards_are_pinned_where_there_is_an_accelerator(asked: object) -> None:
    for device, pinned in ((CPU, False), (CUDA, True)):
        policy = offload_policy(asked, device)
        assert isinstance(policy, CPUOffloadPolicy)
        assert policy.pin_memory is pinned


def test_without_asking_shards_stay_on_their_device() -> None:
    for asked in (None, False, CPUOffload(offload_params=False)):
        assert type(offload_policy(asked, CPU)) is OffloadPolicy
    own = CPUOffloadPolicy(pin_memory=False)
    assert offload_policy(own, CUDA) is own


def test_formats_come_from_the_precision_unless_something_was_asked_for() -> None:
    half = PrecisionDtypes(param=torch.float32, compute=torch.bfloat16, reduce=torch.float32)
    policy = mixed_precision_policy(None, half)
    assert (policy.param_dtype, policy.reduce_dtype) == (torch.bfloat16, torch.float32)
    own = MixedPrecisionPolicy(param_dtype=torch.float16)
    assert mixed_precision_policy(own, half) is own
    first = mixed_precision_policy(MixedPrecision(torch.float16, torch.float32, torch.float16), half)
    assert (first.param_dtype, first.reduce_dtype) == (torch.float16, torch.float32)
    with pytest.raises(MisconfigurationException, match="buffers"):
        mixed_precision_policy(MixedPrecision(torch.float16, torch.float32, torch.float32), half)


def test_a_mesh_that_does_not_multiply_out_is_refused_before_launch() -> None:
    strategy = FSDPStrategy(sharding_strategy="HYBRID_SHARD", device_mesh=(2, 2))
    parts = Assembly(CPUAccelerator(), [CPU] * 2, 1, LocalEnvironment(), FullPrecision())
    with pytest.raises(MisconfigurationException, match=r"2 x 2 = 4 processes, but this job has 2"):
        strategy.connect(parts)


@pytest.mark.parametrize("sizes", [(2,), (0, 2), ("2", "1")])
def test_a_mesh_has_two_sizes(sizes: tuple[object, ...]) -> None:
    parts = Assembly(CPUAccelerator(), [CPU] * 2, 1, LocalEnvironment(), FullPrecision())
    with pytest.raises(MisconfigurationException, match="must be two whole numbers"):
        FSDPStrategy(device_mesh=sizes).connect(parts)


def test_an_accelerator_without_collectives_is_refused() -> None:
    assert not FSDPStrategy().supports(MPSAccelerator())
    assert FSDPStrategy().supports(CPUAccelerator())
