"""Lets pytest explain a failed assertion of a suite; imported before any of them."""

import pytest

_SUITES = (
    "accelerator",
    "callback",
    "checkpoint_io",
    "datamodule",
    "distributed",
    "environment",
    "launcher",
    "logger",
    "precision",
    "profiler",
    "protocol",
    "strategy",
    "window",
)

pytest.register_assert_rewrite(*(f"lt_interfaces.testing.{suite}" for suite in _SUITES))
