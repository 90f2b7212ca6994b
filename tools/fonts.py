"""Name the freely licensed Debian fonts from which the training glyphs are drawn."""

from dataclasses import dataclass
from pathlib import Path

FONTS_ROOT = Path("/usr/share/fonts")


class MissingFontsError(Exception):
    """A font that the recipe names is not installed."""


@dataclass(frozen=True)
class FontPackage:
    """One Debian package and the faces used from it.

    Attributes:
        package: Debian package name.
        version: Version that the packaged weights were trained with (Debian 12).
        licence: Licence of the font files, as the package's copyright file states it.
        folder: Folder of the files under `FONTS_ROOT`.
        files: File names of the faces.
    """

    package: str
    version: str
    licence: str
    folder: str
    files: tuple[str, ...]

    @property
    def paths(self) -> list[Path]:
        """Where the faces are installed."""
        return [FONTS_ROOT / self.folder / name for name in self.files]


def _package(
    package: str, version: str, licence: str, folder: str, stem: str, faces: str
) -> FontPackage:
    suffix = ".otf" if folder.startswith("opentype") or stem == "Inconsolata" else ".ttf"
    files = tuple(f"{stem}{face}{suffix}" for face in faces.split("|"))
    return FontPackage(package, version, licence, folder, files)


_VERA = "Bitstream Vera"
_PURISA = "GPL-2+ with font exception"

TRAINING_FONTS: tuple[FontPackage, ...] = (
    _package(
        "fonts-dejavu-core",
        "2.37-6",
        _VERA,
        "truetype/dejavu",
        "DejaVu",
        "Sans|Sans-Bold|SansMono|Serif|Serif-Bold",
    ),
    _package(
        "fonts-liberation2",
        "2.1.5-1",
        "OFL-1.1",
        "truetype/liberation2",
        "Liberation",
        "Sans-Regular|Sans-Italic|Serif-Regular|Serif-BoldItalic|Mono-Regular",
    ),
    _package(
        "fonts-lato", "2.0-2.1", "OFL-1.1", "truetype/lato", "Lato-", "Light|Regular|Italic|Black"
    ),
    _package(
        "fonts-open-sans",
        "1.11-2",
        "Apache-2.0",
        "truetype/open-sans",
        "OpenSans-",
        "Light|Regular|BoldItalic|CondBold",
    ),
    _package(
        "fonts-comic-neue",
        "2.51-4",
        "OFL-1.1",
        "opentype/comic-neue",
        "ComicNeue-",
        "Light|Regular|Bold|Italic|BoldItalic",
    ),
    _package(
        "fonts-inconsolata", "001.010-6", "OFL-1.0", "truetype/inconsolata", "Inconsolata", ""
    ),
    _package(
        "fonts-cantarell",
        "0.303.1-1",
        "OFL-1.1",
        "opentype/cantarell",
        "Cantarell-",
        "Light|Regular|Bold",
    ),
    _package(
        "fonts-quicksand",
        "0.2016-2.1",
        "OFL-1.1",
        "truetype/quicksand",
        "Quicksand-",
        "Light|Regular|Bold",
    ),
    _package("fonts-dosis", "1.7-3", "OFL-1.1", "opentype/dosis", "Dosis-", "Light|Medium|Bold"),
    _package("fonts-jura", "5.103-3", "OFL-1.1", "opentype/jura", "Jura-", "Light|Regular|Bold"),
    _package(
        "fonts-play", "1.002+20150307.1-0.1", "OFL-1.1", "truetype/play", "Play-", "Regular|Bold"
    ),
    _package(
        "fonts-firacode", "6.2-2", "OFL-1.1", "truetype/firacode", "FiraCode-", "Light|Regular|Bold"
    ),
    _package(
        "fonts-hack",
        "3.003-3",
        "MIT and Bitstream Vera",
        "truetype/hack",
        "Hack-",
        "Regular|Italic|Bold",
    ),
    _package(
        "fonts-go", "0~20170330-1", "BSD-3-Clause", "fonts-go", "Go-", "Regular|Italic|Bold|Mono"
    ),
    _package(
        "fonts-tlwg-purisa-ttf",
        "1:0.7.3-1",
        _PURISA,
        "truetype/tlwg",
        "Purisa",
        "|-Bold|-Oblique|-BoldOblique",
    ),
    _package(
        "fonts-sil-andika",
        "6.101-2",
        "OFL-1.1",
        "truetype/andika",
        "Andika-",
        "Regular|Bold|Italic|BoldItalic",
    ),
    _package(
        "fonts-sil-gentium-basic",
        "1.102-1.1",
        "OFL-1.1",
        "truetype/gentium-basic",
        "GenBas",
        "R|I|B",
    ),
    _package(
        "fonts-crosextra-carlito",
        "20220224-1",
        "OFL-1.1",
        "truetype/crosextra",
        "Carlito-",
        "Regular|BoldItalic",
    ),
    _package(
        "fonts-crosextra-caladea",
        "20200211-1",
        "OFL-1.1",
        "truetype/crosextra",
        "Caladea-",
        "Regular|Italic|Bold",
    ),
    _package(
        "fonts-opendyslexic",
        "20160623-4",
        "CC-BY-3.0 and Bitstream Vera",
        "opentype/opendyslexic",
        "OpenDyslexic",
        "-Regular|-Bold|-Italic|Alta-Regular",
    ),
    _package(
        "fonts-yanone-kaffeesatz",
        "2.0+git20211102+ds-1",
        "OFL-1.1",
        "opentype/yanone-kaffeesatz",
        "YanoneKaffeesatz-",
        "Light|Regular|Bold",
    ),
    _package(
        "fonts-averia-sans-gwf",
        "1.00-2.1",
        "OFL-1.1",
        "truetype/averia-gwf",
        "AveriaSansGWF-",
        "Light|Regular|BoldItalic",
    ),
    _package(
        "fonts-vollkorn", "4.105-2", "OFL-1.1", "truetype/vollkorn", "Vollkorn-", "Regular|Bold"
    ),
    _package(
        "fonts-routed-gothic",
        "1.0.0+git20210723.e22ee83+dfsg-2",
        "OFL-1.1",
        "truetype/routed-gothic",
        "routed-gothic",
        "|-italic|-narrow|-wide",
    ),
    _package(
        "fonts-b612",
        "1.008-3",
        "OFL-1.1, EPL-2.0 and EDL-1.0",
        "opentype/b612",
        "B612",
        "-Regular|-BoldItalic|Mono-Regular",
    ),
)

