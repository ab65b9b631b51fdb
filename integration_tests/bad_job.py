"""A job whose script has no ``if __name__ == "__main__"``: bad_job.py STRATEGY."""

import sys
import warnings

import torch
from bad_input_ranks import Net, new_trainer
from torch.utils.data import DataLoader

warnings.simplefilter("ignore")
loader = DataLoader(torch.ones(4))  # type: ignore[var-annotated,arg-type]  # a tensor serves as a dataset
new_trainer(strategy=sys.argv[1]).fit(Net("loss"), loader)
