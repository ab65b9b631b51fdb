from collections.abc import Callable
from typing import Any

import pytest
import torch

from lt_core.logging.rules import log_rule, slot_rule
from lt_core.logging.slots import LogOptions
from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.hooks import BY_NAME

Options = Callable[..., LogOptions]

PER_STEP = [
    *("training_step", "on_train_batch_start", "on_train_batch_end", "on_before_backward", "backward"),
    *("on_after_backward", "on_before_optimizer_step", "optimizer_step", "configure_gradient_clipping"),
    *("on_before_zero_grad", "optimizer_zero_grad"),
]
PER_EVALUATION = [
    f"{prefix}{stage}_{rest}"
    for stage in ("validation", "test")
    for prefix, rest in (("", "step"), ("on_", "batch_start"), ("on_", "batch_end"))
]
PER_EPOCH = [
    *("on_train_start", "on_validation_start", "on_test_start"),
    *(f"on_{stage}_epoch_{end}" for stage in ("train", "validation", "test") for end in ("start", "end")),
]
LOGS = {*PER_STEP, *PER_EVALUATION, *PER_EPOCH}
REFUSED = [
    *("predict_step", "on_predict_start", "on_predict_end", "on_predict_epoch_start", "on_predict_epoch_end"),
    *("on_predict_batch_start", "on_predict_batch_end", "on_fit_start", "on_fit_end", "on_sanity_check_start"),
    *("on_sanity_check_end", "on_train_end", "on_validation_end", "on_test_end", "setup", "teardown", "prepare_data"),
    *("configure_callbacks", "configure_model", "configure_optimizers", "train_dataloader", "val_dataloader"),
    *("test_dataloader", "predict_dataloader", "on_before_batch_transfer", "transfer_batch_to_device"),
    *("on_after_batch_transfer", "lr_scheduler_step", "on_save_checkpoint", "on_load_checkpoint", "on_exception"),
    *("on_validation_model_zero_grad", "on_validation_model_eval", "on_validation_model_train"),
    *("on_test_model_eval", "on_test_model_train", "on_predict_model_eval"),
]

BOTH_EITHER = [(True, False), (False, True), (True, True)]


def test_the_tables_below_name_every_hook() -> None:
    assert {*LOGS, *REFUSED} == set(BY_NAME)


@pytest.mark.parametrize(
    ("hook", "default"),
    [
        *((hook, (True, False)) for hook in PER_STEP),
        *((hook, (False, True)) for hook in (*PER_EVALUATION, *PER_EPOCH)),
    ],
)
def test_each_hook_has_its_defaults(hook: str, default: tuple[bool, bool], options: Options) -> None:
    rule = slot_rule(hook, "loss", options=options(), dataloader_idx=None)
    assert (rule.on_step, rule.on_epoch) == default


@pytest.mark.parametrize("hook", [*PER_STEP, *PER_EVALUATION])
@pytest.mark.parametrize(("on_step", "on_epoch"), BOTH_EITHER)
def test_hooks_of_batches_log_per_step_per_epoch_or_both(
    hook: str, on_step: bool, on_epoch: bool, options: Options
) -> None:
    rule = slot_rule(hook, "loss", options=options(on_step=on_step, on_epoch=on_epoch), dataloader_idx=None)
    assert (rule.on_step, rule.on_epoch) == (on_step, on_epoch)


@pytest.mark.parametrize("hook", PER_EPOCH)
def test_hooks_of_epochs_log_per_epoch_alone(hook: str, options: Options) -> None:
    slot_rule(hook, "loss", options=options(on_step=False, on_epoch=True), dataloader_idx=None)
    for changes in ({"on_step": True}, {"on_epoch": False}):
        with pytest.raises(MisconfigurationException, match="takes only `on_step=False` and `on_epoch=True`"):
            slot_rule(hook, "loss", options=options(**changes), dataloader_idx=None)


