"""Rewrites the groups of the ImageNet classes, for the audit's table by group, from the hypernyms of WordNet 3.0.

    sudo apt install wordnet-base
    python scripts/wordnet_groups.py --noun /usr/share/wordnet/data.noun

A class belongs to the first group of GROUPS that is among its hypernyms, and to `other` if none is. A wnid is the
letter n with the offset of the class's synset in data.noun.
"""

import argparse
from pathlib import Path
from typing import Final

from timm.data import ImageNetInfo

from inr_xai.config import exit_status
from inr_xai.errors import UserError
from inr_xai.runs.files import format_csv, write_bytes

GROUPS: Final = {
    "dogs": "n02084071",
    "birds": "n01503061",
    "reptiles and amphibians": "n01661091 n01627424",
    "fish": "n02512053",
    "insects and other invertebrates": "n01905661",
    "other mammals": "n01861778",
    "vehicles": "n03125870 n04524313 n04019101",
    "musical instruments": "n03800933",
    "clothing": "n03051540 n03380867 n03501614 n02756098",
    "food, plants and fungi": "n00021265 n07555863 n07705931 n00017222 n13134947 n07707451 n12992868",
    "furniture": "n03405725",
    "containers": "n03094503",
    "structures": "n04341686",
    "landscapes": "n09287968",
    "sports equipment": "n04285146 n02778669",
    "tools, devices and appliances": "n03183080 n03563967 n03563460 n03294048 n03257877",
}
"""Group -> wnids of the synsets that it holds, the narrower groups first."""
REMEDY = "install WordNet 3.0 (sudo apt install wordnet-base), or give its file: --noun FILE"
HYPERNYM = ("@", "@i")
"""Pointer symbols of a hypernym, and of the class of an instance."""
FILE = Path(__file__).resolve().parents[1] / "inr_xai" / "audit" / "wordnet_groups.csv"


def main() -> int:
    """Writes the groups, prints their sizes, and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--noun", type=Path, default=Path("/usr/share/wordnet/data.noun"), help="WordNet's data.noun (%(default)s)"
    )
    parser.add_argument("--out", type=Path, default=FILE, help="the file to write")
    arguments = parser.parse_args()
    return exit_status(lambda: write_groups(arguments.noun, arguments.out))


def write_groups(noun: Path, out: Path) -> int:
    """Writes the group of each class, and returns 0, the number of failures."""
    hypernyms = read_hypernyms(noun)
    wnids = ImageNetInfo().label_names()
    if unknown := [wnid for wnid in wnids if wnid not in hypernyms]:
        raise UserError(f"{noun} has no synset {unknown[0]} of ImageNet; {REMEDY}")
    rows = [{"wnid": wnid, "group": group_of(wnid, hypernyms)} for wnid in wnids]
    write_bytes(out, format_csv(rows, ["wnid", "group"]).encode())
    for group in [*GROUPS, "other"]:
        print(f"{group}: {sum(row['group'] == group for row in rows)}")
    return 0


def read_hypernyms(file: Path) -> dict[str, list[str]]:
    """Returns the immediate hypernyms of each synset, by wnid. Raises UserError if the file is not WordNet's."""
    try:
        lines = [line for line in file.read_text().splitlines() if not line.startswith("  ")]  # without the licence
        return dict(parse_synset(line) for line in lines)
    except FileNotFoundError as error:
        raise UserError(f"WordNet's {file} does not exist; {REMEDY}") from error
    except (OSError, ValueError, IndexError) as error:
        raise UserError(f"{file} cannot be read as WordNet's data.noun ({error}); {REMEDY}") from error


def parse_synset(line: str) -> tuple[str, list[str]]:
    """Returns the wnid of a line's synset and those of its immediate hypernyms (wndb(5WN) describes the lines)."""
    fields = line.split(" | ")[0].split()
    words = int(fields[3], 16)
    pointers = fields[5 + 2 * words :][: 4 * int(fields[4 + 2 * words])]
    quads = zip(*[iter(pointers)] * 4, strict=True)
    return f"n{fields[0]}", [f"n{offset}" for symbol, offset, _, _ in quads if symbol in HYPERNYM]


def group_of(wnid: str, hypernyms: dict[str, list[str]]) -> str:
    """Returns the first group that holds the class or one of its direct or indirect hypernyms."""
    ancestors, waiting = set(), [wnid]
    while waiting:
        synset = waiting.pop()
        if synset not in ancestors:
            ancestors.add(synset)
            waiting += hypernyms[synset]
    return next((group for group, roots in GROUPS.items() if ancestors & set(roots.split())), "other")


if __name__ == "__main__":
    raise SystemExit(main())
