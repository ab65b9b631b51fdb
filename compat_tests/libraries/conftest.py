"""Tells the story of each library once. Pytest doesn't import the stories: they run in processes of their own."""

import pytest
from compat_tests.libraries.library_contract import Runs

collect_ignore = ["stories"]


@pytest.fixture(scope="class")
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    story = request.cls.story
    return Runs(story, tmp_path_factory.mktemp(story))
