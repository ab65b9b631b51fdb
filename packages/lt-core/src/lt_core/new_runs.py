"""New runs: the state that an entry point begins with."""

from typing import Any

from lt_core.logging.recorder import Results
from lt_core.run.fit_run import EvaluationRun, FitRun, FitValidation
from lt_core.run.handing_over import takes_iterator
from lt_core.run.job import Job
from lt_core.run.loaders import LoaderRules, LoaderSource, StageLoaders
from lt_core.run.optimization import Optimization
from lt_core.run.requests import Requests
from lt_core.run.train_data import TrainData
from lt_core.specs.optimization import check_seed_items
from lt_core.specs.validation_schedule import ValidationSchedule
from lt_core.verification import validates_while_fitting
from lt_interfaces.progress import EvaluationProgress, FitProgress

_STEPS = {"train": "training", "val": "validation", "test": "test", "predict": "predict"}


def new_fit_run(job: Job, *, train: LoaderSource, val: LoaderSource, progress: FitProgress) -> FitRun:
    """Return the state of a fit; counters go on from an earlier fit of the same Trainer, at the start of an epoch."""
    rules = _rules(job, train, job.specs.limits.limit_train_batches)
    validation = new_evaluation_run(job, val)
    wanted = validation.loaders.rules.limit > 0 and validates_while_fitting(job.module, val)
    never = ValidationSchedule(every_n_epochs=1, every_n_batches=1, interval_seconds=None)
    accumulation = job.specs.optimization.accumulate_grad_batches
    progress.abandon_epoch()
    requests = Requests(is_shared=job.runtime.strategy.world_size > 1)
    job.signals.on_signal = requests.wake
    return FitRun(
        job=job,
        progress=progress,
        data=TrainData(StageLoaders(train, rules), job.specs.optimization.uneven_data),
        validation=FitValidation(validation, never, wanted),
        optimization=Optimization(job.runtime.strategy, accumulation=accumulation),
        results=Results(is_evaluation=False),
        requests=requests,
        train_on=_Undecided(),
    )


def new_evaluation_run(job: Job, source: LoaderSource) -> EvaluationRun:
    """Return the state of an evaluating stage."""
    limits = job.specs.limits
    by_stage = {"val": limits.limit_val_batches, "test": limits.limit_test_batches}
    limit = by_stage.get(source.stage, limits.limit_predict_batches)
    return EvaluationRun(
        job=job,
        loaders=StageLoaders(source, _rules(job, source, limit)),
        progress=EvaluationProgress(),
        results=Results(is_evaluation=True, module=job.model),
        logged_batches=[],
    )


class _Undecided:
    """Stands for how a batch is trained on until the optimizers exist."""

    stepped = False

    def __call__(self, batch: Any, batch_idx: int) -> Any:
        """Refuse: nothing can be trained yet."""
        message = "A batch can't be trained on before the optimizers exist."
        raise AssertionError(message)


def _rules(job: Job, source: LoaderSource, limit: int | float) -> LoaderRules:
    limits, stage = job.specs.limits, source.stage
    step = getattr(job.module, f"{_STEPS[stage]}_step", None)
    return LoaderRules(
        stage=stage,
        mode="max_size_cycle" if stage == "train" else "sequential",
        limit=limit,
        overfit=stage in ("train", "val") and limits.overfit_batches > 0,
        use_distributed_sampler=job.specs.hardware.use_distributed_sampler,
        reload_every_n_epochs=limits.reload_dataloaders_every_n_epochs if stage in ("train", "val") else 0,
        hands_over=takes_iterator(step),
        seed_items=_seed_items(job, source),
    )


def _seed_items(job: Job, source: LoaderSource) -> bool | int:
    """Return what the Trainer was told about seeding items, else what the datamodule whose loaders they are says."""
    wanted = job.specs.optimization.seed_items
    if wanted is not None:
        return wanted
    return check_seed_items(getattr(source.owner, "seed_items", False)) if source.is_hook else False
