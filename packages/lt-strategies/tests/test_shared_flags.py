import random
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lt_strategies import shared_flags
from lt_strategies.shared_flags import SharedFlagExchange, shared_words


def words_of(world_size: int) -> memoryview:
    words = shared_words(0, world_size, broadcast=lambda text: text, all_agree=lambda is_fine: is_fine)
    assert words is not None
    return words


def exchanges(world_size: int, every: int = 1) -> list[SharedFlagExchange]:
    words = words_of(world_size)
    return [SharedFlagExchange(words, rank=rank, world_size=world_size, every=every) for rank in range(world_size)]


def test_the_outcome_is_known_one_exchange_later() -> None:
    first, second = exchanges(2)
    assert first.exchange([True, False]) == [0, 0]
    assert second.exchange([True, True]) == [0, 0]
    assert first.exchange([False, False]) == [2, 1]
    assert second.exchange([False, False]) == [2, 1]
    assert [one.exchange([False, False]) for one in (first, second)] == [[0, 0], [0, 0]]


def test_a_rank_that_must_know_waits_and_hears_it_again() -> None:
    first, second = exchanges(2)
    assert first.settle() == []
    second.exchange([True])
    first.exchange([False])
    assert first.settle() == [1]
    assert first.exchange([False]) == [1]
    assert second.exchange([False]) == [1]


def test_boundaries_in_between_send_nothing() -> None:
    first, second = exchanges(2, every=3)
    assert [first.exchange([True]) for _ in range(3)] == [None, None, [0]]
    assert [second.exchange([False]) for _ in range(3)] == [None, None, [0]]
    assert first.settle() == second.settle() == [1]


def test_ranks_at_their_own_pace_all_hear_the_same() -> None:
    world_size, rounds = 3, 400
    ranks = exchanges(world_size)
    heard: list[list[Sequence[int] | None]] = [[] for _ in ranks]

    def run(rank: int) -> None:
        chance = random.Random(rank)
        for _ in range(rounds):
            if chance.random() < 0.02:
                threading.Event().wait(0.002)
            heard[rank].append(ranks[rank].exchange([chance.random() < 0.1, chance.random() < 0.5]))

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world_size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert heard[0] == heard[1] == heard[2]
    assert len(heard[0]) == rounds
    assert {count for outcome in heard[0] if outcome is not None for count in outcome} == {0, 1, 2, 3}


def test_the_file_has_no_name_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_flags, "_MEMORY", str(tmp_path))
    words_of(2)
    assert list(tmp_path.iterdir()) == []


def test_ranks_that_do_not_see_the_same_memory_share_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_flags, "_MEMORY", str(tmp_path))
    told: list[Any] = []
    shared_words(0, 2, broadcast=lambda text: told.append(text) or text, all_agree=lambda is_fine: is_fine)
    verdicts: list[bool] = []

    def all_agree(is_fine: bool) -> bool:
        verdicts.append(is_fine)
        return is_fine

    other = shared_words(1, 2, broadcast=lambda text: told[0], all_agree=all_agree)
    assert (other, verdicts) == (None, [False])
    (tmp_path / Path(told[0].split("\n")[0]).name).write_bytes(b"\0" * 40)  # a file of that name, of somebody else
    assert shared_words(1, 2, broadcast=lambda text: told[0], all_agree=all_agree) is None


def test_without_room_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_flags, "_new_file", lambda token, size: None)
    assert shared_words(0, 2, broadcast=lambda text: text, all_agree=lambda is_fine: is_fine) is None
