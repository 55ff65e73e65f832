"""Data sets: what is loaded, and the errors where something is missing or broken.

Sets that cannot be had everywhere are read from small folders made here in the real file layout.
"""

import dataclasses
import hashlib
import importlib
import io
import os
import pickle
import shutil
import struct
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from envae import cli, datasets

_images = importlib.import_module("envae.datasets._images")
mnist = importlib.import_module("envae.datasets.mnist")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty `$ENVAE_DATA`, and a cache folder that is empty too."""
    monkeypatch.setenv("ENVAE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "data"


# --- what all sets share ----------------------------------------------------------------------


def test_digits_are_whole_and_their_split_is_fixed():
    digits = datasets.load("digits")
    assert digits.name == "digits"
    assert digits.train.shape == (1297, 1, 8, 8)
    assert digits.test.shape == (500, 1, 8, 8)
    assert digits.train.dtype == torch.float32
    assert digits.train.min() == 0
    assert digits.train.max() == 1
    assert digits.checksum == "07d820155f01"


def test_unknown_data_set_lists_the_known_ones():
    with pytest.raises(
        ValueError, match=r"unknown data set 'digit', did you mean 'digits'\? \(known: "
    ):
        datasets.load("digit")


def test_unknown_option_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown digits option 'crop' \(known: train_size"):
        datasets.load("digits", crop=140)


def test_a_part_of_the_train_split_is_told_by_name_and_lies_within_larger_ones():
    whole = datasets.load("digits")
    small, larger = (datasets.load("digits", train_size=size) for size in (100, 200))
    assert (small.name, larger.name) == ("digits-100", "digits-200")
    assert torch.equal(small.train, larger.train[:100])
    assert torch.equal(small.train_labels, larger.train_labels[:100])
    assert torch.equal(small.test, whole.test)
    assert small.checksum == "5823ccdff5d3"  # recorded runs are of these very images
    assert len({whole.checksum, small.checksum, larger.checksum}) == 3
    everything = datasets.load("digits", train_size=1297)
    assert everything.train_labels.bincount().equal(whole.train_labels.bincount())


def test_what_a_part_leaves_out_has_no_image_of_it():
    images = torch.rand(50, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = datasets.Dataset("noise", images, torch.arange(50), images[:2], torch.arange(2), "")
    kept, left = whole.subset(20), whole.left_out(20)
    assert left.name == "noise-without-20"
    both = [*kept.train_labels.tolist(), *left.train_labels.tolist()]
    assert sorted(both) == list(range(50))
    assert torch.equal(left.train, images[left.train_labels])
    assert not (left.train[:, None] == kept.train).flatten(2).all(2).any()
    assert torch.equal(left.test, whole.test)
    with pytest.raises(ValueError, match="from 1 to the 50 training images of noise, received 51"):
        whole.left_out(51)


def test_a_data_set_comes_out_of_a_process_as_it_went_in():
    digits = datasets.load("digits").subset(100)
    other = pickle.loads(pickle.dumps(digits))
    assert (other.name, other.place) == (digits.name, digits.place)
    assert other.subset(50).checksum == digits.subset(50).checksum
    again = pickle.loads(pickle.dumps(other))
    assert torch.equal(again.test, digits.test)


@pytest.mark.parametrize("size", [0, 1298, 10.0])
def test_a_part_that_is_none_is_an_error(size):
    with pytest.raises(ValueError, match="from 1 to the 1297 training images of digits, received"):
        datasets.load("digits", train_size=size)


def test_resized_images_are_told_by_name_and_keep_a_level_and_their_labels():
    digits = datasets.load("digits")
    assert digits.resized(8) is digits
    small = digits.resized(4)
    assert small.name == "digits-4px"
    assert small.train.shape == (len(digits.train), 1, 4, 4)
    assert small.test.shape == (len(digits.test), 1, 4, 4)
    assert torch.equal(small.train_labels, digits.train_labels)
    level = dataclasses.replace(digits, train=torch.full((2, 1, 8, 8), 0.3)).resized(5)
    assert torch.allclose(level.train, torch.tensor(0.3))
    combs = torch.tensor([1.0, 0, 0, 0]).repeat(8).expand(2, 1, 32, 32)  # no pixel is left out
    small = dataclasses.replace(digits, train=combs).resized(8)
    torch.testing.assert_close(
        small.train[..., 1:-1], torch.full((2, 1, 8, 6), 0.25), atol=0.05, rtol=0
    )
    with pytest.raises(
        ValueError, match="side must be an integer from 1 up, in pixels, received 0"
    ):
        digits.resized(0)


# --- MNIST ------------------------------------------------------------------------------------


def idx(array):
    """An array of bytes in the format of the MNIST files."""
    header = np.array([0x0800 + array.ndim, *array.shape], dtype=">i4")
    return header.tobytes() + array.astype(np.uint8).tobytes()


@pytest.fixture
def tiny_mnist(place, monkeypatch):
    """Six training and four test images in MNIST's layout, taken for the published ones."""
    folder = place / "MNIST" / "raw"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for split, count in (("train", 6), ("t10k", 4)):
        images = random.integers(0, 256, (count, 28, 28))
        (folder / f"{split}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(idx(np.arange(count)))
    sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    monkeypatch.setattr(mnist, "_MD5", sums)
    return folder


def test_mnist_is_read_in_its_published_split(tiny_mnist):
    data = datasets.load("mnist")
    assert data.train.shape == (6, 1, 28, 28)
    assert data.test_labels.tolist() == [0, 1, 2, 3]
    first = np.random.default_rng(0).integers(0, 256, (6, 28, 28))[0]
    assert data.train.dtype == torch.float32
    np.testing.assert_allclose(data.train[0, 0], first / 255, rtol=1e-6)
    assert data.place == str(tiny_mnist)


def test_published_mnist_where_it_is_at_hand():
    try:
        data = datasets.load("mnist")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert (len(data.train), len(data.test)) == (60_000, 10_000)
    assert data.checksum == "55c41ac0f5a8"
    assert data.test_labels.bincount()[:3].tolist() == [980, 1135, 1032]


def test_missing_mnist_says_how_to_get_it(place):
    with pytest.raises(
        FileNotFoundError, match=r"no mnist data: .*/data and in .*/cache/envae; .*`envae data mni"
    ):
        datasets.load("mnist")


def test_truncated_or_incomplete_mnist_is_an_error(tiny_mnist):
    images = tiny_mnist / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"idx3-ubyte \(4715 bytes\) is truncated or corrupt.*rem"):
        datasets.load("mnist")
    images.unlink()
    with pytest.raises(FileNotFoundError, match=r"mnist is not complete: .*idx3-ubyte is missing"):
        datasets.load("mnist")


