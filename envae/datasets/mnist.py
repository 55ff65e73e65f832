"""MNIST, as torchvision reads it."""

from torch import Tensor

from envae import _torchvision as _torchvision  # before torchvision
from envae.datasets import files
from envae.datasets._dataset import Dataset, register

_LAYOUT = "MNIST/raw"
_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


@register("mnist")
def mnist() -> Dataset:
    """60,000 + 10,000 images of 28 x 28 in the published split; 220 MB in memory.

    Layout: `MNIST/raw/*-ubyte`, uncompressed, as torchvision has it. The four files are compared
    with their published checksums at every load.
    """
    from torchvision.datasets import MNIST  # takes seconds to import

    folder = files.find("mnist", [_LAYOUT])
    files.verify("mnist", folder, _MD5)
    train, test = (MNIST(folder.parents[1], train=split) for split in (True, False))
    return Dataset(
        name="mnist",
        train=_images(train.data),
        train_labels=train.targets,
        test=_images(test.data),
        test_labels=test.targets,
        place=str(folder),
    )


def _images(grey: Tensor) -> Tensor:
    """Grey levels `(N, H, W)`, 0 to 255, as images `(N, 1, H, W)`."""
    return grey.unsqueeze(1).float() / 255
