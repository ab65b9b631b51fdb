"""What every callback promises."""

import io
from inspect import Parameter, signature

import pytest
import torch

from lt_interfaces.callback import Callback
from lt_interfaces.hooks import Hearer, Hook, heard_by
from lt_interfaces.roles import Role

_ROLE_MEMBERS = {
    Role.CHECKPOINT: ("best_model_path", "last_model_path", "dirpath"),
    Role.PROGRESS: ("print", "get_metrics"),
    Role.STOP: ("stopped_epoch",),
    Role.SUMMARY: ("summarize",),
    Role.TUNER: ("tune",),
    Role.TIMER: ("time_elapsed",),
}


class CallbackContract:
    """Subclass it and override `callback`."""

    @pytest.fixture
    def callback(self) -> Callback:
        """Return the callback to check, not used before."""
        raise NotImplementedError

    @pytest.mark.parametrize("hook", heard_by(Hearer.CALLBACK), ids=lambda hook: hook.name)
    def test_hears_every_hook_with_its_arguments(self, callback: Callback, hook: Hook) -> None:
        parameters = signature(getattr(callback, hook.name)).parameters.values()
        if any(parameter.kind is Parameter.VAR_POSITIONAL for parameter in parameters):
            return
        positional = [parameter for parameter in parameters if parameter.kind is not Parameter.KEYWORD_ONLY]
        assert len(positional) == 2 + len(hook.arguments), f"{hook.name} takes trainer, pl_module, {hook.arguments}"

    def test_its_state_key_stays(self, callback: Callback) -> None:
        assert callback.state_key == callback.state_key
        assert callback.state_key

    def test_its_state_loads_without_unpickling_objects(self, callback: Callback) -> None:
        file = io.BytesIO()
        torch.save(callback.state_dict(), file)
        file.seek(0)
        callback.load_state_dict(torch.load(file, weights_only=True))

    def test_takes_back_its_state(self, callback: Callback) -> None:
        state = callback.state_dict()
        callback.load_state_dict(state)
        assert str(callback.state_dict()) == str(state)

    def test_has_what_its_role_needs(self, callback: Callback) -> None:
        members = () if callback.role is None else _ROLE_MEMBERS[callback.role]
        assert [name for name in members if not hasattr(callback, name)] == []
