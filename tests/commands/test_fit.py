from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from evpcli.cli import main
from evpcli.domain.reference import parse_prompt_ref
from evpcli.engine.files.paths import find_registry
from evpcli.engine.prompts.prompt_file import decode_prompt, read_prompt_file
from evpcli.engine.prompts.registry.registry import Registry
from tests.engine.backbones.test_timm_model import NAME as TIMM
from tests.engine.backbones.test_timm_model import make_folder
from tests.small_data import write_digit_folder

QUICK = ["-b", "mini", "--epochs", "2", "--batch-size", "8", "--no-probe"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_digit_folder(tmp_path / "numbers")


def fit(folder: Path, *words: str) -> int:
    return main(["fit", "-d", str(folder), *QUICK, *words])


def open_newest(text: str) -> tuple[torch.Tensor, object]:
    registry = Registry(find_registry())
    stored = decode_prompt(registry.read(registry.find(parse_prompt_ref(text))))
    return stored.pixels, stored.manifest


def test_fit_files_a_prompt_that_tells_everything(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(folder, "--tag", "first", "-o", str(tmp_path / "p.pt"), "--seed", "3") == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0].startswith("measured\tsplit\ttop-1 %")
    assert [line.split("\t")[:2] for line in out.splitlines()[1:]] == [
        [what, split] for split in ("val", "test") for what in ("zero-shot", "blank", "prompted")
    ]
    assert "plan: " in err and "saved numbers/mini:v1" in err
    pixels, manifest = open_newest("numbers/mini:first")
    assert manifest.class_names == ("one", "two", "zero")
    assert manifest.settings["seed"].value == 3
    assert manifest.settings["seed"].source == "flag"
    assert manifest.settings["lr"].source == "catalog"
    assert manifest.settings["border_px"].value == 9
    assert len(manifest.history) == 2
    assert sum(manifest.dataset.sizes.values()) == 30
    assert torch.equal(read_prompt_file(tmp_path / "p.pt").pixels, pixels)
    assert str(tmp_path) not in manifest.model_dump_json()  # no path of the maker's travels


def test_equal_settings_give_equal_pixels_and_new_versions(tmp_path: Path) -> None:
    folder = write_digit_folder(tmp_path / "numbers", classes=10, per_class=12)
    for _ in range(2):
        assert fit(folder) == 0
    assert torch.equal(open_newest("numbers/mini:v1")[0], open_newest("numbers/mini:v2")[0])
    assert fit(folder, "--seed", "1") == 0
    assert not torch.equal(open_newest("numbers/mini:v3")[0], open_newest("numbers/mini:v1")[0])


def test_json_holds_the_measurements(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(folder, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["prompt"] == "numbers/mini:v1"
    assert {m["what"] for m in found["metrics"]} == {"zero-shot", "blank", "prompted"}
    assert all(m["top5"] is None for m in found["metrics"])  # three classes


def test_paper_protocol_is_stamped(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(folder, "--preset", "paper") == 0
    out = capsys.readouterr().out
    assert "selected on test" in out and "\tval\t" not in out
    settings = open_newest("numbers/mini")[1].settings
    assert settings["lr"].value == 20 and settings["lr"].source == "preset"
    assert settings["epochs"].value == 2 and settings["epochs"].source == "flag"


def test_rate_is_searched_on_validation(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(folder, "--lr", "auto") == 0
    err = capsys.readouterr().err
    assert err.count(": validation ") == 6
    assert open_newest("numbers/mini")[1].settings["lr"].source == "search"
    assert fit(folder, "--lr", "auto", "--protocol", "paper") == 2


@pytest.mark.parametrize("words", [[], ["--init", "normal", "--lr", "1e-6"]])
def test_projected_border_stays_in_the_unit_interval(folder: Path, words: list[str]) -> None:
    """The border that it begins with too, which may be the best."""
    assert fit(folder, "--project", *words) == 0
    pixels = open_newest("numbers/mini")[0]
    assert float(pixels.min()) >= 0 and float(pixels.max()) <= 1


def test_class_names_and_templates_can_be_given(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("digit one\ndigit two\n\ndigit zero\n")
    (tmp_path / "templates.txt").write_text("a {}\nthe number {}\n")
    words = [
        "--classnames",
        str(tmp_path / "names.txt"),
        "--templates",
        str(tmp_path / "templates.txt"),
    ]
    assert fit(folder, *words) == 0
    manifest = open_newest("numbers/mini")[1]
    assert manifest.class_names == ("digit one", "digit two", "digit zero")
    assert manifest.templates == ("a {}", "the number {}")


def test_dry_run_says_the_plan_and_writes_nothing(
    folder: Path, evp_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(folder, "--dry-run") == 0
    err = capsys.readouterr().err
    assert "plan: " in err and "images: " in err
    assert not (evp_home / "registry").exists() and not (evp_home / "runs").exists()
    assert fit(folder, "--dry-run", "--device", "gpu") == 2
    assert fit(folder, "--dry-run", "--precision", "bfloat16", "--device", "cpu") == 2


def test_configuration_lies_behind_environment_and_flags(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[fit]\nseed = 5\nborder = 7\nlr = '3'\n")
    monkeypatch.setenv("EVP_FIT_BORDER", "6")
    assert fit(folder, "--config", str(config), "--lr", "2") == 0
    settings = open_newest("numbers/mini")[1].settings
    found = {n: (settings[n].value, settings[n].source) for n in ("seed", "border_px", "lr")}
    assert found == {"seed": (5, "config"), "border_px": (6, "environment"), "lr": (2.0, "flag")}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--label-map", "frequency"], 2, "needs no label map"),
        (["--canvas", "96"], 2, "takes one canvas only"),
        (["--border", "32"], 2, "does not fit"),
        (["--template", "no place"], 2, "template"),
        (["--weights", "nothing.safetensors"], 4, "no such weights file"),
        (["--lr", "auto", "--protocol", "paper"], 2, "cannot be searched on test"),
        (["-b", TIMM, "--weights", "nothing", "--canvas", "32"], 4, "no such weights file"),
        (["-b", TIMM, "--weights", "model", "--canvas", "8"], 2, "canvas cannot be"),
        (["-b", TIMM, "--weights", "model", "--border", "32"], 2, "canvas of 64 px"),
        (["-b", "timm/resnet18", "--weights", "model"], 5, "another architecture"),
        (["-b", TIMM, "--weights", "model", "--residual", "--label-map", "linear"], 2, "residual"),
    ],
)
def test_a_dry_run_finds_what_needs_neither_model_nor_pictures(
    words: list[str],
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path / "model")
    for more in (["--dry-run"], []):
        assert main(["fit", "-d", "digits", *words, *more]) == code
        out, err = capsys.readouterr()
        assert out == "" and said in err.splitlines()[-1]
        assert "plan: " not in err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["-d", "digts"], 4, "did you mean digits"),
        (["-d", "../no-such-folder"], 4, "no-such-folder"),
        (["-d", "digits", "-b", "minni"], 4, "did you mean mini"),
        (["-d", "pets", "-b", "ViT-B/32", "--offline"], 6, "evp backbones download ViT-B/32"),
        (["-d", "digits", "--tag", "../x"], 2, "cannot name a tag"),
        (["-d", "digits", "--tag", "v3"], 2, "taken"),
        (["-d", "digits", "-o", "../x"], 2, ".pt"),
        (["-d", "digits", "-o", "no/such/folder/p.pt"], 2, "folder that exists"),
        (["-d", "digits", "--lr", "-1"], 2, "--lr"),
        (["-d", "digits", "--lr", "much"], 2, "--lr"),
        (["-d", "digits", "--epochs", "0"], 2, "epochs"),
        (["-d", "digits", "--border", "32"], 2, "does not fit"),
        (["-d", "digits", "--val-fraction", "1"], 2, "--val-fraction"),
        (["-d", "digits", "--template", "no place"], 2, "template"),
        (["-d", "digits", "--classnames", "nothing.txt"], 4, "nothing.txt"),
        (["-d", "digits", "--device", "quantum"], 2, "device"),
        (["-d", "digits", "--device", "cuda:99"], 2, "not usable"),
        (["-d", "digits", "--weights", "nothing.pt"], 4, "weights"),
        (["-d", "digits", "--epochs", "10001"], 2, "--epochs"),
        (["-d", "digits", "--seed", "99999999999999999999"], 2, "--seed"),
        (["-d", "digits", "--batch-size", "10000000"], 2, "--batch-size"),
        (["-d", "digits", "--max-time", "nan"], 2, "--max-time"),
        (["-d", "digits", "--lr", "inf"], 2, "--lr"),
        (["-d", "digits", "-o", "a" * 300 + ".pt"], 2, "too long"),
        (["-d", "digits", "--config", "a" * 300], 2, "configuration"),
        (["-d", "digits", "--weights", "a" * 300], 4, "weights"),
        (["--resume", "nothing"], 4, "no such run"),
        (["--resume", "last"], 4, "no unfinished run"),
        (["--resume", "../x"], 2, "cannot name a run"),
        (["--resume", "last", "--dry-run"], 2, "--dry-run"),
        (["--resume", "last", "--batch-size", "3"], 2, "--batch-size"),
        ([], 2, "no dataset"),
        (["--no-such-option"], 2, "No such option"),
        (["-d", "digits", "--config", "nothing.toml"], 2, "configuration"),
        (["-d", "digits", "--label-map", "frequency"], 2, "needs no label map"),
        (["-d", "digits", "--label-map", "magic"], 2, "--label-map"),
        (["-d", "digits", "--gradient-norm", "none"], 2, "add --lr"),
        (["-d", "digits", "--gradient-norm", "none", "--lr", "auto"], 2, "add --lr"),
        (["-d", "digits", "--gradient-norm", "l1", "--method", "vp"], 2, "--gradient-norm belongs"),
        (["-d", "digits", "--norm-area", "border", "--method", "vp"], 2, "--norm-area belongs"),
        (["-d", "digits", "--project", "--method", "vp"], 2, "--project belongs"),
        (["-d", "digits", "--canvas", "96"], 2, "canvas"),
        (["-d", "digits", "--canvas", "5000"], 2, "canvas"),
        (["-d", "digits", "--canvas", "2"], 2, "--canvas"),
        (["-d", "digits", "--fraction", "0"], 2, "--fraction"),
        (["-d", "digits", "--fraction", "1.5"], 2, "--fraction"),
        (["-d", "digits", "--fraction", "nan"], 2, "--fraction"),
        (["-d", "digits", "--shots", "0"], 2, "--shots"),
        (["-d", "digits", "--shots", "100000"], 2, "too few training pictures"),
        (["-d", "digits", "--best-of", "0"], 2, "--best-of"),
        (["-d", "digits", "--best-of", "5"], 2, "--descriptions, and there are none"),
        (["-d", "digits", "--init", "ones"], 2, "--init"),
        (["-d", "digits", "--augment", "much"], 2, "--augment"),
        (["-d", "digits", "--descriptions", "nothing.json"], 4, "nothing.json"),
        (["-d", "digits", "--templates", "clip9"], 4, "clip9"),
        (["--resume", "last", "--method", "vp"], 2, "--method"),
        (["--resume", "last", "-b", "mini"], 2, "--backbone"),
        (["--resume", "last", "--from", "digits/mini"], 2, "--from"),
        (["-d", "digits", "--from", "digits/mini:v7"], 4, "no such prompt"),
        (["-d", "digits", "--from", "nothing.pt"], 4, "nothing.pt"),
        (["-d", "digits", "--from", "digits"], 2, "does not address a prompt"),
    ],
)
def test_what_cannot_be_is_said_on_one_line(
    words: list[str], code: int, said: str, evp_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *words]) == code
    out, err = capsys.readouterr()
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert out == "" and len(errors) == 1 and said in errors[0]
    assert "Traceback" not in err
    assert not list(evp_home.glob("registry/entries/*")) and not list(evp_home.glob("runs/*"))


def test_an_unknown_key_in_the_configuration_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[fit]\nepoch = 5\n")
    assert main(["fit", "-d", "digits", "--config", str(config)]) == 2
    assert "did you mean epochs?" in capsys.readouterr().err.lower()


def read_settings(folder: Path, *words: str) -> dict[str, tuple[object, str]]:
    """Each setting of a one-epoch fit with these options, and where it came from."""
    assert fit(folder, "--epochs", "1", *words) == 0
    settings = open_newest("numbers/mini")[1].settings
    return {name: (record.value, record.source) for name, record in settings.items()}


def test_vp_takes_its_own_rate_start_and_no_augmentation(folder: Path) -> None:
    found = read_settings(folder, "--method", "vp", "--flip")
    assert found["method"] == ("vp", "flag")
    assert found["lr"] == (40.0, "method")
    assert found["init"] == ("normal", "method")
    assert found["augment"] == ("none", "method")
    assert found["flip"] == (False, "flag")  # nothing is mirrored without augmentation
    found = read_settings(folder, "--method", "vp", "--lr", "3", "--init", "zeros")
    assert (found["lr"], found["init"]) == ((3.0, "flag"), ("zeros", "flag"))


@pytest.mark.parametrize("norm", ["l1", "linf"])
def test_a_rate_that_nobody_gave_is_brought_into_the_norm(folder: Path, norm: str) -> None:
    n = 3 * 64**2
    factor = math.sqrt(2 * n / math.pi) if norm == "l1" else math.sqrt(2 * math.log(n) / n)
    found = read_settings(folder, "--gradient-norm", norm)
    assert found["norm"] == (norm, "flag")
    assert found["lr"] == (pytest.approx(10 * factor), "catalog")
    assert read_settings(folder, "--gradient-norm", norm, "--lr", "2")["lr"] == (2.0, "flag")


def test_the_ablations_options_reach_the_run(folder: Path) -> None:
    words = ["--gradient-norm", "none", "--lr", "3", "--norm-area", "border", "--init", "normal"]
    found = read_settings(folder, *words, "--augment", "trivial", "--residual")
    assert found["norm"] == ("none", "flag")
    assert found["norm_area"] == ("border", "flag")
    assert found["init"] == ("normal", "flag")
    assert found["augment"] == ("trivial", "flag")
    assert found["residual"] == (True, "flag")
    manifest = open_newest("numbers/mini")[1]
    assert manifest.label_map.kind == "none" and manifest.label_map.residual
    assert {m.what for m in manifest.metrics} == {"zero-shot", "blank", "prompted"}


def test_trivial_augmentation_changes_what_is_learned(folder: Path) -> None:
    losses = []
    for augment in ("evp", "trivial", "trivial"):
        read_settings(folder, "--augment", augment)
        losses.append(open_newest("numbers/mini")[1].history[0].train_loss)
    assert losses[0] != losses[1] == losses[2]


def test_shots_and_fraction_leave_test_whole(folder: Path) -> None:
    assert fit(folder, "--shots", "2") == 0
    manifest = open_newest("numbers/mini")[1]
    assert manifest.dataset.sizes == {"train": 6, "val": 3, "test": 6}
    assert "2 of each class" in manifest.dataset.split_rule
    assert fit(folder, "--fraction", "0.5") == 0
    sizes = open_newest("numbers/mini")[1].dataset.sizes
    assert (sizes["train"], sizes["test"]) == (12, 6)  # of 7 in each class, 3.5 are 4


@pytest.mark.parametrize(("name", "count"), [("clip7", 7), ("clip80", 80)])
def test_the_clip_papers_templates_go_by_name(folder: Path, name: str, count: int) -> None:
    assert fit(folder, "--templates", name, "--epochs", "1") == 0
    templates = open_newest("numbers/mini")[1].templates
    assert len(set(templates)) == count
    assert all(text.count("{}") == 1 for text in templates)
    assert "itap of a {}." in templates


def test_descriptions_stand_in_place_of_templates(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "d.json"
    file.write_text('{"Zero": ["a ring", "an egg"], "one": ["a stick"], "two": ["a swan"]}')
    assert fit(folder, "--descriptions", str(file), "--best-of", "2") == 0
    described = open_newest("numbers/mini")[1].descriptions
    assert described.sentences == (("a stick",), ("a swan",), ("a ring", "an egg"))
    assert described.best_of == 2


def test_fits_that_cannot_be_are_refused_before_training(
    folder: Path, tmp_path: Path, evp_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some, broken = tmp_path / "some.json", tmp_path / "broken.json"
    some.write_text('{"zero": ["a ring"]}')
    broken.write_text('{"zero": "a ring"')
    model = make_folder(tmp_path / "model", classes=2)
    source = ["-b", TIMM, "--weights", str(model), "--canvas", "32"]
    cases = [
        (["--descriptions", str(some)], "lack 2 of 3 classes"),
        (["--descriptions", str(broken)], "JSON"),
        (["--descriptions", str(some), "--template", "a {}"], "--template has no effect"),
        (["--descriptions", str(some), "--templates", "clip7"], "--templates has no effect"),
        (["--shots", "8"], "too few training pictures"),
        (source, "as many source classes"),
        ([*source, "--label-map", "linear"], "as many source classes"),
    ]
    for words, said in cases:
        assert fit(folder, *words) == 2
        out, err = capsys.readouterr()
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        assert out == "" and len(errors) == 1 and said in errors[0]
        assert not list(evp_home.glob("runs/*"))
    assert fit(folder, *source, "--label-map", "bayesian") == 0  # a matrix needs no such number


def test_photos_never_land_on_the_toy_model_unsaid(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "-d", str(folder), "--dry-run"]) == 2
    err = capsys.readouterr().err
    assert "no backbone was named" in err
    assert "-b ViT-B/32 downloads 605 MB" in err
    assert main(["fit", "-d", "pets", "--dry-run"]) == 2
    assert main(["fit", "-d", str(folder), "-b", "mini", "--dry-run"]) == 0
    assert "warning: mini is a toy" in capsys.readouterr().err


@pytest.mark.parametrize("dataset", ["digits", "mnist", "svhn"])
def test_digits_take_the_packaged_model(dataset: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "-d", dataset, "--dry-run", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["backbone"] == "mini"
    assert "toy" not in err


def test_models_on_this_machine_are_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "evpcli.commands.backbone_choice._is_here", lambda entry: entry.name == "ViT-B/16"
    )
    assert main(["fit", "-d", str(folder)]) == 2
    assert "on this machine: -b ViT-B/16" in capsys.readouterr().err


def stop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the next publication fail, after training, as on a disk that is full."""
    from evpcli.domain.errors import StorageError
    from evpcli.engine.prompts.registry import registry

    def refuse(*args: object, **kwargs: object) -> None:
        raise StorageError("full")

    monkeypatch.setattr(registry.Registry, "publish", refuse)


def test_a_resumed_run_keeps_its_tag_and_output(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "kept.pt"
    with monkeypatch.context() as patch:
        stop_once(patch)
        assert fit(folder, "--tag", "kept", "-o", str(output)) == 8
    assert not output.exists()
    (run,) = (Path(find_registry()).parent / "runs").iterdir()
    assert main(["fit", "--resume", run.name]) == 0
    pixels, _ = open_newest("numbers/mini:kept")
    assert torch.equal(read_prompt_file(output).pixels, pixels)


def test_a_resumed_run_never_replaces_a_file_that_came_meanwhile(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "kept.pt"
    with monkeypatch.context() as patch:
        stop_once(patch)
        assert fit(folder, "-o", str(output)) == 8
    output.write_bytes(b"mine")
    (run,) = (Path(find_registry()).parent / "runs").iterdir()
    assert main(["fit", "--resume", run.name]) == 2
    assert "evp export numbers/mini:v1 -o FILE" in capsys.readouterr().err
    assert output.read_bytes() == b"mine"
    assert open_newest("numbers/mini:v1")


def test_a_fit_starts_from_a_prompt_and_takes_what_that_fixes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(folder, "--border", "7", "--tag", "first") == 0
    still = ["--lr", "1e-30", "--epochs", "1"]
    words = ["fit", "-d", str(folder), *still]  # neither backbone nor border
    assert main([*words, "--from", "numbers/mini:first"]) == 0
    err = capsys.readouterr().err
    assert "border 7 of 64 px" in err and ", starting from numbers/mini:v1;" in err
    (pixels, parent), (again, manifest) = (open_newest(f"numbers/mini:v{n}") for n in (1, 2))
    assert torch.equal(pixels, again)
    record = manifest.settings["border_px"]
    assert (record.value, record.source) == (7, "parent")
    assert main(["export", "numbers/mini:v1", "-o", str(tmp_path / "p.pt")]) == 0
    assert main([*words, "--from", str(tmp_path / "p.pt")]) == 0
    assert open_newest("numbers/mini:v3")[1].parents == manifest.parents != parent.parents


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--border", "8"], 5, "prompt: 9 px, this fit: 8 px; use --border 9"),
        (["--method", "vp"], 5, "another method: prompt: evp, this fit: vp"),
        (["-b", "ViT-B/32"], 5, "another backbone: prompt: mini, this fit: ViT-B/32"),
        (["--init", "normal"], 2, "--from and --init"),
    ],
)
def test_a_prompt_that_does_not_fit_is_refused_before_anything_is_loaded(
    folder: Path, words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(folder) == 0
    for more in (["--dry-run"], []):
        start = ["fit", "-d", str(folder), "--from", "numbers/mini", *words, *more]
        assert main(start) == code
        assert said in capsys.readouterr().err.splitlines()[-1]


def test_a_finished_run_is_extended_and_its_tag_and_file_stay(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "first.pt"
    assert fit(folder, "--tag", "first", "-o", str(output)) == 0
    before = output.read_bytes()
    assert main(["fit", "--resume", "last", "--epochs", "3"]) == 0
    err = capsys.readouterr().err
    assert "goes on to 3" in err and "saved numbers/mini:v2" in err
    assert output.read_bytes() == before
    assert len(open_newest("numbers/mini:first")[1].history) == 2
    more = ["--tag", "more", "-o", str(tmp_path / "more.pt")]
    assert main(["fit", "--resume", "last", "--epochs", "4", *more]) == 0
    assert len(open_newest("numbers/mini:more")[1].history) == 4
    assert len(read_prompt_file(tmp_path / "more.pt").manifest.history) == 4


def test_a_stopped_extension_keeps_its_tag_and_output(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fit(folder) == 0
    output = tmp_path / "kept.pt"
    with monkeypatch.context() as patch:
        stop_once(patch)
        words = ["--epochs", "3", "--tag", "kept", "-o", str(output)]
        assert main(["fit", "--resume", "last", *words]) == 8
    assert main(["fit", "--resume", "last"]) == 0
    assert len(open_newest("numbers/mini:kept")[1].history) == 3 and output.exists()


def test_only_a_flag_extends_a_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(folder) == 0
    (run,) = (Path(find_registry()).parent / "runs").iterdir()
    monkeypatch.setenv("EVP_FIT_EPOCHS", "9")
    assert main(["fit", "--resume", run.name]) == 2
    assert "extend it with --epochs N, more than 2" in capsys.readouterr().err
    assert main(["fit", "--resume", run.name, "--epochs", "2"]) == 2
    assert "ask for more than 2" in capsys.readouterr().err


def test_the_name_of_an_own_dataset_will_do_afterwards(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "-d", "flowers", *QUICK, "--dry-run"]) == 4
    assert fit(folder, "--name", "flowers") == 0
    assert main(["fit", "-d", "flowers", *QUICK]) == 0
    assert f"plan: flowers ({folder}) -> mini" in capsys.readouterr().err
    assert open_newest("flowers/mini:v2")[1].dataset.fingerprint
    assert main(["evaluate", "flowers/mini", "-d", "flowers"]) == 0
    assert "are not the pictures" not in capsys.readouterr().err
    assert main(["datasets", "show", "flowers", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "flowers"
    assert main(["datasets", "list", "--json"]) == 0
    own = json.loads(capsys.readouterr().out)[-1]
    assert own == {"name": "flowers", "state": "own folder", "folder": str(folder)}
    folder.rename(tmp_path / "moved")
    for words in (["fit", "-d", "flowers", *QUICK], ["evaluate", "flowers/mini"]):
        assert main(words) == 4
        assert "-d FOLDER" in capsys.readouterr().err
    assert main(["datasets", "list"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split("\t")[5] == "moved"
    assert main(["fit", "-d", str(tmp_path / "moved"), "--name", "flowers", *QUICK]) == 0
    assert main(["evaluate", "flowers/mini:v1"]) == 0


def test_a_prompt_finds_its_pictures_when_its_run_is_gone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(folder) == 0
    remembered = Path(find_registry()).parent / "folders"
    for path in remembered.iterdir():  # as for a run from before there were any
        path.unlink()
    assert main(["runs", "rm", "--finished", "--yes"]) == 0
    assert main(["evaluate", "numbers/mini"]) == 0
    assert "are not the pictures" not in capsys.readouterr().err


def test_a_folder_that_cannot_be_remembered_ends_no_fit(
    folder: Path, evp_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evp_home.mkdir()
    (evp_home / "folders").touch()
    assert fit(folder) == 0
    assert "warning: the folder of numbers is not remembered" in capsys.readouterr().err
