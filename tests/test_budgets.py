"""docs/errors.md gives the limits that the code has."""

from __future__ import annotations

import re
from pathlib import Path

from evpcli.commands import text_files
from evpcli.commands.options import config_files as configuration
from evpcli.domain.geometry import FrameGeometry
from evpcli.domain.manifest import MAX_CLASSES
from evpcli.engine.backbones import file_kinds
from evpcli.engine.backbones.canvas_size import MAX_CANVAS_PX
from evpcli.engine.files import archives
from evpcli.engine.files.regular_file import MAX_PROMPT_BYTES
from evpcli.engine.guard import pickle_rules
from evpcli.engine.images import image_limits, jpeg_scans
from evpcli.engine.prompts import manifest_json
from evpcli.engine.prompts.label_map import MAX_MAP_VALUES

PAGE = Path(__file__).parents[1] / "docs" / "errors.md"
ARCHIVE = archives.ArchiveLimits()
IN_ORDER = [
    [image_limits.MAX_PIXELS],
    [image_limits.MAX_SIDE_PX],
    [image_limits.MAX_DECODED_BYTES],
    [image_limits.MAX_FILE_BYTES],
    [jpeg_scans.MAX_SCANS],
    [jpeg_scans.MAX_SCAN_MEGAPIXELS],
    [MAX_PROMPT_BYTES],
    [pickle_rules.STRICT.max_entries],
    [pickle_rules.STRICT.max_pickle_bytes],
    [pickle_rules.STRICT.max_opcodes, pickle_rules.PLAIN.max_opcodes],
    [pickle_rules._MAX_NESTING],
    [pickle_rules._MAX_CHARACTERS],
    [file_kinds.MAX_TORCH_BYTES],
    [pickle_rules.MODEL.max_entries],
    [pickle_rules.MODEL.max_pickle_bytes],
    [pickle_rules.MODEL.max_opcodes],
    [manifest_json.MAX_JSON_BYTES],
    [manifest_json.MAX_JSON_VALUES],
    [MAX_CANVAS_PX],
    [MAX_CLASSES],
    [MAX_MAP_VALUES],
    [ARCHIVE.files],
    [ARCHIVE.total_bytes],
    [ARCHIVE.ratio],
    [ARCHIVE.depth],
    [archives.LARGEST_HEADER],
    [archives.HEADER_CREDIT, archives.HEADER_BYTES_A_MEMBER],
    [archives.LONGEST_NUMBER],
    [text_files._MAX_BYTES],
    [configuration._MAX_BYTES],
]


def test_the_page_gives_the_limits_of_the_code() -> None:
    table = PAGE.read_text().partition("## Budgets")[2]
    cells = re.findall(r"\| ([0-9][0-9,]*(?: and [0-9,]+)?) \|$", table, re.MULTILINE)
    told = [[int(part.replace(",", "")) for part in cell.split(" and ")] for cell in cells]
    assert told == IN_ORDER
    assert f"the first {ARCHIVE.ratio_from:,}" in table


def test_a_canvas_of_the_limit_is_a_geometry() -> None:
    assert FrameGeometry(canvas_px=MAX_CANVAS_PX, border_px=1).canvas_px == MAX_CANVAS_PX
