import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from torch.distributed import FileStore, HashStore, Store

from lt_strategies.patience import wait_for_all


@pytest.fixture(params=["hash", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return HashStore() if request.param == "hash" else FileStore(str(tmp_path / "store"), 2)


def test_nobody_goes_on_before_the_last_comes(store: Store) -> None:
    began, went_on = threading.Event(), threading.Event()

    def first() -> None:
        began.set()
        wait_for_all(store, "start", world_size=2, timeout=timedelta(seconds=20))
        went_on.set()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(first)
        assert began.wait(10)
        assert not went_on.wait(0.2)
        wait_for_all(store, "start", world_size=2, timeout=timedelta(seconds=20))
        waiting.result(timeout=20)


def test_one_rank_waits_for_nobody(store: Store) -> None:
    wait_for_all(store, "start", world_size=1, timeout=timedelta(0))


def test_meetings_of_other_names_are_other_meetings(store: Store) -> None:
    store.add("arrived/earlier", 2)
    with pytest.raises(TimeoutError, match=r"Only 1 of 2 ranks came to 'later'"):
        wait_for_all(store, "later", world_size=2, timeout=timedelta(seconds=0.1))


def test_who_waits_in_vain_is_told_how_many_came(store: Store) -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"Only 1 of 3 ranks came to 'start' within 0:00:00\.2"):
        wait_for_all(store, "start", world_size=3, timeout=timedelta(seconds=0.2))
    assert 0.2 <= time.monotonic() - began < 10
