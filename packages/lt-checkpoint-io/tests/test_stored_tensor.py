import pytest
import torch

from lt_checkpoint_io.stored_tensor import StoredTensor, is_plain, packed, raw_bytes, size_text


def test_tensors_that_share_their_values_have_one_key() -> None:
    whole = torch.arange(6.0).reshape(2, 3)
    assert StoredTensor.of(whole).key == StoredTensor.of(whole.detach()).key
    others = [whole.clone(), whole[0], whole.t(), whole.view(3, 2), whole.view(torch.int32)]
    assert StoredTensor.of(whole).key not in {StoredTensor.of(other).key for other in others}


def test_empty_tensors_share_nothing() -> None:
    one, other = torch.empty(0), torch.empty(0)
    assert StoredTensor.of(one).key != StoredTensor.of(other).key


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(6).reshape(2, 3).t(),
        torch.arange(9)[2:4],
        torch.ones(2).expand(3, 2),
        torch.ones(2, dtype=torch.cfloat).conj(),
    ],
)
def test_packed_tensors_hold_their_values_in_order_and_no_more(tensor: torch.Tensor) -> None:
    result = packed(tensor)
    assert torch.equal(result, tensor)
    assert raw_bytes(result).nbytes == tensor.numel() * tensor.itemsize == result.untyped_storage().nbytes()


def test_packing_copies_nothing_without_need() -> None:
    tensor = torch.ones(3)
    assert packed(tensor).data_ptr() == tensor.data_ptr()


def test_special_tensors_are_not_plain() -> None:
    assert is_plain(torch.ones(1))
    assert is_plain(torch.nn.Parameter(torch.ones(1)))
    assert not is_plain(torch.eye(2).to_sparse())
    assert not is_plain(1.0)


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 * 1024**3, "5.0 GiB"), (2**60, "1048576.0 TiB")],
)
def test_sizes_read_well(nbytes: int, text: str) -> None:
    assert size_text(nbytes) == text
