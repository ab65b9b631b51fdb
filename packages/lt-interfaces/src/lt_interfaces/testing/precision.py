"""What every precision promises."""

import io
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from lt_interfaces.errors import MisconfigurationException
from lt_interfaces.precision import Precision, PrecisionDtypes
from lt_interfaces.testing.data import RegressionDataset
from lt_interfaces.testing.models import TinyRegressor


class PrecisionContract:
    """Subclass it and override `precision`; the attributes say what kind of precision that is.

    Parameters that a converted module has frozen, or doesn't have by their plain names any more, aren't compared.
    """

    tolerance = 1e-6
    """How far gradients may be from those of 32 bits."""
    trains = True
    """Whether it trains; a precision that only infers refuses `backward` instead."""
    sizes = (4, 8)
    """What the module takes and what's in between, for engines that take layers of certain sizes; it gives one."""

    @pytest.fixture
    def precision(self) -> Precision:
        """Return the precision to check, made for the CPU."""
        raise NotImplementedError

    @pytest.fixture
    def optimizer(self, precision: Precision) -> Optimizer:
        """Return an optimizer of a converted module, with gradients."""
        if not self.trains:
            pytest.skip("this precision doesn't train")
        module = precision.convert_module(self.plain_module())
        trained = [(name, one) for name, one in module.named_parameters() if one.requires_grad]
        optimizer = SGD(trained, lr=0.1)
        run_backward(precision, module, whole_batch(self.sizes[0]))
        return optimizer

    def plain_module(self, seed: int = 0) -> nn.Module:
        """Return a module to convert."""
        size, hidden = self.sizes
        return TinyRegressor(size, hidden=hidden, seed=seed)

    def expected_gradients(self) -> dict[str, Tensor]:
        """Return the gradients of 32 bits, by the names of their parameters."""
        module = self.plain_module()
        torch.autograd.backward(training_loss(module, *whole_batch(self.sizes[0])))
        return {name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None}

    def output(self, precision: Precision, module: nn.Module) -> Tensor:
        """Return what a converted module makes of the whole batch, in the default format."""
        inputs, _ = precision.convert_input(whole_batch(self.sizes[0]))
        with torch.no_grad(), precision.forward_context():
            output = module(inputs)
        converted: Tensor = precision.convert_output(output)
        return converted

    def test_has_a_name(self, precision: Precision) -> None:
        assert precision.precision == precision.precision.lower() != ""

    def test_tells_sharding_engines_its_formats(self, precision: Precision) -> None:
        assert isinstance(precision.dtypes(), PrecisionDtypes)

    def test_leaves_alone_what_has_no_format(self, precision: Precision) -> None:
        batch = {"name": "a", "labels": torch.tensor([1, 2]), "nested": [(True, None)]}
        converted = precision.convert_input(batch)
        assert converted["name"] == "a"
        assert converted["labels"].dtype == torch.int64
        assert converted["nested"] == [(True, None)]

    def test_outputs_come_in_the_default_format(self, precision: Precision) -> None:
        module = precision.convert_module(self.plain_module())
        with precision.forward_context():
            output = module(precision.convert_input(torch.ones(2, self.sizes[0])))
        assert precision.convert_output({"output": output})["output"].dtype == torch.get_default_dtype()

    def test_converting_again_changes_nothing(self, precision: Precision) -> None:
        module = precision.convert_module(self.plain_module())
        output = self.output(precision, module)
        assert torch.equal(self.output(precision, precision.convert_module(module)), output)

    def test_computes_the_same_in_inference_mode(self, precision: Precision) -> None:
        module = precision.convert_module(self.plain_module())
        expected = self.output(precision, module)
        with torch.inference_mode():
            assert torch.equal(self.output(precision, module), expected)

    def test_loading_plain_weights_is_the_same_as_converting_them(self, precision: Precision) -> None:
        module = precision.convert_module(self.plain_module(seed=1))
        module.load_state_dict(self.plain_module().state_dict())
        expected = self.output(precision, precision.convert_module(self.plain_module()))
        assert torch.equal(self.output(precision, module), expected)

    def test_weights_that_were_saved_load_into_a_module_converted_anew(self, precision: Precision) -> None:
        module, another = (precision.convert_module(self.plain_module(seed)) for seed in (0, 1))
        file = io.BytesIO()
        torch.save(module.state_dict(), file)
        file.seek(0)
        another.load_state_dict(torch.load(file, weights_only=True))
        assert torch.equal(self.output(precision, another), self.output(precision, module))

    @pytest.mark.parametrize("context", ["forward_context", "module_init_context", "tensor_init_context"])
    def test_a_context_is_restored_when_its_body_raises(self, precision: Precision, context: str) -> None:
        before = (torch.get_default_dtype(), torch.is_autocast_enabled("cpu"))
        for _ in range(2):
            with pytest.raises(KeyError), getattr(precision, context)():
                raise KeyError
        assert (torch.get_default_dtype(), torch.is_autocast_enabled("cpu")) == before

    def test_refuses_to_train_if_it_only_infers(self, precision: Precision) -> None:
        if self.trains:
            pytest.skip("this precision trains")
        with pytest.raises(MisconfigurationException, match=re.escape(precision.precision)):
            precision.backward(torch.ones((), requires_grad=True), Tensor.backward)

    def test_backward_runs_once_with_its_arguments(self, precision: Precision) -> None:
        if not self.trains:
            pytest.skip("this precision doesn't train")
        calls: list[dict[str, Any]] = []
        precision.backward(torch.ones((), requires_grad=True), lambda loss, **kwargs: calls.append(kwargs), again=True)
        assert calls == [{"again": True}]

    def test_gradients_are_those_of_full_precision_once_unscaled(
        self, precision: Precision, optimizer: Optimizer
    ) -> None:
        precision.unscale_gradients(optimizer)
        group, expected = optimizer.param_groups[0], self.expected_gradients()
        found = {name: parameter.grad for name, parameter in zip(group["param_names"], group["params"], strict=True)}
        known = found.keys() & expected.keys()
        assert known
        torch.testing.assert_close(
            {name: found[name] for name in known},
            {name: expected[name] for name in known},
            rtol=0.0,
            atol=self.tolerance,
            check_dtype=False,
        )

    def test_a_step_makes_gradients_then_prepares_then_updates(
        self, precision: Precision, optimizer: Optimizer
    ) -> None:
        weight: Tensor = optimizer.param_groups[0]["params"][0]
        before = weight.detach().clone()
        order = []

        def closure() -> Tensor:
            order.append("closure")
            return torch.ones(())

        def prepare(stepped: Optimizer) -> None:
            assert stepped is optimizer
            assert torch.equal(weight, before)
            order.append("before_step")

        precision.optimizer_step(optimizer, closure, prepare)
        assert order == ["closure", "before_step"]
        assert not torch.equal(weight, before)

    def test_gradients_are_unscaled_when_a_step_prepares(self, precision: Precision, optimizer: Optimizer) -> None:
        wanted = self.expected_gradients()[optimizer.param_groups[0]["param_names"][0]]
        found: list[Tensor] = []
        precision.optimizer_step(
            optimizer,
            lambda: torch.ones(()),
            lambda stepped: found.append(stepped.param_groups[0]["params"][0].grad.clone()),
        )
        torch.testing.assert_close(found[0], wanted, rtol=0.0, atol=self.tolerance, check_dtype=False)

    def test_a_step_returns_what_the_closure_returned(self, precision: Precision, optimizer: Optimizer) -> None:
        assert precision.optimizer_step(optimizer, lambda: torch.tensor(3.0), lambda _: None) == 3.0

    def test_a_step_with_finite_gradients_is_not_skipped(self, precision: Precision, optimizer: Optimizer) -> None:
        precision.optimizer_step(optimizer, lambda: torch.ones(()), lambda _: None)
        assert precision.step_was_skipped is False

    def test_a_step_with_overflown_gradients_is_skipped_where_losses_are_scaled(
        self, precision: Precision, optimizer: Optimizer
    ) -> None:
        if not precision.dtypes().scales_loss:
            pytest.skip("this precision doesn't scale losses, so nothing overflows by its doing")
        weight: Tensor = optimizer.param_groups[0]["params"][0]
        before = weight.detach().clone()
        assert weight.grad is not None
        weight.grad[0] = torch.inf
        precision.optimizer_step(optimizer, lambda: torch.ones(()), lambda _: None)
        assert precision.step_was_skipped is True
        assert torch.equal(weight, before)

    def test_its_state_loads_without_unpickling_objects(self, precision: Precision) -> None:
        file = io.BytesIO()
        torch.save(precision.state_dict(), file)
        file.seek(0)
        precision.load_state_dict(torch.load(file, weights_only=True))

    def test_has_a_key_if_it_has_state(self, precision: Precision) -> None:
        assert precision.checkpoint_key or precision.state_dict() == {}


def whole_batch(size: int = 4) -> tuple[Tensor, Tensor]:
    """Return the batch that the gradients come from."""
    data = RegressionDataset(size, length=8)
    return data.rows, data.targets


def training_loss(module: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared error."""
    return nn.functional.mse_loss(module(inputs), targets)


def run_backward(precision: Precision, module: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    """Make gradients as a loop does."""
    inputs, targets = precision.convert_input(batch)
    with precision.forward_context():
        loss = training_loss(module, inputs, targets)
    precision.backward(loss, Tensor.backward)
