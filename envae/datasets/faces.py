"""CelebA and CelebA-HQ: faces, without their labels."""

from envae.datasets import _images, files
from envae.datasets._dataset import Dataset, held_out, register, unlabelled

_PARTITION = "list_eval_partition.txt"
_MD5 = {_PARTITION: "d32c9cbf5e040fd4025c592c306e6668"}
_CROP = 140
_HQ_IMAGES = 30_000


@register("celeba64")
def celeba64(crop: int = _CROP) -> Dataset:
    """CelebA at 3 x 64 x 64: 162,770 + 19,962 images, 9 GB in memory (10 GB while reading).

    The published split, without its validation images. Layout: `celeba/img_align_celeba/*.jpg` and
    `celeba/list_eval_partition.txt`, as torchvision has it.

    Parameters
    ----------
    crop
        Side of the square cut from the middle of the 178 x 218 pixels before resizing: 140 as App.
        I.2 of takida2022. It "markedly affects the FID score", so the name tells another one:
        `celeba64-crop108`.
    """
    _images.check_sides(crop=crop)
    folder = files.find("celeba64", ["celeba"])
    files.verify("celeba64", folder, _MD5)
    rows = [line.split() for line in (folder / _PARTITION).read_text(encoding="utf-8").splitlines()]
    images = folder / "img_align_celeba"
    present = {path.name for path in images.glob("*.jpg")}
    if missing := [name for name, _ in rows if name not in present]:
        raise FileNotFoundError(
            f"celeba64 is not complete: {len(missing)} of {len(rows)} images are missing in "
            f"{images}, the first is {missing[0]}; unpack img_align_celeba.zip into {folder}"
        )
    train, test = (
        [images / name for name, split in rows if split == number] for number in ("0", "2")
    )
    return unlabelled(
        "celeba64" if crop == _CROP else f"celeba64-crop{crop}",
        _images.read(train, 64, crop),
        _images.read(test, 64, crop),
        place=str(folder),
    )


@register("celebahq128")
def celebahq128() -> Dataset:
    """CelebA-HQ at 3 x 128 x 128, not cropped (App. I.3 of takida2022): 5.9 GB in memory.

    30,000 images, a seeded tenth of them held out: the paper does not give its split. Layout: a
    folder `celebahq` of image files, such as the CelebA-HQ-img of CelebAMask-HQ.
    """
    folder = files.find(
        "celebahq128",
        ["celebahq"],
        by_hand="put the folder CelebA-HQ-img of CelebAMask-HQ "
        "(github.com/switchablenorms/CelebAMask-HQ) there, under that name",
    )
    images = _images.listed(folder)
    if len(images) != _HQ_IMAGES:
        raise ValueError(
            f"{folder} holds {len(images)} images, not the {_HQ_IMAGES} of CelebA-HQ: "
            "get another copy"
        )
    train, test = held_out(images, len(images) // 10)
    return unlabelled(
        "celebahq128", _images.read(train, 128), _images.read(test, 128), place=str(folder)
    )
