import pickle
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch

from lt_interfaces.hyperparameters import AttributeDict
from lt_interfaces.plain_values import to_plain
from lt_interfaces.reinstantiation import (
    class_only,
    constructor_arguments,
    instantiate,
    read_checkpoint,
    read_hyperparameters,
)


class Net:
    def __init__(self, width: int, depth: int = 2) -> None:
        self.size = (width, depth)


class Open:
    def __init__(self, width: int, **kwargs: Any) -> None:
        self.width = width
        self.kwargs = kwargs


class Configured:
    def __init__(self, conf: Any, scale: float = 1.0) -> None:
        self.conf = conf
        self.scale = scale

    @class_only
    def make(cls) -> "Configured":
        return cls({})


class Unpicklable:
    """Stands for any object that only an unrestricted unpickler makes."""


def make(kind: Any, saved: dict[str, Any], name: str | None = None, **overrides: Any) -> Any:
    return instantiate(kind, saved, name=name, overrides=overrides)


def test_constructor_gets_what_it_accepts_and_overrides_win() -> None:
    assert make(Net, {"width": 8, "depth": 3, "unused": 1}, depth=5).size == (8, 5)


def test_open_constructor_gets_everything() -> None:
    assert make(Open, {"width": 8, "lr": 0.1}, momentum=0.9).kwargs == {"lr": 0.1, "momentum": 0.9}


def test_hyperparameters_saved_as_one_object_come_back_under_its_name() -> None:
    made = make(Configured, {"q": 1}, name="conf", lr=0.1, scale=2.0)
    assert made.conf == {"q": 1, "lr": 0.1}
    assert made.conf.q == 1
    assert made.scale == 2.0
    assert make(Configured, {"q": 1}, name="conf", conf={"q": 2}).conf == {"q": 2}


def test_name_of_keyword_arguments_is_not_taken_for_an_argument() -> None:
    assert make(Open, {"width": 1, "lr": 0.1}, name="kwargs").kwargs == {"lr": 0.1}


def test_converted_values_reach_the_constructor_as_what_they_were() -> None:
    saved = to_plain({"width": Path("data")}, "hyper_parameters")
    assert make(Net, saved).size == (Path("data"), 2)


def test_an_override_that_nothing_accepts_is_ignored_with_a_suggestion() -> None:
    with pytest.warns(UserWarning, match="takes no argument `detph`.* Did you mean `depth`"):
        assert make(Net, {"width": 8}, detph=3).size == (8, 2)


def test_missing_arguments_are_named_with_the_way_out() -> None:
    with pytest.raises(TypeError, match=r"missing a required argument: 'width'.*save_hyperparameters\(\)"):
        make(Net, {})


def test_only_allowed_functions_make_objects() -> None:
    with pytest.raises(ValueError, match=r"'os\.system', which isn't one of those allowed"):
        make(Net, {"_instantiator": "os.system", "width": 8})


@pytest.mark.skipif("lt_cli" in sys.modules, reason="lt-cli is installed")
def test_objects_of_the_command_line_need_its_package() -> None:
    with pytest.raises(ModuleNotFoundError, match="pip install lt-cli"):
        make(Net, {"_instantiator": "lightning.pytorch.cli.instantiate_module", "width": 8})


def test_signature_without_arguments_takes_none() -> None:
    assert constructor_arguments(object, {"unused": 1}, name=None, overrides={}) == {}


def test_class_only_methods_refuse_instances() -> None:
    assert isinstance(Configured.make(), Configured)
    with pytest.raises(TypeError, match=r"call it on the class: `loaded = Configured\.make\(\.\.\.\)`"):
        Configured({}).make()


# --- the files ---


def test_csv_values_are_literals_or_strings(tmp_path: Path) -> None:
    file = tmp_path / "hparams.csv"
    file.write_text('key,value\nlr,1e-3\nlayers,"[1, 2]"\nname,net\nflag,True\nempty,\n')
    assert read_hyperparameters(file) == {"lr": 1e-3, "layers": [1, 2], "name": "net", "flag": True, "empty": ""}