@pytest.mark.parametrize("hook", REFUSED)
def test_other_hooks_log_nothing(hook: str) -> None:
    with pytest.raises(MisconfigurationException, match=f"can't be used in `{hook}`"):
        log_rule(hook)


def test_no_hook_and_unknown_hooks_are_refused() -> None:
    with pytest.raises(MisconfigurationException, match="outside of a hook"):
        log_rule(None)
    with pytest.raises(RuntimeError, match="`on_lunch`"):
        log_rule("on_lunch")


@pytest.mark.parametrize("hook", [*PER_STEP, *PER_EVALUATION])
def test_neither_per_step_nor_per_epoch_is_refused(hook: str, options: Options) -> None:
    with pytest.raises(MisconfigurationException, match="nothing would be logged"):
        slot_rule(hook, "loss", options=options(on_step=False, on_epoch=False), dataloader_idx=None)


@pytest.mark.parametrize(
    ("on_step", "on_epoch", "idx", "names"),
    [
        (True, False, None, ("loss", "loss", "loss")),
        (False, True, None, ("loss", "loss", "loss")),
        (True, True, None, ("loss", "loss_step", "loss_epoch")),
        (False, True, 1, ("loss/dataloader_idx_1",) * 3),
        (
            *(True, True, 0),
            ("loss/dataloader_idx_0", "loss_step/dataloader_idx_0", "loss_epoch/dataloader_idx_0"),
        ),
    ],
)
def test_names_fork_when_both_are_logged_and_the_loader_comes_last(
    on_step: bool, on_epoch: bool, idx: int | None, names: tuple[str, str, str], options: Options
) -> None:
    given = options(on_step=on_step, on_epoch=on_epoch)
    found = slot_rule("validation_step", "loss", options=given, dataloader_idx=idx).names
    assert (found.plain, found.step, found.epoch) == names


def test_the_loaders_index_can_be_left_out(options: Options) -> None:
    rule = slot_rule("test_step", "loss", options=options(add_dataloader_idx=False), dataloader_idx=2)
    assert rule.names.epoch == "loss"
    slot_rule("test_step", "loss/dataloader_idx_2", options=options(add_dataloader_idx=False), dataloader_idx=2)
    with pytest.raises(MisconfigurationException, match="is added for you"):
        slot_rule("test_step", "loss/dataloader_idx_2", options=options(), dataloader_idx=2)


@pytest.mark.parametrize("name", ["", None, 3])
def test_names_are_strings(name: Any, options: Options) -> None:
    with pytest.raises(MisconfigurationException, match="non-empty string as `name`"):
        slot_rule("training_step", name, options=options(), dataloader_idx=None)


@pytest.mark.parametrize(
    ("reduce_fx", "reduction"),
    [
        *(("mean", "mean"), ("avg", "mean"), ("sum", "sum"), ("min", "min"), ("max", "max"), ("MEAN", "mean")),
        *((sum, "sum"), (min, "min"), (max, "max")),
        *((torch.mean, "mean"), (torch.sum, "sum"), (torch.min, "min"), (torch.max, "max")),
    ],
)
def test_reductions_are_named_or_functions_of_such_a_name(reduce_fx: Any, reduction: str, options: Options) -> None:
    rule = slot_rule("training_step", "x", options=options(reduce_fx=reduce_fx), dataloader_idx=None)
    assert rule.reduction == reduction


@pytest.mark.parametrize("reduce_fx", ["median", torch.median, abs, None, 3, []])
def test_other_reductions_are_refused(reduce_fx: Any, options: Options) -> None:
    with pytest.raises(MisconfigurationException, match=r"accepted are 'mean', 'sum', 'min', 'max'"):
        slot_rule("training_step", "x", options=options(reduce_fx=reduce_fx), dataloader_idx=None)


@pytest.mark.parametrize(("logger", "expected"), [(None, True), (True, True), (False, False)])
def test_loggers_get_it_unless_told_otherwise(logger: bool | None, expected: bool, options: Options) -> None:
    assert slot_rule("training_step", "x", options=options(logger=logger), dataloader_idx=None).logger is expected
