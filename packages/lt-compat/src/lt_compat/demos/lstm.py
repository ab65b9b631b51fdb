"""A small LSTM that predicts the next word, carrying its state from one batch to the next."""

from collections.abc import Iterator, Sized
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Optimizer
from torch.utils.data import DataLoader, Sampler

from lt_compat.demos.transformer import WikiText2
from lt_core import LightningModule

State = tuple[Tensor, Tensor]


class SimpleLSTM(nn.Module):
    """An LSTM between an embedding and one layer back to the words.

    Args:
        vocab_size: how many words there are.
        ninp: size of the embeddings.
        nhid: size of the state.
        nlayers: number of layers.
        dropout: probability that a number becomes zero.
    """

    def __init__(
        self, vocab_size: int = 33278, ninp: int = 512, nhid: int = 512, nlayers: int = 4, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.drop = nn.Dropout(dropout)
        self.encoder = nn.Embedding(vocab_size, ninp)
        self.rnn = nn.LSTM(ninp, nhid, nlayers, dropout=dropout, batch_first=True)
        self.decoder = nn.Linear(nhid, vocab_size)
        self.nlayers = nlayers
        self.nhid = nhid
        self.init_weights()

    def init_weights(self) -> None:
        """Draw the weights around the LSTM from -0.1 to 0.1."""
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)
        nn.init.uniform_(self.decoder.weight, -0.1, 0.1)

    def forward(self, input: Tensor, hidden: State) -> tuple[Tensor, State]:
        """Return the log-probabilities of the next words, and the new state.

        Args:
            input: words, shape ``(batch, length)``.
            hidden: the state before them, from `init_hidden` or an earlier call.

        Returns:
            Of shape ``(batch * length, vocab_size)``, and the state after the words.
        """
        output, hidden = self.rnn(self.drop(self.encoder(input)), hidden)
        words = self.decoder(self.drop(output)).view(-1, self.vocab_size)
        return F.log_softmax(words, dim=1), hidden

    def init_hidden(self, batch_size: int) -> State:
        """Return the state before the first word: zeros."""
        zeros = self.decoder.weight.new_zeros(self.nlayers, batch_size, self.nhid)
        return zeros, zeros.clone()


class SequenceSampler(Sampler[list[int]]):
    """Batches in which each place goes on where it stopped in the batch before: every place reads one part of the data.

    Args:
        dataset: whose items are read; what doesn't fill a batch at the end is left out.
        batch_size: how many places.

    >>> list(SequenceSampler(range(10), batch_size=3))
    [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    """

    def __init__(self, dataset: Sized, batch_size: int) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.chunk_size = len(dataset) // batch_size

    def __iter__(self) -> Iterator[list[int]]:
        places = range(self.batch_size)
        return ([place * self.chunk_size + step for place in places] for step in range(self.chunk_size))

    def __len__(self) -> int:
        return self.chunk_size


class LightningLSTM(LightningModule):
    """Trains a `SimpleLSTM` on `WikiText2`, with gradients that stop at the beginning of each batch.

    Args:
        vocab_size: how many words there are.
    """

    def __init__(self, vocab_size: int = 33278) -> None:
        super().__init__()
        self.model = SimpleLSTM(vocab_size=vocab_size)
        self.hidden: State | None = None

    def on_train_epoch_end(self) -> None:
        self.hidden = None

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        words, target = batch
        if self.hidden is None:
            self.hidden = self.model.init_hidden(words.size(0))
        before = (self.hidden[0].detach(), self.hidden[1].detach())
        output, self.hidden = self.model(words, before)
        loss = F.nll_loss(output, target.view(-1))
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def prepare_data(self) -> None:
        WikiText2(download=True)

    def train_dataloader(self) -> Any:
        dataset = WikiText2()
        return DataLoader(dataset, batch_sampler=SequenceSampler(dataset, batch_size=20))

    def configure_optimizers(self) -> Optimizer:
        return SGD(self.parameters(), lr=20.0)
