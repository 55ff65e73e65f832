"""The digits that ship with scikit-learn."""

import torch

from envae.datasets._dataset import Dataset, held_out, register


@register("digits")
def digits() -> Dataset:
    """Every image once; a seeded third of 500 held out, since scikit-learn ships no split."""
    from sklearn.datasets import load_digits  # takes a second to import

    bunch = load_digits()
    images = torch.from_numpy(bunch.images).float().unsqueeze(1) / 16  # 17 grey levels, 0 to 16
    labels = torch.from_numpy(bunch.target)
    train, test = held_out(range(len(images)), 500)
    return Dataset(
        name="digits",
        train=images[train],
        train_labels=labels[train],
        test=images[test],
        test_labels=labels[test],
        place="inside scikit-learn",
    )
