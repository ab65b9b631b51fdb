import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest

from lt_interfaces import Accelerator, Callback, plugins
from lt_interfaces.plugins import CONTRACTS, candidates, detect, install_line, is_installed, known_names, resolve

pytestmark = pytest.mark.usefixtures("looked_up_afresh")

TOYS = """
from abc import abstractmethod
from toy_parts import ToyAccelerator, ToyCallback, ToyCheckpointIO, ToyEnvironment, ToyLauncher, ToyLogger
from toy_parts import ToyPrecision, ToyProfiler, ToyStrategy

class Lacking:
    def is_available(self):
        return True

class Abstract(ToyAccelerator):
    @abstractmethod
    def polish(self):
        ...

class DuckAccelerator:
    name, auto_priority = "duck", 0
    is_available = auto_device_count = parse_devices = setup_device = get_device_stats = teardown = lambda self: None

class Eager(ToyEnvironment):
    detection_priority = 1000

def make_logger(save_dir, version):
    return ToyLogger(save_dir, version)

no_class = 3
"""


class Site:
    """A folder on ``sys.path`` that distributions are installed into, as pip leaves them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(
        self, distribution: str, parts: Mapping[str, Mapping[str, str]], source: str = "", *, module: str = ""
    ) -> None:
        """Install a distribution with one module, by default of its own name; its parts are given by kind and name."""
        if not module:
            module = distribution.replace("-", "_")
            (self.folder / f"{module}.py").write_text(source)
        info = self.folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = []
        for kind, names in parts.items():
            lines += [f"[lt.{kind}]", *(f"{name} = {module}:{value}" for name, value in names.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        plugins._installed.cache_clear()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("toys", "more_toys", "broken_toys"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return Site(tmp_path)


# --- what's installed is found ---

EVERY_KIND = {
    "strategies": "ToyStrategy",
    "precisions": "ToyPrecision",
    "accelerators": "ToyAccelerator",
    "environments": "ToyEnvironment",
    "launchers": "ToyLauncher",
    "checkpoint_ios": "ToyCheckpointIO",
    "loggers": "ToyLogger",
    "profilers": "ToyProfiler",
    "callbacks": "ToyCallback",
}


def test_every_contract_has_its_group() -> None:
    assert set(CONTRACTS) == {*EVERY_KIND, "cli_commands"}


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_a_strangers_part_is_found_by_its_name(site: Site, kind: str) -> None:
    site.install("toys", {kind: {"toy": EVERY_KIND[kind]}}, TOYS)
    plugin = resolve(kind, "toy")
    assert plugin.__name__ == EVERY_KIND[kind]
    assert is_installed(kind, "toy")
    assert "toy" in candidates(kind)
    assert "toy" in known_names(kind)


def test_looking_for_names_loads_nothing(site: Site) -> None:
    site.install("toys", {"loggers": {"toy": "ToyLogger"}}, "raise RuntimeError('loaded')")
    assert "toy" in candidates("loggers")
    assert is_installed("loggers", "toy")
    assert "toys" not in sys.modules


def test_one_name_loads_one_plugin(site: Site) -> None:
    site.install("broken-toys", {"loggers": {"broken": "Logger"}}, "raise RuntimeError('loaded')")
    site.install("toys", {"loggers": {"toy": "ToyLogger"}}, TOYS)
    assert resolve("loggers", "toy").__name__ == "ToyLogger"
    assert "broken_toys" not in sys.modules


def test_names_come_sorted_and_once(site: Site) -> None:
    site.install("toys", {"profilers": {"zebra": "ToyProfiler", "ant": "ToyProfiler"}}, TOYS)
    assert [name for name in candidates("profilers") if name in ("ant", "zebra")] == ["ant", "zebra"]
    assert candidates("profilers") == sorted(set(candidates("profilers")))


def test_a_kind_without_a_contract_takes_anything(site: Site) -> None:
    site.install("toys", {"cli_commands": {"toy": "no_class"}}, TOYS)
    assert resolve("cli_commands", "toy") == 3


# --- what isn't installed is explained ---


@pytest.mark.parametrize(
    ("kind", "name", "distribution"),
    [
        ("strategies", "fsdp", "lt-fsdp"),
        ("strategies", "ddp_find_unused_parameters_true", "lt-strategies"),
        ("strategies", "deepspeed_stage_3_offload", "lt-deepspeed"),
        ("precisions", "bf16-mixed", "lt-precision"),
        ("environments", "slurm", "lt-strategies"),
        ("checkpoint_ios", "async", "lt-checkpoint-io"),
        ("profilers", "simple", "lt-profilers"),
    ],
)
def test_a_name_of_ours_comes_with_its_install_line(kind: str, name: str, distribution: str) -> None:
    assert install_line(kind, name) == f"pip install {distribution}"
    if not is_installed(kind, name):
        with pytest.raises(ValueError, match=rf"`{name}` isn't installed; get it by `pip install {distribution}`"):
            resolve(kind, name)


@pytest.mark.parametrize(
    ("kind", "one", "name", "meant"),
    [("strategies", "strategy", "fdsp", "fsdp"), ("loggers", "logger", "tensorbord", "tensorboard")],
)
def test_a_misspelt_name_of_ours_is_understood_though_it_is_not_installed(
    kind: str, one: str, name: str, meant: str
) -> None:
    with pytest.raises(ValueError, match=rf"Unknown {one} `{name}`\. Did you mean `{meant}`\?"):
        resolve(kind, name)


def test_a_misspelt_name_of_a_stranger_is_understood(site: Site) -> None:
    site.install("toys", {"loggers": {"toybox": "ToyLogger"}}, TOYS)
    with pytest.raises(ValueError, match=r"Did you mean `toybox`\? Installed: \[.*'toybox'"):
        resolve("loggers", "toyboks")


def test_a_name_like_nothing_gets_no_guess() -> None:
    with pytest.raises(ValueError, match=r"Unknown logger `zzzzzzzzzz`\. Installed") as raised:
        resolve("loggers", "zzzzzzzzzz")
    assert "mean" not in str(raised.value)


def test_strangers_names_have_no_install_line(site: Site) -> None:
    site.install("toys", {"loggers": {"toy": "ToyLogger"}}, TOYS)
    assert install_line("loggers", "toy") is None


@pytest.mark.parametrize("ask", [candidates, lambda kind: resolve(kind, "x"), lambda kind: is_installed(kind, "x")])
def test_an_unknown_kind_is_refused_with_those_there_are(ask: Any) -> None:
    with pytest.raises(ValueError, match=r"`loger`; kinds are .*'loggers'"):
        ask("loger")


# --- what's wrong with a plugin is said when it's resolved ---


def test_two_providers_of_one_name_are_both_named(site: Site) -> None:
    site.install("toys", {"loggers": {"toy": "ToyLogger"}}, TOYS)
    site.install("more-toys", {"loggers": {"toy": "ToyLogger"}}, TOYS)
    with pytest.raises(ValueError, match="Two distributions offer loggers `toy`") as raised:
        resolve("loggers", "toy")
    assert "toys (toys:ToyLogger)" in str(raised.value)
    assert "more-toys (more_toys:ToyLogger)" in str(raised.value)


def test_one_part_under_two_distributions_is_one(site: Site) -> None:
    site.install("toys", {"loggers": {"toy": "ToyLogger"}}, TOYS)
    site.install("toys-before-they-were-renamed", {"loggers": {"toy": "ToyLogger"}}, module="toys")
    assert resolve("loggers", "toy").__name__ == "ToyLogger"


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("Lacking", r"doesn't fulfil Accelerator: it lacks \['auto_device_count', .*'teardown'\]"),
        ("Abstract", r"is abstract; still to be written: \['polish'\]"),
        ("no_class", "is neither a class nor a factory, but 3"),
    ],
)
def test_a_part_that_cannot_work_is_named_with_its_distribution(site: Site, value: str, what: str) -> None:
    site.install("toys", {"accelerators": {"toy": value}}, TOYS)
    with pytest.raises(TypeError, match=rf"accelerators `toy` of toys \(toys:{value}\) {what}"):
        resolve("accelerators", "toy")


def test_a_part_needs_the_methods_not_the_base(site: Site) -> None:
    site.install("toys", {"accelerators": {"toy": "DuckAccelerator"}}, TOYS)
    assert not issubclass(resolve("accelerators", "toy"), Accelerator)


def test_a_subclass_that_leaves_a_method_out_is_refused_by_name(site: Site) -> None:
    source = TOYS + "from lt_interfaces import Launcher\nclass Half(Launcher):\n    def launch(self, f): ...\n"
    site.install("toys", {"launchers": {"toy": "Half"}}, source)
    with pytest.raises(TypeError, match=r"launchers `toy` of toys \(toys:Half\) doesn't fulfil Launcher.*\['kill'\]"):
        resolve("launchers", "toy")


def test_a_factory_is_handed_out_as_it_is(site: Site, tmp_path: Path) -> None:
    site.install("toys", {"loggers": {"toy": "make_logger"}}, TOYS)
    logger = resolve("loggers", "toy")(save_dir=tmp_path, version=3)
    assert (logger.name, logger.version) == ("toy", 3)


def test_callbacks_need_nothing_but_the_base(site: Site) -> None:
    site.install("toys", {"callbacks": {"toy": "ToyCallback"}}, TOYS)
    assert issubclass(resolve("callbacks", "toy"), Callback)


# --- detection ---


@pytest.fixture
def only_toys(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site whose environments are the only ones."""

    def without_ours(group: str) -> list[EntryPoint]:
        return [point for point in entry_points(group=group) if not point.value.startswith("lt_")]

    monkeypatch.setattr("lt_interfaces.plugins.entry_points", without_ours)
    return site


