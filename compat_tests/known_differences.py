"""Where the scripts leave something else behind on lt than under Lightning, and the row of the page that says why.

Places are patterns of `fnmatch`, as `observations.differences` names them; each must be met.
"""

from collections.abc import Mapping
from typing import Final

CLIPPING: Final = "`gradient_clip_algorithm` that `configure_gradient_clipping` gets when the Trainer got none"
GONE_FILES: Final = "A run directory that was moved, or another `dirpath`"
MID_EPOCH: Final = "Resuming in mid-epoch with a plain DataLoader"
OUTPUTS: Final = '`outputs["loss"]` in `on_train_batch_end`'
RATES: Final = "What `LearningRateMonitor` logs"
ROWS_THERE: Final = "`metrics.csv` in a folder that's used again"
SANITY: Final = "Sanity check of a run that takes no step (`max_epochs=0`, `limit_train_batches=0`)"
SCHEDULED: Final = "`estimated_stepping_batches` with `GradientAccumulationScheduler`"
SHORT_WINDOW: Final = "Last, shorter accumulation window of an epoch"
STAGE_AS_TEXT: Final = "A stage as text (`str(stage)` in `setup` and `teardown`)"
STEPS: Final = 'Schedulers with `interval="step"`'
UNFROZEN: Final = "Resuming after `BaseFinetuning` has unfrozen something"

KNOWN: Final[Mapping[str, Mapping[str, str]]] = {
    "accumulation": {
        "observed/max_steps/outputs/*/0": OUTPUTS,
        "observed/norm/clipped/*/1": CLIPPING,
        "observed/scheduled/estimated": SCHEDULED,
        "observed/scheduled/outputs/*/0": OUTPUTS,
        "observed/three, norm/outputs/*/0": OUTPUTS,
        **{
            f"observed/two, short window/{what}": SHORT_WINDOW
            for what in ("losses/*", "norms/*", "clipped/*", "outputs/*/0", "loss")
        },
        "observed/two/outputs/*/0": OUTPUTS,
    },
    "callback_state": {"observed/stages/[012]/0": STAGE_AS_TEXT},
    "classifier": {"observed/kept": GONE_FILES},
    "datamodule": {
        **{f"observed/calls/{index}": STAGE_AS_TEXT for index in (1, 6, 8, 10, 12, 13)},
        **{f"observed/resumed/{index}": STAGE_AS_TEXT for index in (1, 5)},
    },
    "hook_order": {"kept.ckpt/state_dict/*": SHORT_WINDOW},
    "limits": {
        "observed/no epochs/ended/2": SANITY,
        "observed/no epochs/sanity": SANITY,
        "observed/no training/sanity": SANITY,
    },
    "loggers": {"observed/scalars/epoch": RATES, "table/version_0/metrics.csv/*/epoch": RATES},
    "logging_forms": {"csv/version_0/metrics.csv": ROWS_THERE},
    "optimizers": {"observed/lists with dict/losses/5": STEPS, "observed/lists with dict/rates/0": STEPS},
    "resume": {"after/*.ckpt/*": MID_EPOCH, "observed/middle/seen/*": MID_EPOCH},
    "schedulers": {"observed/every third step/*": STEPS, "observed/one cycle, accumulating/losses/*": SHORT_WINDOW},
    "transfer_learning": {"observed/resumed/*": UNFROZEN},
}
"""By script, then by place, the title of a row of `docs/explanation/differences.md`."""
