import pytest

from lt_core.specs.optimization import resolve_optimization


def test_by_default_each_batch_is_a_step_and_torchs_switches_stay() -> None:
    spec = resolve_optimization()
    assert spec.accumulate_grad_batches == 1
    assert (spec.gradient_clip_val, spec.gradient_clip_algorithm) == (None, None)
    assert (spec.detect_anomaly, spec.deterministic, spec.benchmark) == (False, None, None)


def test_clipping_goes_by_the_norm_unless_told_otherwise() -> None:
    assert resolve_optimization(gradient_clip_val=0.5).gradient_clip_algorithm == "norm"
    assert resolve_optimization(gradient_clip_val=1, gradient_clip_algorithm="VALUE").gradient_clip_algorithm == "value"


def test_clipping_at_zero_is_accepted_and_means_no_clipping() -> None:
    assert resolve_optimization(gradient_clip_val=0).gradient_clip_val == 0


@pytest.mark.parametrize(("deterministic", "benchmark"), [(True, False), ("warn", False), (False, None), (None, None)])
def test_deterministic_arithmetic_turns_the_benchmark_off(deterministic: object, benchmark: object) -> None:
    assert resolve_optimization(deterministic=deterministic).benchmark is benchmark


def test_a_benchmark_beside_deterministic_arithmetic_warns() -> None:
    with pytest.warns(UserWarning, match="`benchmark=True`"):
        assert resolve_optimization(deterministic=True, benchmark=True).benchmark is True