def test_yaml_reads_plain_values_and_tuples(tmp_path: Path) -> None:
    file = tmp_path / "hparams.yaml"
    file.write_text("lr: 0.1\nbetas: !!python/tuple\n- 0.9\n- 0.99\n")
    assert read_hyperparameters(file) == {"lr": 0.1, "betas": (0.9, 0.99)}


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    file = tmp_path / "hparams.yml"
    file.write_text("run: !!python/object/apply:os.system ['exit 1']\n")
    with pytest.raises(ValueError, match="can't be read as a table of plain values"):
        read_hyperparameters(file)


def test_yaml_that_is_no_table_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "hparams.yaml"
    file.write_text("- 1\n")
    with pytest.raises(ValueError, match="holds a list"):
        read_hyperparameters(file)


def test_empty_yaml_holds_no_hyperparameters(tmp_path: Path) -> None:
    file = tmp_path / "hparams.yaml"
    file.write_text("")
    assert read_hyperparameters(file) == {}


def test_yaml_without_its_package_names_the_install_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "hparams.yaml"
    file.write_text("lr: 0.1\n")
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "lt-core\[yaml\]"'):
        read_hyperparameters(file, install='"lt-core[yaml]"')


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in \.csv, \.yaml or \.yml"):
        read_hyperparameters(tmp_path / "hparams.json")


# --- checkpoints ---


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "plain.ckpt"
    torch.save({"state_dict": {"weight": torch.ones(2)}, "epoch": 1}, path)
    return path


@pytest.fixture
def objects(tmp_path: Path) -> Path:
    path = tmp_path / "objects.ckpt"
    torch.save({"state_dict": {}, "hyper_parameters": {"other": Unpicklable()}}, path)
    return path


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_reads_paths_strings_and_open_files(checkpoint: Path) -> None:
    for source in (checkpoint, str(checkpoint), BytesIO(checkpoint.read_bytes())):
        assert read_checkpoint(source)["epoch"] == 1


@pytest.mark.parametrize("weights_only", [None, True])
def test_objects_are_never_unpickled_by_default(objects: Path, weights_only: bool | None) -> None:
    with pytest.raises(pickle.UnpicklingError, match="pass `weights_only=False`"):
        read_checkpoint(objects, weights_only=weights_only)


def test_objects_are_unpickled_when_the_user_says_so(objects: Path) -> None:
    loaded = read_checkpoint(objects, weights_only=False)
    assert isinstance(loaded["hyper_parameters"]["other"], Unpicklable)


def test_addresses_are_as_safe_as_files(checkpoint: Path, objects: Path, address: str) -> None:
    assert read_checkpoint(f"{address}/{checkpoint.name}")["epoch"] == 1
    with pytest.raises(pickle.UnpicklingError, match="pass `weights_only=False`"):
        read_checkpoint(f"{address}/{objects.name}")


def test_other_schemes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"local path or an http\(s\) address"):
        read_checkpoint("s3://bucket/model.ckpt")


def test_missing_file_and_wrong_content_are_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "nothing.ckpt")
    torch.save([1], tmp_path / "list.ckpt")
    with pytest.raises(TypeError, match="holds a list"):
        read_checkpoint(tmp_path / "list.ckpt")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_tensors_of_a_device_that_does_not_exist_come_to_the_cpu(checkpoint: Path, tmp_path: Path) -> None:
    # A file written on a GPU differs in the location of its storages alone, which is text of the same length here.
    moved = tmp_path / "cuda.ckpt"
    content = checkpoint.read_bytes()
    assert content.count(b"\x03\x00\x00\x00cpu") == 1
    torch.save({"state_dict": {"weight": torch.ones(2)}}, moved, _use_new_zipfile_serialization=False)
    legacy = moved.read_bytes().replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
    moved.write_bytes(legacy)
    assert read_checkpoint(moved)["state_dict"]["weight"].device.type == "cpu"
    with pytest.raises(RuntimeError, match="CUDA"):
        read_checkpoint(moved, map_location="cuda:0")


def test_saved_configuration_has_attribute_access() -> None:
    assert isinstance(make(Configured, {"lr": 1}, name="conf").conf, AttributeDict)
