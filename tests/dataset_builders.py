"""Tiny datasets in the layouts of the real ones, and a real server on this machine."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

from evpcli.engine.datasets.public.catalog import CATALOG
from evpcli.engine.datasets.public.spec import DatasetSpec, SourceFile

Files = dict[str, bytes]


def encode_picture(seed: int, image_format: str = "JPEG", side: int = 8) -> bytes:
    """A small picture of noise, another one for each seed."""
    values = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, image_format)
    return buffer.getvalue()


def make_tar(files: Files, mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def make_zip(files: Files) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def make_mat(**arrays: np.ndarray) -> bytes:
    from scipy.io import savemat

    buffer = io.BytesIO()
    savemat(buffer, arrays)
    return buffer.getvalue()


@dataclass(frozen=True)
class Tiny:
    """A small stand-in for a catalog entry.

    Args:
        downloads: contents of each file to download, by file name.
        sizes: pictures a split.
        classes: how many.
        changes: other fields of the entry that differ.
    """

    downloads: Files
    sizes: Mapping[str, int]
    classes: int
    changes: Mapping[str, object] = field(default_factory=dict)

    def to_spec(self, name: str, address: str) -> DatasetSpec:
        """The catalog entry with these files, served at `address`."""
        real = CATALOG[name]
        sources = tuple(
            SourceFile(
                f"{address}/{file_name}",
                "md5:" + hashlib.md5(content).hexdigest(),
                next((one.inner for one in real.files if one.file_name == file_name), ()),
            )
            for file_name, content in self.downloads.items()
        )
        return replace(
            real, files=sources, hub=None, sizes=self.sizes, classes=self.classes, **self.changes
        )


def tiny_pets() -> Tiny:
    names = ["Abyssinian_1", "Abyssinian_2", "great_pyrenees_1", "great_pyrenees_2"]
    images = {f"images/{name}.jpg": encode_picture(i) for i, name in enumerate(names)}
    images["images/._junk.jpg"] = b"resource fork"
    lists = {
        "annotations/trainval.txt": b"Abyssinian_1 1 1 1\ngreat_pyrenees_1 2 2 1\n",
        "annotations/test.txt": b"Abyssinian_2 1 1 1\ngreat_pyrenees_2 2 2 1\n",
    }
    downloads = {"images.tar.gz": make_tar(images), "annotations.tar.gz": make_tar(lists)}
    return Tiny(downloads, {"train": 2, "test": 2}, 2)


def _cifar_rows(labels: list[tuple[int, ...]], seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 3072), dtype=np.uint8)
    return b"".join(bytes(row) + pixels[i].tobytes() for i, row in enumerate(labels))


def tiny_cifar10() -> Tiny:
    top = "cifar-10-batches-bin"
    words = b"airplane automobile bird cat deer dog frog horse ship truck".replace(b" ", b"\n")
    files = {f"{top}/batches.meta.txt": words + b"\n\n"}
    for number in range(1, 6):
        files[f"{top}/data_batch_{number}.bin"] = _cifar_rows([(number,), (9,)], number)
    files[f"{top}/test_batch.bin"] = _cifar_rows([(0,), (3,)], 9)
    return Tiny({"cifar-10-binary.tar.gz": make_tar(files)}, {"train": 10, "test": 2}, 10)


def tiny_cifar100() -> Tiny:
    top = "cifar-100-binary"
    names = "\n".join(f"aquarium_fish{i}" for i in range(100)).encode()
    files = {
        f"{top}/fine_label_names.txt": names,
        f"{top}/train.bin": _cifar_rows([(1, 99), (2, 0)], 1),
        f"{top}/test.bin": _cifar_rows([(3, 50)], 2),
    }
    return Tiny({"cifar-100-binary.tar.gz": make_tar(files)}, {"train": 2, "test": 1}, 100)


def tiny_flowers102() -> Tiny:
    images = {f"jpg/image_{n:05d}.jpg": encode_picture(n) for n in range(1, 7)}
    downloads = {
        "102flowers.tgz": make_tar(images),
        "imagelabels.mat": make_mat(labels=np.array([[1, 2, 1, 2, 102, 102]], dtype=np.uint8)),
        "setid.mat": make_mat(
            trnid=np.array([[1, 2]]), valid=np.array([[3, 4]]), tstid=np.array([[5, 6]])
        ),
    }
    return Tiny(downloads, {"train": 2, "val": 2, "test": 2}, 102)


def tiny_food101() -> Tiny:
    files = {
        "food-101/meta/train.json": json.dumps(
            {"apple_pie": ["apple_pie/1"], "baklava": ["baklava/2"]}
        ),
        "food-101/meta/test.json": json.dumps({"apple_pie": [], "baklava": ["baklava/3"]}),
    }
    pictures = {
        f"food-101/images/{n}.jpg": encode_picture(i)
        for i, n in enumerate(("apple_pie/1", "baklava/2", "baklava/3"))
    }
    archive = make_tar({**{k: v.encode() for k, v in files.items()}, **pictures})
    return Tiny({"food-101.tar.gz": archive}, {"train": 2, "test": 1}, 2)


def tiny_eurosat() -> Tiny:
    folders = ("AnnualCrop", "Forest")
    files = {f"2750/{c}/{c}_{n}.jpg": encode_picture(n) for c in folders for n in range(5)}
    changes = {"class_names": CATALOG["eurosat"].class_names[:2]}
    return Tiny({"EuroSAT.zip": make_zip(files)}, {"train": 10}, 2, changes)


def tiny_sun397() -> Tiny:
    classes = ("/a/abbey", "/a/apartment_building/outdoor")
    files = {"SUN397/ClassName.txt": "\n".join(classes).encode()}
    files |= {f"SUN397{c}/sun_{n}.jpg": encode_picture(n) for c in classes for n in range(3)}
    return Tiny({"SUN397.tar.gz": make_tar(files)}, {"train": 6}, 2)


def tiny_svhn() -> Tiny:
    generator = np.random.default_rng(0)

    def make(labels: list[int]) -> bytes:
        values = generator.integers(0, 256, (32, 32, 3, len(labels)), dtype=np.uint8)
        return make_mat(X=values, y=np.array(labels, dtype=np.uint8)[:, None])

    downloads = {"train_32x32.mat": make([1, 10, 9]), "test_32x32.mat": make([10, 2])}
    return Tiny(downloads, {"train": 3, "test": 2}, 10)


def tiny_dtd() -> Tiny:
    files: Files = {}
    for number, split in enumerate(("train", "val", "test")):
        names = [f"{c}/{c}_{number}.jpg" for c in ("banded", "zigzagged")]
        files[f"dtd/labels/{split}1.txt"] = "\n".join(names).encode()
        files |= {f"dtd/images/{name}": encode_picture(number) for name in names}
    return Tiny({"dtd-r1.0.1.tar.gz": make_tar(files)}, {"train": 2, "val": 2, "test": 2}, 2)


def tiny_clevr() -> Tiny:
    files: Files = {}
    for split, counts in (("train", (3, 10)), ("val", (5,))):
        scenes = [
            {"image_filename": f"CLEVR_{split}_{i}.png", "objects": [{}] * count}
            for i, count in enumerate(counts)
        ]
        files[f"CLEVR_v1.0/scenes/CLEVR_{split}_scenes.json"] = json.dumps(
            {"scenes": scenes}
        ).encode()
        for scene in scenes:
            name = f"CLEVR_v1.0/images/{split}/{scene['image_filename']}"
            files[name] = encode_picture(1, "PNG")
    return Tiny({"CLEVR_v1.0.zip": make_zip(files)}, {"train": 2, "test": 1}, 8)


def tiny_gtsrb() -> Tiny:
    training = {f"GTSRB/Training/{c:05d}/1_{c}.ppm": encode_picture(c, "PPM") for c in range(43)}
    training["GTSRB/Training/00000/GT-00000.csv"] = b"Filename;ClassId\n"
    test = {"GTSRB/Final_Test/Images/00000.ppm": encode_picture(50, "PPM")}
    downloads = {
        "GTSRB-Training_fixed.zip": make_zip(training),
        "GTSRB_Final_Test_Images.zip": make_zip(test),
        "GTSRB_Final_Test_GT.zip": make_zip(
            {"GT-final_test.csv": b"Filename;Width;ClassId\r\n00000.ppm;8;14\r\n"}
        ),
    }
    return Tiny(downloads, {"train": 43, "test": 1}, 43)


def tiny_aircraft() -> Tiny:
    top = "fgvc-aircraft-2013b/data"
    files: Files = {f"{top}/variants.txt": b"707-320\nCessna 172\n"}
    for number, split in enumerate(("train", "val", "test")):
        files[f"{top}/images_variant_{split}.txt"] = f"00{number} Cessna 172\n".encode()
        files[f"{top}/images/00{number}.jpg"] = encode_picture(number)
    sizes = {"train": 1, "val": 1, "test": 1}
    return Tiny({"fgvc-aircraft-2013b.tar.gz": make_tar(files)}, sizes, 2)


def tiny_stl10() -> Tiny:
    generator = np.random.default_rng(0)
    top = "stl10_binary"
    words = b"airplane\nbird\ncar\ncat\ndeer\ndog\nhorse\nmonkey\nship\ntruck\n"
    files: Files = {f"{top}/class_names.txt": words}
    for split, labels in (("train", bytes([1, 10])), ("test", bytes([2]))):
        size = len(labels) * 3 * 96 * 96
        files[f"{top}/{split}_X.bin"] = generator.integers(0, 256, size, dtype=np.uint8).tobytes()
        files[f"{top}/{split}_y.bin"] = labels
    return Tiny({"stl10_binary.tar.gz": make_tar(files)}, {"train": 2, "test": 1}, 10)


def tiny_mnist() -> Tiny:
    downloads: Files = {}
    for part, labels in (("train", [5, 0, 4]), ("t10k", [7, 2])):
        n = len(labels)
        pixels = np.random.default_rng(n).integers(0, 256, (n, 28, 28), dtype=np.uint8).tobytes()
        sizes = b"".join(size.to_bytes(4, "big") for size in (n, 28, 28))
        downloads[f"{part}-images-idx3-ubyte.gz"] = gzip.compress(b"\0\0\x08\x03" + sizes + pixels)
        downloads[f"{part}-labels-idx1-ubyte.gz"] = gzip.compress(
            b"\0\0\x08\x01" + n.to_bytes(4, "big") + bytes(labels)
        )
    return Tiny(downloads, {"train": 3, "test": 2}, 10)


def tiny_caltech101() -> Tiny:
    classes = ("BACKGROUND_Google", "accordion", "Faces_easy")
    files = {
        f"101_ObjectCategories/{c}/image_{n:04d}.jpg": encode_picture(n)
        for c in classes
        for n in range(1, 4)
    }
    outer = {
        "caltech-101/101_ObjectCategories.tar.gz": make_tar(files),
        "caltech-101/Annotations.tar": make_tar({"Annotations/x.mat": b"x"}, "w"),
        "__MACOSX/caltech-101/._x": b"junk",
    }
    return Tiny({"caltech-101.zip": make_zip(outer)}, {"train": 6}, 2)


def _tiny_split_folders(top: str, classes: tuple[str, ...], ending: str) -> Files:
    image_format = "JPEG" if ending == "jpg" else "PNG"
    return {
        f"{top}/{split}/{c}/1.{ending}": encode_picture(1, image_format)
        for split in ("train", "valid", "test")
        for c in classes
    }


def tiny_country211() -> Tiny:
    archive = make_tar(_tiny_split_folders("country211", ("AD", "XK"), "jpg"))
    return Tiny({"country211.tgz": archive}, {"train": 2, "val": 2, "test": 2}, 2)


def tiny_renderedsst2() -> Tiny:
    archive = make_tar(_tiny_split_folders("rendered-sst2", ("negative", "positive"), "png"))
    return Tiny({"rendered-sst2.tgz": archive}, {"train": 2, "val": 2, "test": 2}, 2)


TINY: dict[str, Callable[[], Tiny]] = {
    "pets": tiny_pets,
    "cifar10": tiny_cifar10,
    "cifar100": tiny_cifar100,
    "flowers102": tiny_flowers102,
    "food101": tiny_food101,
    "eurosat": tiny_eurosat,
    "sun397": tiny_sun397,
    "svhn": tiny_svhn,
    "dtd": tiny_dtd,
    "clevr": tiny_clevr,
    "gtsrb": tiny_gtsrb,
    "aircraft": tiny_aircraft,
    "stl10": tiny_stl10,
    "mnist": tiny_mnist,
    "fashionmnist": tiny_mnist,
    "caltech101": tiny_caltech101,
    "country211": tiny_country211,
    "renderedsst2": tiny_renderedsst2,
}


@dataclass
class Served:
    """What a server on this machine answers, and what it was asked."""

    address: str
    files: Files = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    behave: dict[str, Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict)


@contextmanager
def serve_files() -> Iterator[Served]:
    """A real HTTP server on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            name = self.path.lstrip("/")
            if name in served.behave:
                served.behave[name](self)
            elif name in served.files:
                content = served.files[name]
                self.send_response(200)
                for key, value in {
                    "Content-Length": str(len(content)),
                    **served.headers.get(name, {}),
                }.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(content)
            else:
                self.send_error(404)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *words: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    served = Served(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
