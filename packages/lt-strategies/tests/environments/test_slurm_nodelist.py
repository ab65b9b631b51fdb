import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_strategies.environments.slurm_nodelist import expand_nodelist

names = st.from_regex(r"[a-z][a-z0-9.-]{0,5}[a-z-]", fullmatch=True)
ranges = st.tuples(st.integers(0, 40), st.integers(0, 5)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def written(first: int, last: int, width: int) -> str:
    return f"{first:0{width}}" if first == last else f"{first:0{width}}-{last:0{width}}"


@pytest.mark.parametrize(
    ("nodelist", "hosts"),
    [
        ("localhost", ["localhost"]),
        ("n1,n2", ["n1", "n2"]),
        ("n[1-3,7],m2", ["n1", "n2", "n3", "n7", "m2"]),
        ("gpu[08-11]", ["gpu08", "gpu09", "gpu10", "gpu11"]),
        ("a[1-2]b[3,5].net", ["a1b3.net", "a1b5.net", "a2b3.net", "a2b5.net"]),
        ("10.0.0.[1-2]", ["10.0.0.1", "10.0.0.2"]),
    ],
)
def test_lists_are_expanded_in_order(nodelist: str, hosts: list[str]) -> None:
    assert expand_nodelist(nodelist) == hosts


@given(st.lists(st.tuples(names, st.lists(ranges, max_size=4), names | st.just("")), min_size=1, max_size=4))
def test_what_is_put_together_is_taken_apart(entries: list[tuple[str, list[tuple[int, int]], str]]) -> None:
    texts, hosts = [], []
    for prefix, numbers, suffix in entries:
        inside = ",".join(written(first, last, 3) for first, last in numbers)
        texts.append(f"{prefix}[{inside}]{suffix}" if numbers else prefix + suffix)
        one_by_one = [f"{n:03}" for first, last in numbers for n in range(first, last + 1)] if numbers else [""]
        hosts += [f"{prefix}{number}{suffix}" for number in one_by_one]
    assert expand_nodelist(",".join(texts)) == hosts


@given(st.text(alphabet="n1-,[]", max_size=12))
def test_anything_is_either_a_list_of_hosts_or_refused(text: str) -> None:
    try:
        hosts = expand_nodelist(text)
    except ValueError:
        return
    assert all(host and not set(host) & set("[],") for host in hosts)


@pytest.mark.parametrize("nodelist", ["", "n[1-2", "n]1", "n[a-b]", "n[]", ",n1", "n[1,]"])
def test_what_is_no_list_is_refused(nodelist: str) -> None:
    with pytest.raises(ValueError, match="list of nodes"):
        expand_nodelist(nodelist)