# --- CIFAR-10 ---------------------------------------------------------------------------------

cifar10 = importlib.import_module("envae.datasets.cifar10")


@pytest.fixture
def tiny_cifar10(place, monkeypatch):
    """Four images a batch in CIFAR-10's layout, taken for the published ones."""
    from torchvision.datasets import CIFAR10

    folder = place / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for batch in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        content = {
            "data": random.integers(0, 256, (4, 3072), dtype=np.uint8),
            "labels": [0, 1, 2, 3] if batch == "test_batch" else [3, 0, 1, 2],
        }  # fmt: skip
        (folder / batch).write_bytes(pickle.dumps(content))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["a", "b", "c", "d"]}))
    sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    monkeypatch.setattr(cifar10, "_MD5", sums)
    monkeypatch.setattr(CIFAR10, "train_list", [[b, sums[b]] for b in sums if b[:4] == "data"])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": sums["batches.meta"]})
    return folder


def test_cifar10_is_read_in_its_published_split(tiny_cifar10):
    data = datasets.load("cifar10")
    assert data.train.shape == (20, 3, 32, 32)
    assert data.test.shape == (4, 3, 32, 32)
    assert data.train_labels.tolist() == 5 * [3, 0, 1, 2]
    assert data.test_labels.tolist() == [0, 1, 2, 3]
    content = pickle.loads((tiny_cifar10 / "test_batch").read_bytes())
    np.testing.assert_allclose(data.test[1], content["data"][1].reshape(3, 32, 32) / 255, rtol=1e-6)


