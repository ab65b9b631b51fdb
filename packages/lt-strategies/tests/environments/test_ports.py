from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from lt_strategies.environments.ports import chosen_port, derived_port

near_jobs = st.integers(0, 1023)
near_parts = st.integers(0, 15)


@given(st.integers(1, 10**7), st.integers(0, 50), st.lists(st.tuples(near_jobs, near_parts), unique=True))
def test_jobs_and_steps_that_run_at_once_have_ports_of_their_own(
    job: int, part: int, offsets: list[tuple[int, int]]
) -> None:
    ports = {derived_port(job + later_job, part + later_part) for later_job, later_part in offsets}
    assert len(ports) == len(offsets)
    assert all(10000 <= port < 32768 for port in ports)


def test_a_port_is_chosen_by_its_variable(variables: Callable[..., None]) -> None:
    assert chosen_port() is None
    variables(MASTER_PORT=5000)
    assert chosen_port() == 5000
