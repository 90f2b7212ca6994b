"""The registry's verbs: list, rm, tag, export, import and verify."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evpcli.commands.exchange import (
    check_addressable,
    choose_format,
    name_file,
)
from evpcli.commands.options.completion import complete_prompts
from evpcli.commands.options.shared import JsonOption, PromptArgument
from evpcli.commands.output import terminal
from evpcli.commands.output.prompt_rows import (
    LIST_HEADERS,
    SHORT_HEADERS,
    describe_entry,
    describe_finding,
    make_row,
    make_short_row,
    state_problem,
)
from evpcli.commands.removal import find_doomed, forget_tag, parse_registry_ref
from evpcli.commands.stdout_file import check_stdout, is_stdout
from evpcli.commands.text_files import read_class_names
from evpcli.domain.counts import say_count
from evpcli.domain.errors import DamagedError, StorageError, UsageError
from evpcli.domain.manifest import Manifest
from evpcli.domain.names import check_name, check_tag
from evpcli.domain.reference import FileRef, parse_prompt_ref
from evpcli.engine.files.paths import expand_path, find_registry
from evpcli.engine.prompts.registry.record import Entry
from evpcli.engine.prompts.registry.registry import Registry
from evpcli.engine.prompts.registry.survey import Finding

if TYPE_CHECKING:
    from evpcli.engine.prompts.exporters import Exported
    from evpcli.engine.prompts.importers.foreign_names import ImportNames

_Refs = Annotated[
    list[str],
    typer.Argument(
        metavar="REF...",
        help="DATASET/BACKBONE:vN, :TAG or a digest prefix.",
        autocompletion=complete_prompts,
    ),
]


def list_prompts(as_json: JsonOption = False) -> None:
    """List the prompts in the registry with what they reached."""
    registry = _open_registry()
    survey = registry.survey()
    entries, faults = survey.entries, [*survey.faults, *_find_tag_faults(registry)]
    tags = {entry.ref: _read_tags(registry, entry) for entry in entries}
    if as_json:
        prompts = [describe_entry(entry, tags[entry.ref]) for entry in entries]
        terminal.show_json({"prompts": prompts, "damaged": [describe_finding(f) for f in faults]})
    elif entries:
        live = terminal.is_live(sys.stdout)
        headers, make = (SHORT_HEADERS, make_short_row) if live else (LIST_HEADERS, make_row)
        terminal.show_rows(
            headers,
            [make(e, tags[e.ref]) for e in entries],
            drops=("created", "digest", "no prompt", "selection", "tags"),
            paths=("tags",),
            wraps=("test",),
        )
    elif not faults:
        terminal.note("no prompts yet: make one with evp fit -d digits -b mini")
    for finding in faults:
        problem = finding.problem if finding.ref else state_problem(finding)
        terminal.warn(f"{finding.ref or finding.path}: {problem}; see evp verify")
    _refuse_unreadable(faults)


def _find_tag_faults(registry: Registry) -> list[Finding]:
    """What is wrong with the tags; a folder that cannot be read is one of the faults."""
    try:
        return [finding for finding in registry.survey_tags() if finding.is_fault]
    except StorageError as error:
        return [Finding("unreadable", registry.layout.tags, error.summary)]


def _read_tags(registry: Registry, entry: Entry) -> tuple[str, ...]:
    """A version's tags; none where they cannot be read, which is told beside the list."""
    try:
        return registry.tags_of(entry.key, entry.version)
    except StorageError:
        return ()