def test_damaged_cifar10_is_an_error_before_anything_is_unpickled(tiny_cifar10):
    (tiny_cifar10 / "data_batch_3").write_bytes(b"cos\nsystem\n")
    with pytest.raises(ValueError, match=r"data_batch_3 .* is truncated or corrupt"):
        datasets.load("cifar10")


def picture(path, colour=(255, 0, 0), size=(32, 32)):
    """An image file of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


@pytest.fixture
def tiny_jpegs(place, monkeypatch):
    """`cifar10-jpeg` of two classes: three images for training and two for testing."""
    monkeypatch.setattr(cifar10, "_JPEGS", {"train": 3, "test": 2})
    folder = place / "cifar10-jpeg"
    picture(folder / "train" / "cat" / "0000.jpg", (0, 255, 0))
    picture(folder / "train" / "bird" / "0000.jpg")
    picture(folder / "train" / "bird" / "0001.jpg", (128, 0, 0))
    picture(folder / "test" / "bird" / "0000.jpg")
    picture(folder / "test" / "cat" / "0000.jpg", (0, 255, 0))
    return folder


def archived(folder):
    """The folder as an archive beside it, in its place."""
    path = folder.with_suffix(".tar.xz")
    with tarfile.open(path, "w:xz") as packed:
        for file in sorted(folder.glob("t*/*/*"), reverse=True):  # in no order of ours
            packed.add(file, file.relative_to(folder))
    shutil.rmtree(folder)
    return path


def test_jpeg_copy_of_cifar10_is_the_same_packed_and_unpacked(tiny_jpegs):
    unpacked = datasets.load("cifar10-jpeg")
    archived(tiny_jpegs)
    packed = datasets.load("cifar10-jpeg")
    assert unpacked.train.shape == (3, 3, 32, 32)
    assert unpacked.train_labels.tolist() == [0, 0, 1]
    torch.testing.assert_close(
        unpacked.test[:, :, 0, 0], torch.tensor([[1.0, 0, 0], [0, 1, 0]]), atol=0.01, rtol=0
    )
    assert packed.checksum == unpacked.checksum
    assert packed.place.endswith("cifar10-jpeg.tar.xz")


@pytest.mark.parametrize("packed", [True, False])
def test_what_an_archiver_leaves_is_no_image_of_the_jpeg_copy(tiny_jpegs, packed):
    expected = datasets.load("cifar10-jpeg").checksum
    (tiny_jpegs / "train" / "cat" / "._0000.jpg").write_bytes(b"resources")
    picture(tiny_jpegs / "test" / ".ipynb_checkpoints" / "0000.jpg")
    if packed:
        archived(tiny_jpegs)
    assert datasets.load("cifar10-jpeg").checksum == expected


@pytest.mark.parametrize("packed", [True, False])
def test_no_more_of_the_jpeg_copy_is_decoded_than_is_asked_for(tiny_jpegs, packed, monkeypatch):
    expected = datasets.load("cifar10-jpeg").subset(2)
    if packed:
        archived(tiny_jpegs)
    decoded, decode = [], cifar10._images.decode
    monkeypatch.setattr(
        cifar10._images, "decode", lambda files, *a: decoded.append(len(files)) or decode(files, *a)
    )
    for _ in range(2):
        part = datasets.load("cifar10-jpeg", train_size=2)
        assert (part.name, part.checksum) == ("cifar10-jpeg-2", expected.checksum)
    assert decoded == ([2, 2] if packed else [2, 2, 2, 2])
    with pytest.raises(ValueError, match="from 1 to the 3 training images of cifar10-jpeg, receiv"):
        datasets.load("cifar10-jpeg", train_size=4)
    with pytest.raises(ValueError, match=r"option 'crop' \(known: train_size\)"):
        datasets.load("cifar10-jpeg", crop=4)


def test_another_archive_is_decoded_anew(tiny_jpegs):
    picture(tiny_jpegs / "copy" / "0000.jpg", (0, 0, 255))
    other = (tiny_jpegs / "copy" / "0000.jpg").read_bytes()
    folder = shutil.copytree(tiny_jpegs, tiny_jpegs.with_name("kept"))
    archived(tiny_jpegs)
    first = datasets.load("cifar10-jpeg")
    shutil.move(folder, tiny_jpegs)
    (tiny_jpegs / "train" / "cat" / "0000.jpg").write_bytes(other)
    archived(tiny_jpegs)
    assert datasets.load("cifar10-jpeg").checksum != first.checksum


@pytest.mark.parametrize("kept", [0.1, 0.8])
def test_truncated_archive_is_an_error(tiny_jpegs, kept):
    path = archived(tiny_jpegs)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ValueError, match=r"cifar10-jpeg.tar.xz is truncated or corrupt"):
        datasets.load("cifar10-jpeg")


def test_folder_that_lacks_an_image_or_has_half_of_one_is_an_error(tiny_jpegs):
    half = tiny_jpegs / "train" / "cat" / "0000.jpg"
    half.write_bytes(half.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"cat/0000.jpg is truncated or corrupt"):
        datasets.load("cifar10-jpeg")
    half.unlink()
    with pytest.raises(ValueError, match="holds 2 images in train, not 3"):
        datasets.load("cifar10-jpeg")


# --- faces ------------------------------------------------------------------------------------

faces = importlib.import_module("envae.datasets.faces")


@pytest.fixture
def tiny_celeba(place, monkeypatch):
    """Three images in CelebA's layout: red, with a green square of 140 in the middle."""
    folder = place / "celeba"
    for number in (1, 2, 3):
        red = (265 - 10 * number, 0, 0)
        path = picture(folder / "img_align_celeba" / f"{number:06}.jpg", red, size=(178, 218))
        image = Image.open(path)
        image.paste((0, 255, 0), (19, 39, 159, 179))
        image.save(path, format="png")  # without loss, so that the edge of the crop is sharp
    partition = folder / "list_eval_partition.txt"
    partition.write_text("000001.jpg 0\n000002.jpg 1\n000003.jpg 2\n")
    checksum = hashlib.md5(partition.read_bytes()).hexdigest()
    monkeypatch.setattr(faces, "_MD5", {partition.name: checksum})
    return folder


