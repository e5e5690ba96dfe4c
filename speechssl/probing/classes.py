"""A class for each sample: logistic regression on pooled frames, or a recurrent head on all of them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from speechssl.config import HeadTrainingConfig
from speechssl.probing.heads import Examples, Head, class_loss, train_head
from speechssl.seeding import Purpose, derive_seed

MAX_ITERATIONS = 1_000


def predict_linear(train: np.ndarray, classes: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Classes of pooled samples (M, P) by logistic regression on others, (N, P), of known classes, (N,): (M,)."""
    from sklearn.linear_model import LogisticRegression  # takes a second
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MAX_ITERATIONS))
    predicted: np.ndarray = model.fit(train, classes).predict(test)
    return predicted


def discriminant_space(train: np.ndarray, classes: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Pooled samples (M, P) in the directions that best tell known classes apart: linear discriminant analysis, with
    Ledoit and Wolf's shrinkage, as samples are often fewer than dimensions."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto"))
    projected: np.ndarray = model.fit(train, classes).transform(test)
    return projected


def train_classifier(
    frames: Sequence[Tensor], classes: np.ndarray, config: HeadTrainingConfig, seed: int, device: torch.device
) -> Head:
    """A recurrent head that tells the classes of samples apart.

    Args:
        frames: (T, D) each.
        classes: 0 and up, (N,).
        config: how it is trained.
        seed: of weights, order and dropout.
        device: where.
    """
    head = Head(frames[0].shape[1], int(classes.max()) + 1, "recurrent", config, pooled=True).to(device)
    return train_head(head, Examples(frames, list(torch.from_numpy(classes))), class_loss, config, seed)


def sklearn_seed(seed: int) -> int:
    """As scikit-learn takes it."""
    return derive_seed(seed, Purpose.PROBE_HEADS) % 2**32