def remove_prompt(
    refs: _Refs,
    all_versions: Annotated[
        bool, typer.Option("--all-versions", help="Take a key without a version as all of them.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove versions of prompts from the registry."""
    registry = _open_registry()
    doomed = [found for text in refs for found in find_doomed(registry, text, all_versions)]
    doomed = list(dict.fromkeys(doomed))
    tags = {str(each): registry.tags_of(each.key, each.version) for each in doomed}
    told = ", ".join(f"{name} (tags: {', '.join(t)})" if t else name for name, t in tags.items())
    if not yes and not terminal.confirm(f"Remove {told}?"):
        if terminal.can_ask():
            terminal.note("nothing was removed")
            return
        raise UsageError("nothing was removed", found=told, hint="add --yes to do it")
    removed = {}
    for each in doomed:
        name = str(each)
        removed[name] = gone = registry.remove(each.key, each.version, each.named)
        if not as_json:
            terminal.show_text(f"removed {terminal.printable(name)}")
        if gone and not as_json:
            terminal.note(f"gone with {name}: tag{'s' * (len(gone) > 1)} {', '.join(gone)}")
    if as_json:
        terminal.show_json({"removed": list(removed), "tags": removed})


def tag_prompt(
    ref: PromptArgument,
    name: Annotated[str, typer.Argument(help="The tag: A-Z a-z 0-9 . _ - and no version number.")],
    delete: Annotated[bool, typer.Option("--delete", help="Forget the tag.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Give a version a name of its own, or move the name to it."""
    registry, tag = _open_registry(), check_tag(name)
    if delete:
        key = forget_tag(registry, parse_registry_ref(ref), tag)
        if as_json:
            terminal.show_json({"forgotten": f"{key}:{tag}"})
        else:
            terminal.show_text(terminal.printable(f"forgot {key}:{tag}"))
        return
    entry = registry.find(parse_registry_ref(ref))
    registry.tag(entry, tag)
    tags = registry.tags_of(entry.key, entry.version)
    if as_json:
        terminal.show_json(describe_entry(entry, tags))
    else:
        terminal.show_text(f"{entry.ref}\t{','.join(tags)}")


def export_prompt(
    ref: PromptArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to; named for the prompt if left out. - is stdout.",
        ),
    ] = None,
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="pt, safetensors, npz, png (8 bits, cut to [0, 1]) or reference (.pth); "
            "as --output ends, else pt.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a prompt to a file of its own."""
    on_stdout = is_stdout(output)
    if on_stdout:
        check_stdout(taken_by="--json" if as_json else None)
    chosen = choose_format(None if on_stdout else output, format_name)
    from evpcli.engine.files.durable import write_result
    from evpcli.engine.prompts.opening import open_prompt
    from evpcli.engine.rendering.output_names import check_replaceable

    registry, parsed = _open_registry(), parse_prompt_ref(ref)
    version = None if isinstance(parsed, FileRef) else registry.find(parsed).version
    prompt = open_prompt(ref, registry)
    from evpcli.engine.prompts.exporters import export_prompt as export

    exported = export(prompt, chosen)
    if on_stdout:
        terminal.write_bytes(exported.data)
        _warn_of_loss(exported, prompt.manifest, chosen)
        return
    path = expand_path(output) if output else Path(name_file(prompt.manifest, chosen, version))
    check_replaceable([path], force)
    write_result(path, exported.data)
    _warn_of_loss(exported, prompt.manifest, chosen)
    if as_json:
        terminal.show_json(
            {
                "path": str(path),
                "format": chosen,
                "clipped_share": exported.lost_share,
                "importable": exported.importable,
            }
        )
    else:
        terminal.show_text(terminal.printable(str(path)))


def import_prompt(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A prompt file or a checkpoint.")],
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="What a checkpoint was learned on.")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option("--backbone", "-b", help="What a checkpoint was learned for.")
    ] = None,
    classnames: Annotated[
        Path | None, typer.Option("--classnames", help="Its class names, one a line.")
    ] = None,
    tag: Annotated[str | None, typer.Option("--tag", help="A name for the new version.")] = None,
    as_json: JsonOption = False,
) -> None:
    """File a prompt from elsewhere: a file of evp, or a checkpoint of another project."""
    tag = check_tag(tag) if tag else None
    from evpcli.engine.files.regular_file import MAX_PROMPT_BYTES, read_regular_file
    from evpcli.engine.prompts.importers.prompt_layouts import OWN_LAYOUT
    from evpcli.engine.prompts.importers.prompt_layouts import import_prompt as load
    from evpcli.engine.prompts.model_weights import explained_weights

    names = _gather_names(file, dataset, backbone, classnames)
    with explained_weights(file):
        data = read_regular_file(file, MAX_PROMPT_BYTES, follow=True)
        imported = load(data, names)
    manifest = imported.prompt.manifest
    check_addressable(manifest)
    if imported.layout != OWN_LAYOUT:
        terminal.note(f"layout: {imported.layout}")
    for note in imported.notes:
        terminal.note(note)
    registry = _open_registry()
    filed = registry.file_once(imported.data, manifest)
    entry = filed.entry
    if not filed.is_new:
        terminal.note(f"this prompt is in the registry already, as {entry.ref}")
    if tag:
        registry.tag(entry, tag)
    if as_json:
        terminal.show_json(describe_entry(entry, registry.tags_of(entry.key, entry.version)))
    else:
        terminal.show_text(str(entry.ref))
    if not manifest.class_names:
        terminal.note(
            "its class names are unknown, and evp apply --predict needs them: "
            "import it again with --classnames FILE, one name a line in label order"
        )


def _gather_names(
    file: Path, dataset: str | None, backbone: str | None, classnames: Path | None
) -> ImportNames | None:
    """What the user tells about a checkpoint; nothing where no option is given."""
    from evpcli.engine.prompts.importers.foreign_names import ImportNames

    if not (dataset or backbone or classnames):
        return None
    if not (dataset and backbone):
        raise UsageError("a checkpoint needs both names", hint="add --dataset and --backbone")
    classes = read_class_names(classnames) if classnames else ()
    return ImportNames(check_name(dataset, "dataset"), backbone, classes, file.name[:200])


def verify_prompts(as_json: JsonOption = False) -> None:
    """Read every byte of the registry again and tell what is damaged."""
    registry = _open_registry()
    findings = registry.verify()
    at_fault = {finding.path.name for finding in findings if finding.is_fault}
    versions = sum(entry.digest not in at_fault for entry in _list_readable(registry))
    if as_json:
        terminal.show_json(
            {"versions": versions, "findings": [describe_finding(f) for f in findings]}
        )
    elif findings:
        rows = [(f.level, f.ref, state_problem(f), f.path) for f in findings]
        terminal.show_rows(
            ("level", "prompt", "problem", "path"),
            rows,
            drops=("level",),
            paths=("prompt", "path"),
            wraps=("problem",),
        )
    damaged = [finding for finding in findings if finding.level == "damaged"]
    if as_json and not any(finding.level == "unreadable" for finding in findings):
        raise typer.Exit(DamagedError.exit_code if damaged else 0)  # all is in the document
    _refuse_unreadable(findings)
    if damaged:
        raise DamagedError(
            f"damaged: {len(damaged)}, sound versions: {versions}",
            hint="evp rm removes a damaged version; a sound prompt file can be imported again",
        )
    terminal.note(f"sound versions: {versions}, nothing damaged")


def _list_readable(registry: Registry) -> list[Entry]:
    """The sound versions; none where the folder of all versions cannot be read."""
    try:
        return registry.entries()
    except StorageError:
        return []


def _open_registry() -> Registry:
    return Registry(find_registry(), on_wait=terminal.note)


def _refuse_unreadable(findings: Sequence[Finding]) -> None:
    """End with the storage error's code where something could not be read and may be sound."""
    unreadable = [finding for finding in findings if finding.level == "unreadable"]
    if unreadable:
        count = say_count(len(unreadable), "file or folder", "files or folders")
        raise StorageError(
            f"not everything could be read: {count}",
            found=unreadable[0].problem,
            hint="check the disk, and the owner and mode of the registry's files",
        )


def _warn_of_loss(exported: Exported, manifest: Manifest, format_name: str) -> None:
    """Say on stderr what the file cannot hold, and that there is no way back from it."""
    if exported.lost_share:
        share = f"{100 * exported.lost_share:.1f} %"
        terminal.warn(f"{share} of the border's values lie outside [0, 1] and were cut")
    if format_name == "reference" and not exported.importable:
        terminal.warn(
            f"this file can never be imported again: its layout is for OpenAI's CLIP models, not "
            f"for {manifest.backbone.name}; --format pt keeps everything"
        )