def test_the_candidate_with_the_highest_priority_that_says_yes_is_taken(
    only_toys: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = TOYS + (
        "class Never(ToyEnvironment):\n    detection_priority = 2000\n    detect = classmethod(lambda cls: False)\n"
        "class Always(ToyEnvironment):\n    detection_priority = -100\n    detect = classmethod(lambda cls: True)\n"
    )
    names = {"a": "Always", "b": "ToyEnvironment", "c": "Eager", "d": "Never"}
    only_toys.install("toys", {"environments": names}, source)
    assert detect("environments").__name__ == "Always"
    monkeypatch.setenv("TOY_CLUSTER", "1")
    assert detect("environments").__name__ == "Eager"


def test_nobody_is_asked_after_the_first_yes(only_toys: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    source = TOYS + "class Last(ToyEnvironment):\n    detection_priority = -1\n    detect = None\n"
    only_toys.install("toys", {"environments": {"a": "Last", "b": "Eager"}}, source)
    monkeypatch.setenv("TOY_CLUSTER", "1")
    assert detect("environments").__name__ == "Eager"


def test_no_yes_at_all_names_who_was_asked(only_toys: Site) -> None:
    only_toys.install("toys", {"environments": {"toy": "ToyEnvironment"}}, TOYS)
    with pytest.raises(ValueError, match=r"None of the installed environments fits here; asked: \['toy'\]"):
        detect("environments")
