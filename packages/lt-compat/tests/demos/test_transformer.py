"""The transformer trains as Lightning's does. All numbers were observed from Lightning 2.6.6."""

from pathlib import Path

import pytest
import torch
from demo_losses import losses_of
from torch import Tensor

from lt_compat.demos.transformer import (
    Dictionary,
    LightningTransformer,
    PositionalEncoding,
    Transformer,
    WikiText2,
    tokenize,
)
from lt_core import seed_everything


def words() -> tuple[Tensor, Tensor]:
    torch.manual_seed(4)
    return torch.randint(0, 50, (3, 7)), torch.randint(0, 50, (3, 7))


def test_it_computes_what_lightnings_computes() -> None:
    torch.manual_seed(3)
    model = Transformer(vocab_size=50).eval()
    inputs, target = words()
    output = model(inputs, target)
    assert output.shape == (21, 50)
    assert output[0][:4].tolist() == pytest.approx([-3.7829, -4.4891, -3.7243, -3.4806], abs=1e-4)
    assert output.sum().item() == pytest.approx(-4275.75390625, abs=0.01)
    assert model(inputs, target, mask=torch.zeros(7, 7)).sum().item() == pytest.approx(-4277.845703125, abs=0.01)
    torch.manual_seed(5)
    assert model.train()(inputs, target).sum().item() == pytest.approx(-4275.40625, abs=0.01)


def test_its_weights_have_lightnings_names() -> None:
    state = Transformer(vocab_size=50).state_dict()
    assert len(state) == 67
    assert state["embedding.weight"].shape == state["decoder.weight"].shape == (50, 200)
    assert {name.split(".")[0] for name in state} == {"embedding", "transformer", "decoder"}


def test_the_mask_hides_what_comes_later() -> None:
    hidden = float("-inf")
    mask = Transformer(vocab_size=2, ninp=4).generate_square_subsequent_mask(3)
    assert mask.tolist() == [[0, hidden, hidden], [0, 0, hidden], [0, 0, 0]]


def test_the_encoding_is_lightnings() -> None:
    encoding = PositionalEncoding(6).eval()
    expected = [0.9093, -0.4161, 0.0927, 0.9957, 0.0043, 1.0000]
    for position in encoding(torch.zeros(1, 2, 6))[0]:
        assert position.tolist() == pytest.approx(expected, abs=1e-4)
    assert encoding.state_dict() == {}


def test_it_trains_as_lightnings() -> None:
    torch.manual_seed(9)
    batches = [(torch.randint(0, 50, (3, 7)), torch.randint(0, 50, (3, 7))) for _ in range(3)]
    seed_everything(7, verbose=False)
    losses = losses_of(LightningTransformer(vocab_size=50), batches=batches)
    assert losses == pytest.approx([4.04273, 3.99371, 3.76715], abs=1e-4)


def test_a_text_becomes_numbers_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("the cat sat\n\n the dog  sat on\n")
    numbers, dictionary = tokenize(file)
    assert numbers.tolist() == [0, 1, 2, 3, 3, 0, 4, 2, 5, 3]
    assert dictionary.idx2word == ["the", "cat", "sat", "<eos>", "dog", "on"]
    assert dictionary.word2idx["dog"] == 4
    assert isinstance(dictionary, Dictionary)


def test_a_file_that_is_there_is_read(tmp_path: Path) -> None:
    (tmp_path / "wikitext-2.txt").write_text("a b c d e f g h i j k l m n o p\nq r\n")
    text = WikiText2(data_dir=tmp_path, block_size=4, download=False)
    assert (len(text), text.vocab_size) == (4, 19)
    assert [part.tolist() for part in text[1]] == [[4, 5, 6, 7], [5, 6, 7, 8]]
    assert [part.tolist() for part in text[3]] == [[12, 13, 14, 15], [13, 14, 15, 16]]
    assert len(list(text)) == 4  # type: ignore[call-overload]  # items by their numbers are what iterates


def test_without_a_file_the_same_text_is_made_up_and_nothing_is_written(tmp_path: Path) -> None:
    first, second = WikiText2(data_dir=tmp_path), WikiText2(data_dir=tmp_path)
    assert torch.equal(first.data, second.data)
    assert 100 < first.vocab_size < 1000
    assert first[0][0].shape == (35,)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_that_may_not_be_made_up_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file '.*wikitext-2.txt'. Put the text there, or pass `download="):
        WikiText2(data_dir=tmp_path, download=False)


def test_it_brings_its_own_loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = LightningTransformer(vocab_size=WikiText2().vocab_size)
    model.prepare_data()
    inputs, target = next(iter(model.train_dataloader()))
    assert (inputs.shape, target.shape) == ((1, 35), (1, 35))
