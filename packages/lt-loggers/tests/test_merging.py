from lt_loggers import merge_dicts


def test_values_of_a_key_are_averaged_by_default() -> None:
    assert merge_dicts([{"a": 1, "b": 4.0}, {"a": 2}]) == {"a": 1.5, "b": 4.0}


def test_named_functions_reach_into_nested_dicts() -> None:
    first = {"loss": 1.5, "only": 1, "heads": {"x": 1, "y": 3}}
    second = {"loss": 0.5, "new": 2.5, "heads": {"x": 2, "deep": {"z": 1}}}
    merged = merge_dicts([first, second], agg_key_funcs={"new": max, "heads": {"x": sum}}, default_func=min)
    assert merged == {"heads": {"deep": {"z": 1}, "x": 3, "y": 3}, "loss": 0.5, "new": 2.5, "only": 1}
    assert list(merged) == sorted(merged)


def test_missing_values_are_left_out() -> None:
    assert merge_dicts([{"a": None, "b": 0}, {"a": 2}, {"c": None}]) == {"a": 2, "b": 0}


def test_nothing_merges_to_nothing() -> None:
    assert merge_dicts([]) == {}
