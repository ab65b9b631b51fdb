from lt_loggers.prefix import prefixed


def test_no_prefix_leaves_names_alone() -> None:
    assert prefixed({"loss": 1, "acc": 2}, "") == {"loss": 1, "acc": 2}


def test_prefix_is_joined_by_a_dash() -> None:
    assert prefixed({"loss": 1}, "a") == {"a-loss": 1}
