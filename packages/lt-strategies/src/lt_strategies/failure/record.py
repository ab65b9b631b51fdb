"""What is remembered of a failure: who failed, when, and how it looked there."""

import json
import time
import traceback
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class FailureRecord:
    """The first failure of a job, as its processes tell each other."""

    headline: str
    """One line that begins with who failed, e.g. "rank 1 failed at global step 7"."""
    rank: int | None = None
    step: int | None = None
    seconds: float = 0.0
    """When it was seen: seconds since the epoch, by the clock of who saw it."""
    traceback: str = ""
    places: str = ""
    """Where each rank was, if somebody wanted to know (`LT_DEBUG_COLLECTIVES`)."""
    is_seen_by_all: bool = False
    """Whether nobody could write it down for the others, so that each process speaks for itself."""

    @classmethod
    def of_exception(
        cls, failure: BaseException, *, rank: int, step: int | None, what: str = "failed"
    ) -> "FailureRecord":
        """Describe an exception of this process.

        >>> FailureRecord.of_exception(ValueError("no"), rank=1, step=7).headline
        'rank 1 failed at global step 7'
        """
        place = "" if step is None else f" at global step {step}"
        text = "".join(traceback.format_exception(failure)).rstrip("\n")
        return cls(f"rank {rank} {what}{place}", rank=rank, step=step, seconds=time.time(), traceback=text)

    @classmethod
    def of_end(cls, headline: str, *, rank: int | None = None) -> "FailureRecord":
        """Describe a process that can't tell anything any more."""
        return cls(headline, rank=rank, seconds=time.time())

    @classmethod
    def of_store_end(cls, holder: str) -> "FailureRecord":
        """Describe the end of the process that held the job's store, which each process sees for itself."""
        headline = f"{holder}, which held the job's store, has ended"
        return cls(headline, rank=0 if holder == "rank 0" else None, seconds=time.time(), is_seen_by_all=True)

    @classmethod
    def from_text(cls, text: str) -> "FailureRecord":
        """Read what `to_text` wrote."""
        return cls(**json.loads(text))

    def to_text(self) -> str:
        """Write everything as one line."""
        return json.dumps(asdict(self))

    @property
    def report(self) -> str:
        """The traceback, if there's one, and who failed: what is shown where the job ends."""
        return "\n".join(part for part in (self.traceback, self.places, self.note) if part)

    @property
    def note(self) -> str:
        """Who failed, as a sentence."""
        return f"{self.headline}: the first failure of the job."


class PeerFailure(RuntimeError):
    """Raised on a rank that ends because another one failed before.

    Args:
        record: the first failure of the job.
    """

    def __init__(self, record: FailureRecord) -> None:
        super().__init__(record)
        self.record = record

    def __str__(self) -> str:
        text = f"{self.record.headline}, so this process ends too."
        return f"{text}\n\n{self.record.traceback}" if self.record.traceback else text


class ProcessEndedError(RuntimeError):
    """A process of the job ended without a word: it was killed, or left through `sys.exit` or `os._exit`."""
