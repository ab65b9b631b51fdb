"""The LSTM trains as Lightning's does. All numbers were observed from Lightning 2.6.6."""

from pathlib import Path

import pytest
import torch
from demo_losses import losses_of

from lt_compat.demos.lstm import LightningLSTM, SequenceSampler, SimpleLSTM
from lt_core import seed_everything


def test_it_computes_what_lightnings_computes() -> None:
    torch.manual_seed(3)
    model = SimpleLSTM(vocab_size=50, ninp=8, nhid=8, nlayers=2).eval()
    torch.manual_seed(4)
    words = torch.randint(0, 50, (3, 7))
    before = model.init_hidden(3)
    output, after = model(words, before)
    assert [part.shape for part in (*before, *after)] == [(2, 3, 8)] * 4
    assert output.shape == (21, 50)
    assert output.sum().item() == pytest.approx(-4107.7626953125, abs=0.01)
    assert [part.sum().item() for part in after] == pytest.approx([-1.232166, -2.412430], abs=1e-4)


def test_its_weights_have_lightnings_names() -> None:
    names = set(SimpleLSTM(vocab_size=50, ninp=8, nhid=8, nlayers=1, dropout=0.0).state_dict())
    assert names == {"encoder.weight", "decoder.weight", "decoder.bias", "rnn.weight_ih_l0", "rnn.weight_hh_l0",
                     "rnn.bias_ih_l0", "rnn.bias_hh_l0"}  # fmt: skip


def test_it_trains_as_lightnings_and_forgets_at_the_end_of_an_epoch() -> None:
    torch.manual_seed(9)
    batches = [(torch.randint(0, 50, (3, 7)), torch.randint(0, 50, (3, 7))) for _ in range(3)]
    seed_everything(7, verbose=False)
    model = LightningLSTM(vocab_size=50)
    assert losses_of(model, batches=batches) == pytest.approx([3.91023, 5.72991, 5.08649], abs=1e-4)
    assert model.hidden is None
    assert model.trainer.callback_metrics["train_loss"].item() == pytest.approx(5.08649, abs=1e-4)


def test_every_place_of_a_batch_reads_one_part_of_the_data() -> None:
    assert list(SequenceSampler(range(10), 3)) == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    sampler = SequenceSampler(range(10), 5)
    assert list(sampler) == [[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]]
    assert len(sampler) == sampler.chunk_size == 2


def test_it_brings_its_own_loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loader = LightningLSTM(vocab_size=500).train_dataloader()
    inputs, target = next(iter(loader))
    assert (inputs.shape, target.shape) == ((20, 35), (20, 35))
