"""What the Trainer makes of every precision with an optional engine."""

from pathlib import Path

import precision_jobs
import pytest
import torch
from precision_jobs import Regressor, going_on_and_resumed, loader, outcomes_on_ranks, trainer
from torch import nn

from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.testing import run_in_processes
from lt_precision.bitsandbytes import BitsandbytesPrecision
from lt_precision.float8 import Float8Precision

FLOAT8 = ("float8", "float8-rowwise")
QUANTISED = ("nf4", "nf4-dq", "fp4", "fp4-dq", "int8")
TRAINING = (*FLOAT8, *QUANTISED, "int8-training")
KINDS = dict.fromkeys(FLOAT8, "Float8Linear") | dict.fromkeys(QUANTISED[:4], "Linear4bit")
KINDS |= {"int8": "Linear8bit", "int8-training": "Linear8bitTraining"}


@pytest.mark.parametrize("name", TRAINING)
def test_a_resumed_run_equals_one_that_went_on(name: str, tmp_path: Path) -> None:
    assert_resumed_exactly(going_on_and_resumed(name, tmp_path, devices=1), name)


def test_two_ranks_with_the_same_weights_resume_exactly(tmp_path: Path) -> None:
    by_rank = run_in_processes(outcomes_on_ranks, TRAINING, tmp_path, "ddp")
    for name in TRAINING:
        first, second = (found[name] for found in by_rank)
        assert_resumed_exactly(first, name)
        torch.testing.assert_close(first.weights, second.weights, rtol=0, atol=0)


def test_two_ranks_with_shards_resume_exactly(tmp_path: Path) -> None:
    for found in run_in_processes(outcomes_on_ranks, FLOAT8, tmp_path, "fsdp"):
        for name in FLOAT8:
            assert_resumed_exactly(found[name], name)


def test_ranks_that_began_differently_have_the_weights_and_scales_of_the_first() -> None:
    first, second = run_in_processes(precision_jobs.predictions_of_ranks_that_began_differently, TRAINING)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.parametrize("name", [*TRAINING, "int8-weight-only"])
def test_predicting_from_a_plain_checkpoint_equals_converting_what_it_holds(name: str, tmp_path: Path) -> None:
    plain, path = Regressor(seed=0), tmp_path / "plain.ckpt"
    run = trainer()
    run.predict(plain, loader())
    run.save_checkpoint(path)
    loaded = trainer(name).predict(Regressor(seed=1), loader(), ckpt_path=path)
    converted = trainer(name).predict(plain, loader())
    torch.testing.assert_close(loaded, converted, rtol=0, atol=0)


def test_predicting_from_weights_in_8_bits(tmp_path: Path) -> None:
    run, path = trainer("int8-weight-only"), tmp_path / "quantised.ckpt"
    expected = run.predict(Regressor(seed=0), loader())
    run.save_checkpoint(path)
    found = trainer("int8-weight-only").predict(Regressor(seed=1), loader(), ckpt_path=path)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_two_ranks_validate_with_weights_in_8_bits_as_one_does() -> None:
    expected = trainer("int8-weight-only").validate(Regressor(seed=0), loader(), verbose=False)
    for found in run_in_processes(precision_jobs.validated_on_ranks, "int8-weight-only"):
        assert found[0]["validated"] == pytest.approx(expected[0]["validated"], rel=1e-6)


def test_a_run_follows_the_filter_that_an_error_suggests() -> None:
    module = Regressor()
    module.layers[3] = nn.Linear(64, 10)
    with pytest.raises(MisconfigurationException, match=r"`layers\.3` \(64 to 10\)") as caught:
        trainer("float8", max_steps=1).fit(module, loader(), loader())
    snippet = str(caught.value).partition("pass `plugins=")[2].removesuffix("`.")
    trainer(eval(snippet, {"Float8Precision": Float8Precision}), max_steps=1).fit(module, loader(), loader())
    assert [type(module.layers[at]).__name__ for at in (0, 3)] == ["Float8Linear", "Linear"]


def test_a_run_leaves_ignored_modules_in_the_format_asked_for() -> None:
    module = Regressor()
    precision = BitsandbytesPrecision("nf4", torch.bfloat16, ignore_modules={"layers.3"})
    trainer(precision, max_steps=1).fit(module, loader(), loader())
    assert [type(module.layers[at]).__name__ for at in (0, 3)] == ["Linear4bit", "Linear"]
    assert module.layers[3].weight.dtype is torch.bfloat16


def test_training_with_weights_for_inference_is_refused() -> None:
    with pytest.raises(MisconfigurationException, match="is for validating, testing and predicting"):
        trainer("int8-weight-only", max_steps=1).fit(Regressor(), loader(), loader())


@pytest.mark.parametrize("name", [*QUANTISED, "int8-training", "int8-weight-only"])
def test_what_cannot_be_sharded_is_refused_before_launch_with_strategies_that_take_it(name: str) -> None:
    with pytest.raises(MisconfigurationException, match=rf"FSDPStrategy.*`precision='{name}'`.*'ddp', 'single_device'"):
        trainer(name, strategy="fsdp", devices=2)


def assert_resumed_exactly(outcome: precision_jobs.Outcome, name: str) -> None:
    torch.testing.assert_close(outcome.weights[1], outcome.weights[0], rtol=0, atol=0)
    assert torch.equal(*outcome.validated)
    assert any(kind.endswith(KINDS[name]) for kind in outcome.kinds)