HELD_OUT_FONTS: tuple[FontPackage, ...] = (
    _package("fonts-cabin", "1.5-3", "OFL-1.1", "opentype/cabin", "Cabin-", "Regular|Bold|Italic"),
    _package(
        "fonts-comfortaa",
        "3.001-3",
        "OFL-1.1",
        "truetype/comfortaa",
        "Comfortaa-",
        "Light|Regular|Bold",
    ),
    _package(
        "fonts-courier-prime",
        "0+git20190115-3",
        "OFL-1.1",
        "opentype/courier-prime",
        "Courier Prime",
        "| Bold Italic",
    ),
    _package("fonts-monofur", "1.0-3", "OFL-1.1", "truetype/monofur", "monof", "55|56"),
    _package(
        "fonts-oxygen",
        "4:5.4.3-4",
        "OFL-1.1 or GPL-3+ with font exception",
        "truetype/oxygen",
        "Oxygen-Sans",
        "|-Bold",
    ),
)


def find_faces(packages: tuple[FontPackage, ...]) -> list[Path]:
    """Every face of the packages, in the order of the lists above.

    Raises:
        MissingFontsError: a face is not installed.
    """
    missing = [
        package.package for package in packages if not all(path.is_file() for path in package.paths)
    ]
    if missing:
        raise MissingFontsError(
            f"fonts are missing; install them with: apt-get install {' '.join(missing)}"
        )
    return [path for package in packages for path in package.paths]
