# SPDX-License-Identifier: Apache-2.0
"""Data loaders: the dataset for torch.utils.data and the decoder for WebDataset, in workers that are forked and spawned."""

import functools
import multiprocessing
import os
import tarfile
import threading
import time

import numpy as np
import pytest
import torch
import webdataset
from builders import photo
from torch.utils.data import DataLoader

import jahp_fast
from jahp_fast.errors import FormatError, UnknownModel, UsageError
from jahp_fast.integrations.torch_data import JahpDataset
from jahp_fast.integrations.webdataset import decoder
from jahp_fast.local import codec_for, settings

PLAIN = settings()


@pytest.fixture
def folder(photo_crop, tmp_path):
    """Four .jahp files of 48 x 40 pixels, in two folders."""
    codec = jahp_fast.Codec()
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    for i in range(4):
        frame = photo_crop[10 * i : 10 * i + 40, 20 * i : 20 * i + 48]
        (tmp_path / "photos" / ("sub" if i % 2 else ".") / f"{i}.jahp").write_bytes(codec.encode(frame))
    return tmp_path / "photos"


def threads():
    return len(os.listdir("/proc/self/task"))


def threads_while(work, before):
    """The most threads of this process while `work` runs, the one that counts left out. Waits for those that ended, and linger in /proc."""
    deadline = time.monotonic() + 60
    while threads() > before:
        assert time.monotonic() < deadline, "threads that do not end"
        time.sleep(0.001)
    most, ended = 0, threading.Event()

    def count():
        nonlocal most
        while not ended.is_set():
            most = max(most, threads() - 1)

    counter = threading.Thread(target=count)
    counter.start()
    work()
    ended.set()
    counter.join()
    return most


@functools.cache
def threads_more(process):
    """How many threads decoding takes in this process beyond those that there are."""
    assert process == os.getpid()
    coded = codec_for(PLAIN).encode(photo())
    before = threads()
    two = jahp_fast.Codec(threads=2)
    assert any(threads_while(lambda: two.decode(coded), before) > before for _ in range(50)), "an extra thread is not seen"
    return threads_while(lambda: codec_for(PLAIN).decode(coded), before) - before


def describe(image):
    """In the worker: the image, its process, torch's threads, and the decoder's additional ones."""
    return image, os.getpid(), torch.get_num_threads(), threads_more(os.getpid())


@pytest.mark.parametrize(("start", "workers"), [("fork", 2), ("spawn", 1)])  # a spawned one loads torch anew
def test_dataset_in_workers(folder, start, workers):
    """Each image is right and was decoded in a worker, by that worker's own thread and no other, so N workers keep N cores busy."""
    data = JahpDataset(folder, transform=describe)
    first = data[0][0]  # so that the parent has a codec, with threads and locks, before it forks
    loader = DataLoader(data, batch_size=None, num_workers=workers, multiprocessing_context=multiprocessing.get_context(start), timeout=100)
    items = list(loader)
    assert len(items) == 4
    assert torch.equal(items[0][0], first)
    for path, (image, _, torch_threads, more_threads) in zip(data.files, items, strict=True):
        assert np.array_equal(image.permute(1, 2, 0).numpy(), jahp_fast.decode(path.read_bytes()))
        assert (torch_threads, more_threads) == (1, 0)
    assert os.getpid() not in {pid for _, pid, _, _ in items}
    assert len({pid for _, pid, _, _ in items}) == workers


def test_a_tensor_is_copied_once(folder, monkeypatch):
    """From (H, W, 3), as it is decoded, to (3, H, W)."""
    data = JahpDataset(folder)
    data[0]  # loads the weights
    copies = []
    contiguous = torch.Tensor.contiguous
    monkeypatch.setattr(torch.Tensor, "contiguous", lambda self: copies.append(self.numel()) or contiguous(self))
    for name in ("clone", "copy_", "numpy", "to"):
        monkeypatch.setattr(torch.Tensor, name, lambda *_, name=name: pytest.fail(f"a copy by {name}"))
    assert data[0].numel() == 40 * 48 * 3
    assert copies == [40 * 48 * 3]


