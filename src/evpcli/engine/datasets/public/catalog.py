"""The catalog's table: every dataset with a short name, spelled out."""

from __future__ import annotations

from evpcli.engine.datasets.public import class_words
from evpcli.engine.datasets.public.spec import DatasetSpec, HubCopy, SourceFile

_NOT_STATED = "not stated by the source"
_VGG = "https://www.robots.ox.ac.uk/~vgg/data"
_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"
_FASHION = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"
_SVHN = "https://ufldl.stanford.edu/housenumbers"
_GTSRB = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370"
_EUROSAT_COMMIT = "c877bcd43f099cd0196738f714544e355477f3fd"
_OFFICIAL = "the source's own train and test"
_OFFICIAL_VAL = "the source's own train, val and test"
_WITHOUT_VAL = "the source's own train and test; its val is not in this copy"
_HELD_OUT = "the source has no splits: test is 20 % of each class, seed 0"


def _list_idx_files(base: str, *md5: str) -> tuple[SourceFile, ...]:
    """The four files of an MNIST-like set, with their MD5 in this order."""
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return tuple(
        SourceFile(f"{base}/{name}-ubyte.gz", f"md5:{digits}")
        for name, digits in zip(names, md5, strict=True)
    )


_SPECS = (
    DatasetSpec(
        "digits",
        "UCI handwritten digits (in scikit-learn)",
        layout="digits",
        glyphs=True,
        classes=10,
        sizes={"train": 1437, "test": 360},
        licence="CC BY 4.0",
        split_rule="train is the first 1,437 pictures, test the last 360, in scikit-learn's order",
        flip=False,
        class_names=class_words.DIGITS,
        homepage="https://archive.ics.uci.edu/dataset/80",
    ),
    DatasetSpec(
        "pets",
        "Oxford-IIIT Pet",
        layout="pets",
        classes=37,
        sizes={"train": 3680, "test": 3669},
        licence="CC BY-SA 4.0",
        split_rule="the source's own trainval and test",
        files=(
            SourceFile(f"{_VGG}/pets/data/images.tar.gz", "md5:5c4f3ee8e5d25df40f4fd59a7f44e54c"),
            SourceFile(
                f"{_VGG}/pets/data/annotations.tar.gz", "md5:95a8c909bbe2e81eed6a22bccdf3f68f"
            ),
        ),
        homepage=f"{_VGG}/pets/",
        size="0.8 GB",
    ),
    DatasetSpec(
        "cifar10",
        "CIFAR-10",
        layout="cifar10",
        classes=10,
        sizes={"train": 50000, "test": 10000},
        licence=_NOT_STATED,
        split_rule=_OFFICIAL,
        files=(  # the binary version: the Python one runs code when it is loaded
            SourceFile(
                "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                "md5:c32a1d4ab5d03f1284b67883e8d87530",
            ),
        ),
        class_names=class_words.CIFAR10,
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        size="170 MB",
    ),
    DatasetSpec(
        "cifar100",
        "CIFAR-100, fine classes",
        layout="cifar100",
        classes=100,
        sizes={"train": 50000, "test": 10000},
        licence=_NOT_STATED,
        split_rule=_OFFICIAL,
        files=(
            SourceFile(
                "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
                "md5:03b5dce01913d631647c71ecec9e9cb8",
            ),
        ),
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        size="169 MB",
    ),
    DatasetSpec(
        "flowers102",
        "Oxford 102 Flowers",
        layout="flowers102",
        classes=102,
        sizes={"train": 1020, "val": 1020, "test": 6149},
        licence=_NOT_STATED,
        split_rule=_OFFICIAL_VAL,
        files=(
            SourceFile(
                f"{_VGG}/flowers/102/102flowers.tgz", "md5:52808999861908f626f3c1f4e79d11fa"
            ),
            SourceFile(
                f"{_VGG}/flowers/102/imagelabels.mat", "md5:e0620be6f572b9609742df49c70aed4d"
            ),
            SourceFile(f"{_VGG}/flowers/102/setid.mat", "md5:a5357ecc9cb78c4bef273ce3793fc85c"),
        ),
        class_names=class_words.FLOWERS,
        homepage=f"{_VGG}/flowers/102/",
        size="345 MB",
    ),
    DatasetSpec(
        "food101",
        "Food-101",
        layout="food101",
        classes=101,
        sizes={"train": 75750, "test": 25250},
        licence="the pictures belong to their owners; scientific fair use",
        split_rule=_OFFICIAL,
        files=(
            SourceFile(
                "https://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
                "md5:85eeb15f3717b99a5da872d97d918f87",
            ),
        ),
        homepage="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
        size="5 GB",
    ),
    DatasetSpec(
        "eurosat",
        "EuroSAT, RGB",
        layout="eurosat",
        classes=10,
        sizes={"train": 27000},
        licence="MIT",
        split_rule=_HELD_OUT,
        files=(
            SourceFile(
                "https://huggingface.co/datasets/torchgeo/eurosat/resolve/"
                f"{_EUROSAT_COMMIT}/EuroSAT.zip",
                "md5:c8fa014336c82ac7804f0398fcb19387",
            ),
        ),
        class_names=class_words.EUROSAT,
        homepage="https://github.com/phelber/eurosat",
        size="94 MB",
    ),
    DatasetSpec(
        "sun397",
        "SUN397 scenes",
        layout="sun397",
        classes=397,
        sizes={"train": 108754},
        licence=_NOT_STATED,
        split_rule=_HELD_OUT,
        homepage="https://vision.princeton.edu/projects/2010/SUN/",
        hub=HubCopy(
            "clip-benchmark/wds_sun397",
            "main",
            {"train": 108754},
            _HELD_OUT,
        ),
    ),
    DatasetSpec(
        "svhn",
        "Street View House Numbers, cropped",
        layout="svhn",
        glyphs=True,
        classes=10,
        sizes={"train": 73257, "test": 26032},
        licence="non-commercial use only",
        split_rule="the source's own train and test, without extra",
        files=(
            SourceFile(f"{_SVHN}/train_32x32.mat", "md5:e26dedcc434d2e4c54c9b2d4a06d8373"),
            SourceFile(f"{_SVHN}/test_32x32.mat", "md5:eb5a983be6a315427106f1b164d9cef3"),
        ),
        flip=False,
        class_names=class_words.DIGITS,
        homepage=f"{_SVHN}/",
        size="246 MB",
    ),
    DatasetSpec(
        "dtd",
        "Describable Textures, partition 1",
        layout="dtd",
        classes=47,
        sizes={"train": 1880, "val": 1880, "test": 1880},
        licence="research purposes only",
        split_rule="the source's own train, val and test, first of its ten partitions",
        files=(
            SourceFile(
                f"{_VGG}/dtd/download/dtd-r1.0.1.tar.gz", "md5:fff73e5086ae6bdbea199a49dfb8a4c1"
            ),
        ),
        homepage=f"{_VGG}/dtd/",
        size="625 MB",
    ),
    DatasetSpec(
        "clevr",
        "CLEVR, counting objects",
        layout="clevr",
        classes=8,
        sizes={"train": 70000, "test": 15000},
        licence="CC BY 4.0",
        split_rule="train is the source's train, test its val; its own test has no labels",
        files=(
            SourceFile(
                "https://dl.fbaipublicfiles.com/clevr/CLEVR_v1.0.zip",
                "md5:b11922020e72d0cd9154779b2d3d07d2",
            ),
        ),
        class_names=class_words.CLEVR,
        templates=("this is a photo of {}",),  # not "of a three objects"
        homepage="https://cs.stanford.edu/people/jcjohns/clevr/",
        size="18 GB",
    ),
    DatasetSpec(
        "gtsrb",
        "German traffic signs",
        layout="gtsrb",
        classes=43,
        sizes={"train": 26640, "test": 12630},
        licence=_NOT_STATED,
        split_rule="the source's own training set, as corrected in 2019, and its final test",
        files=(
            SourceFile(
                f"{_GTSRB}/GTSRB-Training_fixed.zip", "md5:513f3c79a4c5141765e10e952eaa2478"
            ),
            SourceFile(
                f"{_GTSRB}/GTSRB_Final_Test_Images.zip", "md5:c7e4e6327067d32654124b0fe9e82185"
            ),
            SourceFile(f"{_GTSRB}/GTSRB_Final_Test_GT.zip", "md5:fe31e9c9270bbcd7b84b7f21a9d9d9e5"),
        ),
        flip=False,
        class_names=class_words.TRAFFIC_SIGNS,
        homepage="https://benchmark.ini.rub.de/",
        size="276 MB",
    ),
    DatasetSpec(
        "aircraft",
        "FGVC Aircraft, variants",
        layout="aircraft",
        classes=100,
        sizes={"train": 3334, "val": 3333, "test": 3333},
        licence="non-commercial research purposes only",
        split_rule=_OFFICIAL_VAL,
        files=(SourceFile(f"{_VGG}/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz", None),),
        homepage=f"{_VGG}/fgvc-aircraft/",
        size="2.75 GB",
    ),
    DatasetSpec(
        "stl10",
        "STL-10",
        layout="stl10",
        classes=10,
        sizes={"train": 5000, "test": 8000},
        licence=_NOT_STATED,
        split_rule="the source's own train and test, without the unlabelled pictures",
        files=(
            SourceFile(
                "https://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
                "md5:91f7769df0f17e558f3565bffb0c7dfb",
            ),
        ),
        homepage="https://cs.stanford.edu/~acoates/stl10/",
        size="2.6 GB",
    ),
    DatasetSpec(
        "mnist",
        "MNIST",
        layout="mnist",
        glyphs=True,
        classes=10,
        sizes={"train": 60000, "test": 10000},
        licence=_NOT_STATED,
        split_rule=_OFFICIAL,
        files=_list_idx_files(
            _MNIST,
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
        flip=False,
        class_names=class_words.DIGITS,
        homepage="https://yann.lecun.com/exdb/mnist/",
        size="12 MB",
    ),
    DatasetSpec(
        "fashionmnist",
        "Fashion-MNIST",
        layout="mnist",
        classes=10,
        sizes={"train": 60000, "test": 10000},
        licence="MIT",
        split_rule=_OFFICIAL,
        files=_list_idx_files(
            _FASHION,
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        class_names=class_words.FASHION,
        homepage="https://github.com/zalandoresearch/fashion-mnist",
        size="31 MB",
    ),
    DatasetSpec(
        "caltech101",
        "Caltech-101, without the background class",
        layout="caltech101",
        classes=101,
        sizes={"train": 8677},
        licence="CC BY 4.0",
        split_rule=_HELD_OUT,
        files=(
            SourceFile(
                "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
                "md5:3138e1922a9193bfa496528edbbc45d0",
                inner=("caltech-101/101_ObjectCategories.tar.gz",),
            ),
        ),
        homepage="https://data.caltech.edu/records/20086",
        size="137 MB",
    ),
    DatasetSpec(
        "country211",
        "Country211 (YFCC100M)",
        layout="country211",
        classes=211,
        sizes={"train": 31650, "val": 10550, "test": 21100},
        licence="Creative Commons, by picture",
        split_rule=_OFFICIAL_VAL,
        templates=("this is a photo taken in {}",),  # no country takes "a"
        homepage="https://github.com/openai/CLIP/blob/main/data/country211.md",
        hub=HubCopy(
            "clip-benchmark/wds_country211",
            "1699f138f0558342a1cbf99f7cf36b4361bb5ebc",
            {"train": 31650, "test": 21100},
            _WITHOUT_VAL,
        ),
    ),
    DatasetSpec(
        "renderedsst2",
        "Rendered SST2 (sentences as pictures)",
        layout="renderedsst2",
        classes=2,
        sizes={"train": 6920, "val": 872, "test": 1821},
        licence=_NOT_STATED,
        split_rule=_OFFICIAL_VAL,
        flip=False,
        templates=("this is a {} review",),
        homepage="https://github.com/openai/CLIP/blob/main/data/rendered-sst2.md",
        hub=HubCopy(
            "clip-benchmark/wds_renderedsst2",
            "66b9a461eda025201dd147e5f390f5984c33643a",
            {"train": 6920, "test": 1821},
            _WITHOUT_VAL,
        ),
    ),
    DatasetSpec(
        "resisc45",
        "NWPU-RESISC45 satellite pictures",
        layout="resisc45",
        classes=45,
        sizes={"train": 31500},
        licence=_NOT_STATED,
        split_rule=_HELD_OUT,
        templates=("this is a satellite photo of a {}",),
        homepage="https://gcheng-nwpu.github.io/",
        needed=tuple(f"NWPU-RESISC45/{name}" for name in class_words.RESISC45),
        hub=HubCopy(
            "clip-benchmark/wds_vtab-resisc45",
            "main",
            {"train": 18900, "test": 6300},
            "VTAB's train and test; its 6,300 images of val are not in this copy",
        ),
    ),
    DatasetSpec(
        "dmlab",
        "DMLab distances (VTAB)",
        layout="dmlab",
        classes=6,
        sizes={"train": 65550, "val": 22628, "test": 22735},
        licence=_NOT_STATED,
        split_rule=_OFFICIAL_VAL,
        class_names=class_words.DMLAB,
        templates=("this is a view of a maze with {}",),
        homepage="https://github.com/google-research/task_adaptation",
        needed=tuple(
            f"dmlab/{split}/{label}" for split in ("train", "val", "test") for label in range(6)
        ),
        hub=HubCopy(
            "clip-benchmark/wds_vtab-dmlab",
            "main",
            {"train": 65550, "test": 22735},
            _WITHOUT_VAL,
            class_names=class_words.DMLAB,
        ),
    ),
    DatasetSpec(
        "pcam",
        "PatchCamelyon",
        layout="pcam",
        classes=2,
        sizes={"train": 262144, "val": 32768, "test": 32768},
        licence="CC0 1.0",
        split_rule=_OFFICIAL_VAL,
        class_names=("lymph node", "lymph node containing metastatic tumor tissue"),
        homepage="https://github.com/basveeling/pcam",
        needed=tuple(
            f"camelyonpatch_level_2_split_{split}_{part}.h5"
            for split in ("train", "valid", "test")
            for part in "xy"
        ),
        hub=HubCopy(
            "clip-benchmark/wds_vtab-pcam",
            "502695fe1a141108650e3c5b91c8b5e0ff84ed49",
            {"train": 262144, "test": 32768},
            _WITHOUT_VAL,
        ),
    ),
    DatasetSpec(
        "fer2013",
        "FER2013 faces",
        layout="fer2013",
        classes=7,
        sizes={"train": 28709, "val": 3589, "test": 3589},
        licence="not stated; given out under Kaggle's competition terms",
        split_rule="the source's Training, PublicTest (val) and PrivateTest (test)",
        class_names=class_words.FACES,
        templates=("this is a photo of a person who looks {}",),
        homepage="https://www.kaggle.com/c/"
        "challenges-in-representation-learning-facial-expression-recognition-challenge",
        needed=("fer2013.csv",),
        hub=HubCopy(
            "clip-benchmark/wds_fer2013",
            "9399b94167523fe5c40b3a857e24ef931ee4395b",
            {"train": 28709, "test": 7178},
            "the source's Training; test is its PublicTest and PrivateTest together",
        ),
    ),
)

CATALOG: dict[str, DatasetSpec] = {spec.name: spec for spec in _SPECS}
