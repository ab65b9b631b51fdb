"""Prediction: a forward pass over all loaders, collecting what it gives."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from lt_core.loops.evaluation import bound_step, entered_stage, evaluation_mode, must_end_here
from lt_core.loops.transfer import transfer_function
from lt_core.run.fit_run import EvaluationRun
from lt_interfaces.errors import SIGTERMException
from lt_interfaces.rank_zero import rank_zero_warn
from lt_interfaces.states import RunningStage

if TYPE_CHECKING:
    from lt_core.loops.gathering import PredictionGathering
    from lt_core.loops.prediction_writing import PredictionWriting

Note = Callable[[object, int, int], None]


def predict(run: EvaluationRun, *, keep: bool, gather: bool = False) -> list[list[Any]]:
    """Predict on all loaders; returns the outputs of each loader's batches, on the CPU.

    Args:
        run: the stage's loaders.
        keep: whether to return the outputs; if not, callbacks still get them and the lists stay empty.
        gather: whether to return those of all ranks, in the order of samples, as one process would.
    """
    job, strategy = run.job, run.job.runtime.strategy
    gathering = _gathering(run) if gather and strategy.world_size > 1 else None
    writing = _writing(run)
    notes = [part.note for part in (gathering, writing) if part is not None]
    with entered_stage(job, RunningStage.PREDICTING, None), evaluation_mode(job, "predict"):
        job.hooks.notify("on_predict_start")
        job.hooks.notify("on_predict_epoch_start")
        outputs = _predict_batches(run, keep=keep or (writing is not None and writing.needs_all), notes=notes)
        if writing is not None:
            writing.hand_over(outputs)
        job.hooks.notify("on_predict_epoch_end")
        job.hooks.notify("on_predict_end")
    if not keep:
        return [[] for _ in outputs]
    return outputs if gathering is None else gathering.gathered(outputs, strategy)


def _predict_batches(run: EvaluationRun, *, keep: bool, notes: Sequence[Note]) -> list[list[Any]]:
    job, num_loaders = run.job, len(run.loaders.counts)
    transfer, step = (
        transfer_function(job, hands_over=run.loaders.rules.hands_over),
        bound_step(job, "predict", num_loaders),
    )
    outputs: list[list[Any]] = [[] for _ in range(num_loaders)]
    run.progress.start_run()
    for batch, batch_idx, loader_idx, is_last in run.loaders.steps():
        run.progress.is_last_batch = is_last
        for note in notes:
            note(batch, batch_idx, loader_idx)
        batch = transfer(batch, loader_idx)
        args = (batch, batch_idx, loader_idx) if num_loaders > 1 else (batch, batch_idx)
        job.hooks.notify("on_predict_batch_start", *args)
        prediction = step(batch, batch_idx, loader_idx)
        run.progress.count_batch()
        if prediction is None:
            rank_zero_warn("`predict_step` returned None. If that's what you want, ignore this.")
        job.hooks.notify("on_predict_batch_end", prediction, *args)
        if must_end_here(job):
            raise SIGTERMException
        if keep:
            outputs[loader_idx].append(apply_to_collection(prediction, Tensor, _to_cpu))
    return outputs


def _gathering(run: EvaluationRun) -> "PredictionGathering":
    # Loaded where it's asked for: `import lt_core` keeps within its budget of modules.
    from lt_core.loops.gathering import PredictionGathering

    return PredictionGathering(run.loaders)


def _writing(run: EvaluationRun) -> "PredictionWriting | None":
    """Return what hands the callbacks that write predictions what they need, if there are any."""
    if not any(hasattr(callback, "take_batch_indices") for callback in run.job.callbacks):
        return None
    # Loaded where it's needed, as above.
    from lt_core.loops.prediction_writing import PredictionWriting, prediction_writers

    return PredictionWriting(prediction_writers(run.job.callbacks), run)


def _to_cpu(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.device("cpu"))