def test_celeba_is_cropped_from_the_middle_and_the_crop_is_told(tiny_celeba):
    data = datasets.load("celeba64")
    wide = datasets.load("celeba64", crop=178)
    assert (data.name, wide.name) == ("celeba64", "celeba64-crop178")
    assert data.train.shape == data.test.shape == (1, 3, 64, 64)
    red, green = data.train[0, 0], data.train[0, 1]
    assert green.min() == 1
    assert red.max() == 0
    corners = [images[0, 0, 0, 0].mul(255).item() for images in (wide.train, wide.test)]
    assert corners == pytest.approx(
        [255, 235], abs=2
    )  # the published split: 0 is training, 2 testing


def test_celeba_that_lacks_images_or_is_cropped_too_wide_is_an_error(tiny_celeba):
    with pytest.raises(ValueError, match=r"has 178 x 218 pixels: too few for a crop of 200"):
        datasets.load("celeba64", crop=200)
    with pytest.raises(ValueError, match="crop must be an integer from 1 up"):
        datasets.load("celeba64", crop=0)
    (tiny_celeba / "img_align_celeba" / "000002.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 images are missing in .*000002.jpg"):
        datasets.load("celeba64")
    (tiny_celeba / "list_eval_partition.txt").write_text("000001.jpg 0\n")
    with pytest.raises(ValueError, match=r"list_eval_partition.txt .* is truncated or corrupt"):
        datasets.load("celeba64")


