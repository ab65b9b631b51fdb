"""Counters of a run whose batches have another size from now on: other processes, or another batch size."""

from fractions import Fraction

from lt_interfaces.progress import FitProgress


def rescale(progress: FitProgress, scale: Fraction, *, row: int) -> None:
    """Count the batches so far in those of this job; steps stay what they are.

    Args:
        progress: counted in the batches of the job that saved.
        scale: how many of this job's batches are in one of those.
        row: this job's batches in the current epoch.

    >>> progress = FitProgress(batches=12, batches_in_epoch=2, validated_at=12)
    >>> rescale(progress, Fraction(2), row=4)
    >>> progress.batches, progress.batches_in_epoch, progress.validated_at
    (24, 4, 24)
    """
    row = row if progress.batches_in_epoch else 0
    # Whole epochs may have ended with a smaller batch, so this is as near as can be; nothing is trained by it.
    batches = round((progress.batches - progress.batches_in_epoch) * scale) + row
    if progress.validated_at == progress.batches:
        progress.validated_at = batches
    elif progress.validated_at > 0:
        progress.validated_at = min(round(progress.validated_at * scale), batches - 1)
    progress.batches, progress.batches_in_epoch = batches, row
