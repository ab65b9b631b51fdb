"""One collective per flush: every rank's values, reduced locally in rank order.

The buffer has a fixed size, so that ranks which logged different names meet in the same collective and can say so
instead of hanging. Layout, in float64: count of names, hash of the names, then value and weight of each. Values that
ranks compute together follow in a second one, once they know that all have the same names.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from hashlib import blake2b
from typing import Any, Final, NamedTuple, NoReturn, Protocol

import torch
from torch import Tensor

from lt_core.logging.slots import SILENT, Reduction, Value, settled
from lt_core.logging.values import Number, to_host
from lt_fabric.data.shared_order import data_share

CAPACITY = 128
"""Names per round; more take another round."""
NAMES: Final = "names"
"""What a rank logged, in its report after names differed."""


class Entry(NamedTuple):
    """One value on its way to the loggers."""

    name: str
    value: Value
    weight: float
    reduction: Reduction


class Ranks(Protocol):
    """What the reduction needs of a strategy."""

    @property
    def world_size(self) -> int:
        """Processes of the job."""

    @property
    def root_device(self) -> torch.device:
        """Device of this process."""

    @property
    def distributed_sampler_kwargs(self) -> Mapping[str, int] | None:
        """How samplers share samples out; ``None``: not at all."""

    def all_gather(self, tensor: Tensor, *, group: Any = None, sync_grads: bool = False) -> Tensor:
        """Return the tensors of all ranks, stacked."""

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        """Return the object of one rank."""


def reduce_over_ranks(entries: Sequence[Entry], ranks: Ranks) -> dict[str, Number]:
    """Return every entry's value over all ranks as a Python number. Collective with several ranks.

    Raises:
        RuntimeError: on every rank, when ranks logged different names; names them and the ranks.
    """
    if ranks.world_size == 1:
        return to_host({entry.name: settled(entry.value) for entry in entries})
    numbers = reduced_if_same(entries, ranks)
    if numbers is None:
        _raise_for_names([entry.name for entry in entries], ranks)
    return numbers


def reduced_if_same(entries: Sequence[Entry], ranks: Ranks) -> dict[str, Number] | None:
    """Return every entry's value over several ranks, or ``None`` on every rank when names differ. Collective."""
    known = [entry._replace(value=0.0) if callable(entry.value) else entry for entry in entries]
    numbers = _exchanged(known, ranks)
    late = [entry for entry in entries if callable(entry.value)]
    if numbers is None or not late:
        return numbers
    computed = _exchanged([entry._replace(value=settled(entry.value)) for entry in late], ranks)
    assert computed is not None  # the names are those of before
    return numbers | computed


def _exchanged(entries: Sequence[Entry], ranks: Ranks) -> dict[str, Number] | None:
    names = [entry.name for entry in entries]
    rows: list[Tensor] = []
    for start in range(0, max(1, len(entries)), CAPACITY):
        buffer = _packed(entries[start : start + CAPACITY], names).to(ranks.root_device)
        gathered = ranks.all_gather(buffer).cpu()
        if not bool((gathered[:, :2] == gathered[0, :2]).all()):
            return None
        rows.append(gathered[:, 2:].reshape(ranks.world_size, CAPACITY, 2))
    table = torch.cat(rows, dim=1)
    copies = ranks.world_size // data_share(ranks).count
    return {entry.name: _reduced(entry.reduction, table[:, idx], copies) for idx, entry in enumerate(entries)}


def _packed(entries: Sequence[Entry], names: Sequence[str]) -> Tensor:
    """Return the buffer of one round."""
    numbers = to_host({str(idx): settled(entry.value) for idx, entry in enumerate(entries)})
    flat = [float(len(names)), _names_hash(names)]
    for idx, entry in enumerate(entries):
        flat += [float(numbers[str(idx)]), entry.weight]
    buffer = torch.zeros(2 + 2 * CAPACITY, dtype=torch.float64)
    buffer[: len(flat)] = torch.tensor(flat, dtype=torch.float64)
    return buffer


def _names_hash(names: Sequence[str]) -> float:
    """Return a hash that a float64 holds exactly (52 bits)."""
    digest = blake2b("\n".join(names).encode(), digest_size=8).digest()
    return float(int.from_bytes(digest, "big") >> 12)


_REDUCE: dict[Reduction, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": lambda values, weights: (values * weights).sum() / weights.sum(),
    "sum": lambda values, weights: values.sum(),
    "min": lambda values, weights: values.min(),
    "max": lambda values, weights: values.max(),
}


def _reduced(reduction: Reduction, rows: Tensor, copies: int) -> float:
    """Reduce one name's rows (rank, (value, weight)); ``copies``: how many ranks have each sample."""
    speaking = rows[rows[:, 1] != SILENT]
    reduced = float(_REDUCE[reduction](speaking[:, 0], speaking[:, 1]))
    return reduced / copies if reduction == "sum" and copies > 1 else reduced


def _raise_for_names(names: Sequence[str], ranks: Ranks) -> NoReturn:
    """Say which ranks logged what others didn't. Every rank comes here, as every rank saw the headers."""
    refuse_names([set(report[NAMES]) for report in reports({NAMES: list(names)}, ranks)])


def reports(own: Mapping[str, Any], ranks: Ranks) -> list[Mapping[str, Any]]:
    """Return what each rank says of itself after names differed, `NAMES` in any case. Collective.

    There's one way to do it, as a rank that lacks a name may be at another flush than the others.
    """
    return [ranks.broadcast(own, src=rank) for rank in range(ranks.world_size)]


def refuse_names(by_rank: Sequence[Set[str]]) -> NoReturn:
    """Say which ranks logged what others didn't.

    Raises:
        RuntimeError: always.
    """
    everywhere = set.intersection(*map(set, by_rank))
    differing = sorted(set().union(*by_rank) - everywhere)
    lines = [f"`{name}` only on ranks {[r for r, own in enumerate(by_rank) if name in own]}" for name in differing]
    message = (
        "Ranks logged different names: "
        + ("; ".join(lines) or "the same names in different orders")
        + ". Log a name on"
        " every rank in the same order, or with `rank_zero_only=True`."
    )
    raise RuntimeError(message)
