import pytest
from torch.distributed.algorithms.ddp_comm_hooks.post_localSGD_hook import PostLocalSGDState

from lt_interfaces import MisconfigurationException
from lt_strategies.averaging import ModelAveraging


def test_neither_state_nor_period_means_no_averaging() -> None:
    assert ModelAveraging.of(None, None) is None
    assert ModelAveraging.of("state of another hook", None) is None


@pytest.mark.parametrize(("with_state", "period"), [(True, None), (False, 4)])
def test_one_of_state_and_period_alone_is_refused(with_state: bool, period: int | None) -> None:
    state = PostLocalSGDState(None, None, 2) if with_state else None  # type: ignore[arg-type]  # the default group
    with pytest.raises(MisconfigurationException, match="give both, or neither"):
        ModelAveraging.of(state, period)