FOLDERS = {
    "celebahq128": ("celebahq", "envae.datasets.faces", {"_HQ_IMAGES": 28}, (26, 2), 128),
    "lsun_church64": (
        "lsun/church_outdoor_train", "envae.datasets.folders",
        {"_CHURCHES": 28, "_CHURCHES_HELD_OUT": 5}, (23, 5), 64,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_sets_that_are_folders(name, place, monkeypatch):
    layout, module, counts, split, side = FOLDERS[name]
    with pytest.raises(FileNotFoundError, match=rf"no {name} data: .*{layout}.*github.com"):
        datasets.load(name)
    for number in range(28):
        picture(place / layout / f"{number}.jpg", (9 * number,) * 3, size=(150, 130))
    with pytest.raises(ValueError, match=r"holds 28 images, not the \d+ of"):
        datasets.load(name)
    for constant, value in counts.items():
        monkeypatch.setattr(importlib.import_module(module), constant, value)
    data = datasets.load(name)
    assert (len(data.train), len(data.test)) == split
    assert data.image_shape == (3, side, side)
    levels = torch.cat([data.train, data.test]).mean((1, 2, 3)).mul(255 / 9).round()
    assert levels.sort().values.tolist() == list(range(28))
    assert data.train_labels.unique().tolist() == [0]


# --- anybody's own images ---------------------------------------------------------------------


def test_images_without_classes_are_split_and_their_name_tells_them_apart(tmp_path):
    for number in range(20):
        picture(tmp_path / "mine" / f"{number}.png", (number, 0, 0), size=(40, 30))
    data = datasets.load("imagefolder", root=str(tmp_path / "mine"), size=16)
    assert (len(data.train), len(data.test)) == (18, 2)
    assert data.image_shape == (3, 16, 16)
    assert data.name.startswith("imagefolder-mine-16-")
    assert data.train_labels.unique().tolist() == [0]
    picture(tmp_path / "mine" / "3.png", (99, 0, 0), size=(40, 30))
    assert datasets.load("imagefolder", root=str(tmp_path / "mine"), size=16).name != data.name


def test_folders_train_and_test_are_the_split_and_those_below_the_classes(tmp_path):
    for path, colour in {
        "train/b/1.png": (255, 0, 0), "train/a/1.png": (0, 255, 0), "train/b/deep/2.webp": (0,) * 3,
        "test/a/1.jpg": (0, 255, 0), "test/a/notes.txt": None, "other/notes.txt": None,
    }.items():  # fmt: skip
        if colour:
            picture(tmp_path / path, colour)
        else:
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_text("no image")
    data = datasets.load("imagefolder", root=str(tmp_path))
    assert data.train_labels.tolist() == [0, 1, 1]
    assert data.test_labels.tolist() == [0]
    assert data.train[0, :, 0, 0].tolist() == [0, 1, 0]


def test_what_is_no_image_of_the_set_is_left_out_and_links_are_followed(tmp_path):
    root = tmp_path / ".cache" / "own"  # a hidden folder on the way to the set is none in it
    for path in ("a/1.png", "a/.ipynb_checkpoints/1.png", "a/._1.png", "__MACOSX/a/1.png"):
        picture(root / path)
    picture(root / "a" / "@eaDir" / "1.jpg")
    picture(root / "a" / "$RECYCLE.BIN" / "1.png")
    (root / ".gone").symlink_to(tmp_path / "nowhere")
    (root / "a" / "folder.png").mkdir()
    os.mkfifo(root / "a" / "pipe.png")  # which would be waited for
    picture(tmp_path / "elsewhere" / "2.png")
    (root / "b").symlink_to(tmp_path / "elsewhere")
    (root / "c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(root)
    (root / "a" / "3.png").symlink_to(tmp_path / "elsewhere" / "2.png")
    found = _images.listed(root)
    assert [str(path.relative_to(root)) for path in found if "back" not in path.parts] == [
        "a/1.png", "a/3.png", "b/2.png", "c/2.png"
    ]  # fmt: skip
    assert all(path.parts.count("back") < 2 for path in found)  # and a circle ends
    (tmp_path / "elsewhere" / "back").unlink()
    data = datasets.load("imagefolder", root=str(root), size=4)
    assert torch.cat([data.train_labels, data.test_labels]).sort().values.tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize(
    "names",
    [("train", "val"), ("Train", "TEST"), ("training", "validation"), ("train", "val", "x")],
)
def test_a_split_by_any_of_its_names_is_one_and_no_class(tmp_path, names):
    train, test, *rest = names
    for path in (f"{train}/a/1.png", f"{train}/b/2.png", f"{test}/b/3.png"):
        picture(tmp_path / path)
    for name in rest:
        picture(tmp_path / name / "4.png")
    data = datasets.load("imagefolder", root=str(tmp_path), size=4)
    assert (data.train_labels.tolist(), data.test_labels.tolist()) == ([0, 1], [1])


def test_half_a_split_is_an_error_and_a_class_may_be_called_train(tmp_path):
    for number in range(3):
        picture(tmp_path / "train" / f"{number}.png")
    with pytest.raises(ValueError, match="has the folders train: a split needs train and test"):
        datasets.load("imagefolder", root=str(tmp_path))
    picture(tmp_path / "train" / "test" / "4.png")
    picture(tmp_path / "bus" / "1.png")
    data = datasets.load("imagefolder", root=str(tmp_path), size=4)
    assert torch.cat([data.train_labels, data.test_labels]).sort().values.tolist() == [
        0,
        1,
        1,
        1,
        1,
    ]


@pytest.mark.parametrize(
    "names",
    [("train2017", "val2017"), ("training_set", "test_set"), ("trainA", "testA"), ("train", "Dev"),
     ("images/train", "images/val"), ("cats/train", "dogs/test")],
)  # fmt: skip
def test_a_split_that_is_not_taken_is_an_error_and_not_mixed(tmp_path, names):
    for name in names:
        picture(tmp_path / name / "1.png")
        picture(tmp_path / name / "2.png")
    with pytest.raises(ValueError, match=f"folders {', '.join(sorted(names))}: a split needs"):
        datasets.load("imagefolder", root=str(tmp_path))


def test_a_picture_that_finds_no_memory_is_not_called_corrupt(tmp_path, monkeypatch):
    picture(tmp_path / "1.png")

    def no_memory(image):
        raise MemoryError

    monkeypatch.setattr(_images, "_in_colour", no_memory)
    with pytest.raises(MemoryError):
        _images.read([tmp_path / "1.png"], 4)


def test_classes_may_all_have_one_folder_within(tmp_path):
    for name in ("cats/train/1.png", "cats/train/2.png", "dogs/train/3.png"):
        picture(tmp_path / name)
    data = datasets.load("imagefolder", root=str(tmp_path), size=4)
    assert sorted(torch.cat([data.train_labels, data.test_labels]).tolist()) == [0, 0, 1]


LEVELS = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)


def saved(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def test_a_smaller_image_is_of_all_the_pixels(tmp_path):
    combs = np.tile(np.array([255, 0, 0, 0], dtype=np.uint8), (32, 8))
    path = saved(tmp_path / "1.png", combs)
    read = _images.read([path], 8)[0, :, :, 1:-1]
    torch.testing.assert_close(read, torch.full((3, 8, 6), 0.25), atol=0.05, rtol=0)


@pytest.mark.parametrize("ending", ["png", "tif", "ppm"])
def test_sixteen_bits_are_brought_to_eight(tmp_path, ending):
    path = saved(tmp_path / f"1.{ending}", LEVELS)
    read = _images.read([path], 8)[0]
    for channel in read:
        np.testing.assert_allclose(channel, LEVELS / 65535, atol=0.5001 / 255)


def tiff(path, bits, pixels, *others):
    """Two pixels, written by hand: Pillow writes no 12 bits, and 16 of one kind alone."""
    tags = [(256, 2), (257, 1), (258, bits), (259, 1), (273, 8), (277, 1), (278, 1),
            (279, bits // 4), *others]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags))
    path.write_bytes(
        b"II*\0" + struct.pack("<I", 12) + pixels + struct.pack("<H", len(tags)) + entries
        + bytes(4)
    )  # fmt: skip
    return path


@pytest.mark.parametrize(
    ("bits", "zero", "pixels", "level"),
    [(12, "black", b"\x40\x0f\xff\x00", 1024 / 4095), (16, "black", b"\0\x40\0\x40", 0.25),
     (16, "white", b"\0\x40\0\x40", 0.75), (8, "white", b"\x40\x40\0\0", 0.75)],
)  # fmt: skip
def test_a_tiff_says_how_many_bits_it_has_and_which_end_is_white(
    tmp_path, bits, zero, pixels, level
):
    path = tiff(tmp_path / "1.tif", bits, pixels, (262, int(zero == "black")))
    read = _images.read([path], 1, 1)
    torch.testing.assert_close(read, torch.full_like(read, level), atol=0.8 / 255, rtol=0)


@pytest.mark.parametrize("bits", [8, 16])
def test_signed_pixels_are_of_no_range(tmp_path, bits):
    path = tiff(tmp_path / "1.tif", bits, b"\xc0\x40\0\0", (262, 1), (339, 2))
    with pytest.raises(
        ValueError, match=r"1\.tif cannot be taken: its pixels are signed, .* range"
    ):
        _images.read([path], 1, 1)


@pytest.mark.parametrize(
    "pixels", [LEVELS.astype(np.int32), LEVELS.astype(np.float32), (LEVELS / 65535).astype("f4")]
)
def test_numbers_of_no_range_are_an_error_that_names_the_file(tmp_path, pixels):
    path = saved(tmp_path / "1.tif", pixels)
    with pytest.raises(
        ValueError, match=r"1\.tif cannot be taken: .* range .* save it with 8 or 16"
    ):
        _images.read([path], 8)


def test_a_transparent_picture_is_seen_on_white(tmp_path):
    """Alone, under a palette and as one colour that means none: what it hides is not shown."""
    hidden = np.full((4, 4, 4), (200, 10, 10, 0), dtype=np.uint8)
    half = np.full((4, 4, 4), (0, 0, 0, 51), dtype=np.uint8)
    paths = [saved(tmp_path / f"{name}.png", array) for name, array in
             {"hidden": hidden, "half": half}.items()]  # fmt: skip
    paths.append(saved(tmp_path / "grey.png", np.zeros((4, 4, 2), dtype=np.uint8)))
    palette = Image.new("P", (4, 4))
    palette.putpalette([255, 0, 0])
    palette.save(tmp_path / "palette.png", transparency=0)
    Image.new("RGB", (4, 4), (9, 8, 7)).save(tmp_path / "key.png", transparency=(9, 8, 7))
    deep = saved(tmp_path / "deep.png", np.full((4, 4), 7, dtype=np.uint16), transparency=7)
    read = _images.read([*paths, tmp_path / "palette.png", tmp_path / "key.png", deep], 4)
    expected = torch.tensor([1, 1 - 51 / 255, 1, 1, 1, 1]).reshape(6, 1, 1, 1).expand(6, 3, 4, 4)
    torch.testing.assert_close(read, expected, atol=0.5 / 255, rtol=0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_file_says(tmp_path, orientation):
    """The corner that orientation 1, 2, ... 8 puts at the top left."""
    corners = np.array([[10, 20], [40, 30]], dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "1.png", corners, exif=exif)
    top_left = [10, 20, 30, 40, 10, 40, 30, 20][orientation - 1]
    assert _images.decode([path], 16)[0, 0, 0, 0] == top_left


def test_a_picture_above_pillows_limit_is_named(tmp_path, monkeypatch):
    path = picture(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # twice as many are an error
    with pytest.raises(ValueError, match=r"huge\.png cannot be taken: .* exceeds limit"):
        _images.read([path], 8)


def test_a_file_that_cannot_be_read_is_not_called_corrupt(tmp_path):
    (tmp_path / "1.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"1\.png"):
        _images.read([tmp_path / "1.png"], 8)


@pytest.mark.parametrize(
    "names", [("a", "b", "gone"), ("a", "b", "b/1.png"), ("train", "val", "test")]
)
def test_a_link_that_leads_nowhere_is_named_and_no_class_without_images(tmp_path, names):
    *folders, link = names
    for name in folders:
        picture(tmp_path / name / "2.png")
    (tmp_path / link).symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=f"{link} is a link to .*nowhere, which is not"):
        datasets.load("imagefolder", root=str(tmp_path))


@pytest.mark.parametrize("pictures", [("a/1.png", "b/1.png"), ("train/a/1.png", "test/a/1.png")])
def test_a_class_of_files_that_are_not_read_is_named(tmp_path, pictures):
    for name in pictures:
        picture(tmp_path / name)
    raw = (tmp_path / name).parents[1] / "raw" / "deep"
    raw.mkdir(parents=True)
    (raw / ".hidden").touch()
    assert len(datasets.load("imagefolder", root=str(tmp_path), size=4).train)
    (raw / "1.cr2").touch()
    with pytest.raises(ValueError, match=r"raw has files, such as 1\.cr2, and no .* reads .*\.jpg"):
        datasets.load("imagefolder", root=str(tmp_path), size=4)


@pytest.mark.parametrize("ending", _images.EXTENSIONS)
def test_every_ending_that_is_read_is_an_image(tmp_path, ending):
    kind = {".jfif": "jpeg", ".jpe": "jpeg"}.get(ending)
    Image.new("1" if ending == ".pbm" else "L", (8, 8), 255).save(tmp_path / f"1{ending}", kind)
    read = _images.read(_images.listed(tmp_path), 4)
    torch.testing.assert_close(read, torch.ones(1, 3, 4, 4), atol=2 / 255, rtol=0)


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "webp", "bmp", "ppm"])
def test_whatever_a_damaged_file_is_it_is_an_image_or_one_error(kind):
    random, stream = np.random.default_rng(0), io.BytesIO()
    Image.fromarray(LEVELS.astype(np.uint8)).save(stream, kind)
    for _ in range(60):
        content = np.frombuffer(stream.getvalue(), np.uint8).copy()
        content[random.integers(len(content), size=2)] = random.integers(256, size=2)
        content = content[: random.integers(len(content) // 2, 2 * len(content))]
        try:
            read = _images.read([("damaged", content.tobytes())], 4)
        except ValueError as error:
            assert str(error).startswith("damaged ")  # noqa: PT017
        else:
            assert read.shape == (1, 3, 4, 4)


def test_folders_that_are_none_or_hold_no_images_are_errors(tmp_path):
    with pytest.raises(ValueError, match="imagefolder needs the option root"):
        datasets.load("imagefolder")
    for root in (None, 3):
        with pytest.raises(ValueError, match=f"root must be the path of a folder.* {root}"):
            datasets.load("imagefolder", root=root)
    with pytest.raises(FileNotFoundError, match="needs root, a folder of images"):
        datasets.load("imagefolder", root="")  # and not whatever lies in the working directory
    with pytest.raises(FileNotFoundError, match=r"there is no .*missing"):
        datasets.load("imagefolder", root=str(tmp_path / "missing"))
    with pytest.raises(
        ValueError, match=r"has 0 images for training .* reads files ending in \.jpg"
    ):
        datasets.load("imagefolder", root=str(tmp_path))
    picture(tmp_path / "1.png")
    for option in ({"size": 0}, {"size": True}, {"size": None}, {"crop": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(option))} must be an integer"):
            datasets.load("imagefolder", root=str(tmp_path), **option)


# --- `envae data` -----------------------------------------------------------------------------


def test_command_says_where_images_lie(tmp_path, capsys):
    for number in range(4):
        picture(tmp_path / f"{number}.png")
    assert cli.main(["data", "imagefolder", "-p", "root", str(tmp_path), "-p", "size", "8"]) == 0
    said = capsys.readouterr().out
    assert "3 training and 1 test images of 3 x 8 x 8" in said
    assert str(tmp_path) in said


def test_command_downloads_what_is_missing_and_says_what_to_do_where_a_host_refuses(
    place, monkeypatch, capsys
):
    from torchvision.datasets import MNIST

    asked = []

    def refuse(self):
        asked.append(self.root)
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.setattr(MNIST, "download", refuse)
    assert cli.main(["data", "mnist"]) == 2
    said = capsys.readouterr().err
    assert asked == [place]
    assert "could not download mnist (Error downloading" in said
    assert f"by hand, in {place}: get train-images-idx3-ubyte" in said
    with pytest.raises(ValueError, match="unknown data set to download 'lsun_church64'"):
        datasets.download("lsun_church64")


def test_command_loads_what_it_downloaded(tiny_mnist, monkeypatch, capsys):
    from torchvision.datasets import MNIST

    held = {path.name: path.read_bytes() for path in tiny_mnist.iterdir()}
    shutil.rmtree(tiny_mnist)

    def download(self):
        tiny_mnist.mkdir()
        for name, content in held.items():
            (tiny_mnist / name).write_bytes(content)

    monkeypatch.setattr(MNIST, "download", download)
    assert cli.main(["data", "mnist"]) == 0
    assert "6 training and 4 test images of 1 x 28 x 28" in capsys.readouterr().out


def test_command_says_what_to_do_by_hand_where_nothing_can_be_downloaded(place, capsys):
    assert cli.main(["data", "lsun_church64"]) == 2
    assert "data.py export church_outdoor_train_lmdb" in capsys.readouterr().err
