import torch
from torch.optim import SGD

from lt_fabric.compiled import recompile, unwrap_compiled
from lt_fabric.fabric import Fabric
from lt_interfaces.testing import TinyRegressor


def test_torch_compile_is_left_alone() -> None:
    assert torch.compile.__module__ == "torch"


def test_a_plain_module_has_no_compiled_one() -> None:
    module = TinyRegressor()
    assert unwrap_compiled(module) == (module, None)


def test_the_settings_of_a_compiled_module_are_used_again() -> None:
    graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: object) -> object:
        graphs.append(graph)
        return graph.forward

    module = TinyRegressor()
    compiled = torch.compile(module, backend=backend)
    inner, outer = unwrap_compiled(compiled)
    assert inner is module
    assert outer is compiled
    recompile(TinyRegressor(hidden=3), like=compiled)(torch.ones(1, 4))
    assert len(graphs) == 1


def test_fabric_compiles_what_the_strategy_made() -> None:
    module = TinyRegressor()
    compiled = torch.compile(module, backend="eager")
    fabric = Fabric(accelerator="cpu")
    model, _ = fabric.setup(compiled, SGD(module.parameters(), lr=0.1))
    assert model.module is module
    assert unwrap_compiled(model._forward_module) == (module, model._forward_module)
    assert set(model.state_dict()) == set(TinyRegressor().state_dict())
    torch.testing.assert_close(model(torch.ones(1, 4)), TinyRegressor()(torch.ones(1, 4)))
