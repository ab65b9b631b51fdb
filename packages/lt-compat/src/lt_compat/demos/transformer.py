"""A small transformer that predicts the next word, and a text for it."""

import math
import random
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Optimizer
from torch.utils.data import DataLoader, Dataset

from lt_core import LightningModule
from lt_interfaces.rank_zero import rank_zero_info

_FILE: Final = "wikitext-2.txt"
_END_OF_LINE: Final = "<eos>"
_MADE_UP_WORDS: Final = 500
_MADE_UP_LINES: Final = 1000


class PositionalEncoding(nn.Module):
    """Adds sines and cosines to embeddings, then drops out.

    As Lightning's does, it adds to every position the encoding of the length of the sequence, not its own; the numbers
    of a training are the same in both, therefore.

    Args:
        dim: of the embeddings; an even number.
        dropout: probability that a number becomes zero.
        max_len: sequences must be shorter than this.
    """

    pe: Tensor

    def __init__(self, dim: int, dropout: float = 0.1, max_len: int = 5000) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.dim = dim
        self.max_len = max_len
        positions = torch.arange(max_len, dtype=torch.float).unsqueeze(1)
        frequencies = torch.exp(torch.arange(0, dim, 2).float() * (-math.log(10000.0) / dim))
        encoding = torch.zeros(1, max_len, dim)
        encoding[0, :, 0::2] = torch.sin(positions * frequencies)
        encoding[0, :, 1::2] = torch.cos(positions * frequencies)
        self.register_buffer("pe", encoding, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return what it got, of shape ``(batch, length, dim)``, with the encoding added."""
        output: Tensor = self.dropout(x + self.pe[:, x.size(1)])
        return output


class Transformer(nn.Module):
    """An encoder and a decoder of `torch.nn.Transformer` between an embedding and one layer back to the words.

    Args:
        vocab_size: how many words there are.
        ninp: size of the embeddings.
        nhead: number of attention heads.
        nhid: size of the layers between.
        nlayers: layers of the encoder, and of the decoder.
        dropout: probability that a number becomes zero.

    >>> words = torch.zeros(2, 7, dtype=torch.long)
    >>> Transformer(vocab_size=50)(words, words).shape
    torch.Size([14, 50])
    """

    def __init__(
        self,
        vocab_size: int = 33278,
        ninp: int = 200,
        nhead: int = 2,
        nhid: int = 200,
        nlayers: int = 2,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.pos_encoder = PositionalEncoding(ninp, dropout)
        self.embedding = nn.Embedding(vocab_size, ninp)
        self.transformer = nn.Transformer(
            d_model=ninp,
            nhead=nhead,
            num_encoder_layers=nlayers,
            num_decoder_layers=nlayers,
            dim_feedforward=nhid,
            dropout=dropout,
            batch_first=True,
        )
        self.decoder = nn.Linear(ninp, vocab_size)
        self.ninp = ninp
        self.vocab_size = vocab_size

    def generate_square_subsequent_mask(self, size: int) -> Tensor:
        """Return the mask that hides what comes later: zeros up to the diagonal, minus infinity behind it."""
        return nn.Transformer.generate_square_subsequent_mask(size)

    def forward(self, inputs: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the log-probabilities of the next words.

        Args:
            inputs: words for the encoder, shape ``(batch, length)``.
            target: words for the decoder, of the same shape.
            mask: which words the decoder doesn't see at each position; by default those that come later.

        Returns:
            Of shape ``(batch * length, vocab_size)``.
        """
        if mask is None:
            mask = self.generate_square_subsequent_mask(inputs.size(1)).to(inputs.device)
        source = self.pos_encoder(self.embedding(inputs) * math.sqrt(self.ninp))
        wanted = self.pos_encoder(self.embedding(target) * math.sqrt(self.ninp))
        words = self.decoder(self.transformer(source, wanted, tgt_mask=mask))
        return F.log_softmax(words, dim=-1).view(-1, self.vocab_size)


class LightningTransformer(LightningModule):
    """Trains a `Transformer` to predict the next word, on `WikiText2`.

    Args:
        vocab_size: how many words there are.
    """

    def __init__(self, vocab_size: int = 33278) -> None:
        super().__init__()
        self.model = Transformer(vocab_size=vocab_size)

    def forward(self, inputs: Tensor, target: Tensor) -> Tensor:
        """Return the log-probabilities of the next words; see `Transformer`."""
        output: Tensor = self.model(inputs, target)
        return output

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        inputs, target = batch
        return F.nll_loss(self(inputs, target), target.view(-1))

    def configure_optimizers(self) -> Optimizer:
        return SGD(self.model.parameters(), lr=0.1)

    def prepare_data(self) -> None:
        WikiText2(download=True)

    def train_dataloader(self) -> Any:
        return DataLoader(WikiText2())


class Dictionary:
    """Numbers words in the order in which they come.

    >>> words = Dictionary()
    >>> [words.add_word(word) for word in ("a", "b", "a")], len(words)
    ([0, 1, 0], 2)
    """

    def __init__(self) -> None:
        self.word2idx: dict[str, int] = {}
        self.idx2word: list[str] = []

    def add_word(self, word: str) -> int:
        """Return the number of a word, a new one where the word is new."""
        if word not in self.word2idx:
            self.word2idx[word] = len(self.idx2word)
            self.idx2word.append(word)
        return self.word2idx[word]

    def __len__(self) -> int:
        return len(self.idx2word)


def tokenize(path: Path) -> tuple[Tensor, Dictionary]:
    """Return the words of a text file as numbers, each line ended by ``<eos>``, and what the numbers mean.

    Raises:
        FileNotFoundError: there's no such file.
    """
    return _numbered(path.read_text(encoding="utf8"))


class WikiText2(Dataset[tuple[Tensor, Tensor]]):
    """Blocks of a text with the same blocks moved on by one word: what comes in, and what's to be predicted.

    Nothing is downloaded, unlike in Lightning. The text is ``wikitext-2.txt`` in ``data_dir`` if that's there, else a
    small one is made up, always the same.

    Args:
        data_dir: where the file is looked for.
        block_size: words per item.
        download: whether a text may be made up.

    Raises:
        FileNotFoundError: there's no file, and ``download`` is False.

    >>> inputs, target = WikiText2(block_size=5)[0]
    >>> inputs[1:].tolist() == target[:-1].tolist()
    True
    """

    def __init__(self, data_dir: Path = Path("data"), block_size: int = 35, download: bool = True) -> None:
        self.path = Path(data_dir) / _FILE
        if self.path.is_file():
            self.data, self.dictionary = tokenize(self.path)
        elif download:
            rank_zero_info("`WikiText2` downloads nothing: with no %s here, it's a text of made-up words.", self.path)
            self.data, self.dictionary = _numbered(_made_up_text())
        else:
            message = (
                f"`WikiText2` found no file {str(self.path)!r}. Put the text there, or pass `download=True` for a"
                " text of made-up words."
            )
            raise FileNotFoundError(message)
        self.block_size = block_size

    @property
    def vocab_size(self) -> int:
        """How many different words the text has."""
        return len(self.dictionary)

    def __len__(self) -> int:
        return len(self.data) // self.block_size - 1

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        start = index * self.block_size
        end = start + self.block_size
        return self.data[start:end], self.data[start + 1 : end + 1]


def _numbered(text: str) -> tuple[Tensor, Dictionary]:
    words = Dictionary()
    numbers = [words.add_word(word) for line in text.splitlines() for word in (*line.split(), _END_OF_LINE)]
    return torch.tensor(numbers, dtype=torch.long), words


def _made_up_text() -> str:
    """Return lines of words of which a few are frequent, each usually followed by one of three others."""
    draws = random.Random(2)
    vocabulary = [f"word{number}" for number in range(_MADE_UP_WORDS)]
    weights = [1 / (rank + 1) for rank in range(_MADE_UP_WORDS)]
    followers = {word: draws.choices(vocabulary, weights, k=3) for word in vocabulary}
    lines = []
    for _ in range(_MADE_UP_LINES):
        line = draws.choices(vocabulary, weights)
        while len(line) < 20:
            line.append(draws.choice(followers[line[-1]]))
        lines.append(" ".join(line))
    return "\n".join(lines)