def test_dataset_errors_name_the_file(folder, tmp_path):
    with pytest.raises(UsageError, match=r"no\.jahp|not a folder"):
        JahpDataset(tmp_path / "nothing")
    bad = folder / "bad.jahp"
    bad.write_bytes(b"JAHP")
    with pytest.raises(FormatError, match=r"bad\.jahp: file of 4 bytes"):
        JahpDataset([bad])[0]
    with pytest.raises(FormatError, match="cannot read"):
        JahpDataset([folder / "missing.jahp"])[0]


def test_dataset_finds_named_models(tiny_models, photo_crop, tmp_path):
    path = next(iter(tiny_models.values()))
    data = jahp_fast.Codec(path.stem, models=[path], quality=1).encode(photo_crop)
    (tmp_path / "x.jahp").write_bytes(data)
    with pytest.raises(UnknownModel):
        JahpDataset(tmp_path)[0]
    assert JahpDataset(tmp_path, models=[path])[0].shape == (3, 96, 128)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset 1.0.2 leaves its tar files open
@pytest.mark.parametrize("kind", ["numpy", "torch", "pil"])
def test_webdataset(folder, tmp_path, kind):
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        for i, path in enumerate(sorted(folder.rglob("*.jahp"))):
            tar.add(path, f"{i:04d}.jahp")
            (tmp_path / "cls").write_text(str(i))
            tar.add(tmp_path / "cls", f"{i:04d}.cls")
    samples = list(webdataset.WebDataset(str(tmp_path / "photos.tar"), shardshuffle=False).decode(decoder(kind)))
    assert [s["cls"] for s in samples] == [0, 1, 2, 3]
    for path, sample in zip(sorted(folder.rglob("*.jahp")), samples, strict=True):
        image = sample["jahp"]
        array = image.permute(1, 2, 0).numpy() if kind == "torch" else np.asarray(image)
        assert np.array_equal(array, jahp_fast.decode(path.read_bytes()))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_webdataset_in_workers(folder, tmp_path, start):
    """The decoder goes to workers, forked or spawned, and decodes there as here."""
    files = sorted(folder.rglob("*.jahp"))
    for shard in range(2):
        with tarfile.open(tmp_path / f"{shard}.tar", "w") as tar:
            for i in (2 * shard, 2 * shard + 1):
                tar.add(files[i], f"{i:04d}.jahp")
    urls = [str(tmp_path / f"{shard}.tar") for shard in range(2)]
    samples = webdataset.WebDataset(urls, shardshuffle=False).decode(decoder("torch"))
    context = multiprocessing.get_context(start)
    loader = DataLoader(samples, batch_size=None, num_workers=1 if start == "spawn" else 2, multiprocessing_context=context, timeout=100)
    found = {sample["__key__"]: sample["jahp"] for sample in loader}
    assert len(found) == 4
    for i, path in enumerate(files):
        assert np.array_equal(found[f"{i:04d}"].permute(1, 2, 0).numpy(), jahp_fast.decode(path.read_bytes()))


def test_decoder_leaves_other_fields_alone():
    assert decoder()("0001.png", b"x") is None
    with pytest.raises(FormatError):
        decoder()("0001.jahp", b"x")
    with pytest.raises(UsageError, match="kind must be"):
        decoder("jax")


@pytest.mark.parametrize("scale", [2, 8])
def test_small_images(folder, scale):
    small = JahpDataset(folder, scale=scale)
    assert small[1].shape == (3, 40 // scale, 48 // scale)
    data = small.files[1].read_bytes()
    assert np.array_equal(small[1].permute(1, 2, 0).numpy(), jahp_fast.Codec().decode(data, scale=scale))
    for kind in ("numpy", "torch", "pil"):
        image = decoder(kind, scale=scale)("1.jahp", data)
        assert np.array_equal(image if kind != "torch" else image.permute(1, 2, 0), jahp_fast.Codec().decode(data, scale=scale))
    for make in (lambda: JahpDataset(folder, scale=3), lambda: decoder(scale=0)):
        with pytest.raises(UsageError, match="scale must be 1, 2, 4, 8 or 16"):
            make()
