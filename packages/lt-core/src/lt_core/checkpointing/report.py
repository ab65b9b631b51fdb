"""What a resume found in a checkpoint, component by component."""

from dataclasses import dataclass, field

from lt_interfaces.rank_zero import rank_zero_info, rank_zero_warn


@dataclass
class RestoreReport:
    """Which components of a run were restored from a checkpoint, which weren't in it, and what nobody wanted."""

    path: str
    restored: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """Components of this run that have no state in the file and start anew."""
    optional: list[str] = field(default_factory=list)
    """The same, where that's no fault: the file was written by something that doesn't know them."""
    unexpected: list[str] = field(default_factory=list)
    """States in the file that belong to no component of this run."""

    def note(self, component: str, *, found: bool, is_optional: bool = False) -> None:
        """Note whether a component's state was in the file."""
        missing = self.optional if is_optional else self.missing
        (self.restored if found else missing).append(component)

    def conclude(self, *, strict: bool) -> None:
        """Say what was restored; refuse to go on without the state of a component, unless told to.

        Raises:
            ValueError: naming the components without state, and those that a state was left over of.
        """
        if self.missing and strict:
            message = (
                f"The checkpoint `{self.path}` has no state for: {', '.join(self.missing)}. "
                + (f"It has states that nothing here takes: {', '.join(self.unexpected)}. " if self.unexpected else "")
                + "Resume with what the run was saved with, or pass `strict=False` to `fit` to let these start anew."
            )
            raise ValueError(message)
        rank_zero_info(str(self))
        if self.unexpected:
            rank_zero_warn(
                f"The checkpoint `{self.path}` holds states that nothing in this run takes: "
                f"{', '.join(self.unexpected)}. To resume exactly, give the Trainer what it was saved with."
            )

    def __str__(self) -> str:
        """Return one line per kind of finding.

        >>> print(RestoreReport("last.ckpt", restored=["weights"], missing=["callback EarlyStopping"]))
        Resumed from `last.ckpt`. Restored: weights.
        Not in it, so started anew: callback EarlyStopping.
        """
        lines = [f"Resumed from `{self.path}`. Restored: {', '.join(self.restored) or 'nothing'}."]
        if self.missing or self.optional:
            lines.append(f"Not in it, so started anew: {', '.join([*self.missing, *self.optional])}.")
        if self.unexpected:
            lines.append(f"In it, but not in this run: {', '.join(self.unexpected)}.")
        return "\n".join(lines)
