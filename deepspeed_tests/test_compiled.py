"""Compiled steps under DeepSpeed train as uncompiled ones do."""

import pytest
from compiled_ranks import compare

from lt_interfaces.testing.ranks import run_in_processes

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_ranks_with_compiled_steps_train_as_without(stage: int) -> None:
    for plain, *compiled in run_in_processes(compare, f"deepspeed_stage_{stage}", timeout_seconds=250):
        assert len(plain.losses) == 12
        for outcome in compiled:
            assert outcome.losses == pytest.approx(plain.losses, rel=0, abs=1e-6)
            assert outcome.logged == pytest.approx(plain.logged, rel=0, abs=1e-6)
            assert outcome.keys == plain.keys
            # Stage 3 gathers the weights of each layer, outside of graphs.
            assert (outcome.breaks == {}) == (stage < 3)
