import pytest

from lt_core.specs.arguments import trainer_specs


def test_barebones_switches_everything_off() -> None:
    specs = trainer_specs(barebones=True)
    assert specs.barebones
    assert specs.saving.enable_checkpointing is False
    assert specs.logging.logger == ()
    assert specs.logging.enable_progress_bar is False
    assert specs.logging.enable_model_summary is False
    assert specs.logging.log_every_n_steps == 0
    assert specs.evaluation.num_sanity_val_steps == 0


def test_barebones_names_every_argument_that_contradicts_it() -> None:
    with pytest.raises(ValueError, match="`logger=True`, `log_every_n_steps=5`, `profiler='simple'`"):
        trainer_specs(barebones=True, profiler="simple", logger=True, log_every_n_steps=5, max_epochs=1)


def test_barebones_takes_what_is_switched_off_explicitly() -> None:
    trainer_specs(
        barebones=True,
        enable_checkpointing=False,
        logger=False,
        enable_progress_bar=False,
        log_every_n_steps=0,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        fast_dev_run=False,
        detect_anomaly=False,
        profiler=None,
    )
