"""Every package that an installation brings along, with its licence.

``python tests/licences.py`` lists what pyproject.toml declares and all that follows from it, as
installed here.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
NAMES = {
    "Apache Software License": "Apache-2.0", "Apache": "Apache-2.0", "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0", "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0", "Apache-2": "Apache-2.0",
    "MIT License": "MIT", "The MIT License (MIT)": "MIT", "MIT license": "MIT",
    "BSD License": "BSD", "BSD-3-Clause License": "BSD-3-Clause", "BSD 3-Clause": "BSD-3-Clause",
    "BSD 3-Clause License": "BSD-3-Clause", "New BSD": "BSD-3-Clause",
    "Python Software Foundation License": "PSF-2.0", "PSFL": "PSF-2.0",
    "ISC License (ISCL)": "ISC", "ISC License": "ISC", "The Unlicense (Unlicense)": "Unlicense",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0", "Dual License": "Apache-2.0 OR BSD",
}  # fmt: skip
"""How packages spell their licences, and the usual short name."""

PERMISSIVE = re.compile(
    r"^(Apache|MIT|0?BSD|ISC|PSF|Python|CNRI-Python|Unlicense|Zlib|CC0|BSL-1|HPND|MPL-2|NCSA|Unicode)"
)
"""Licences that ask for no more than a notice (MPL: than changes of its own files)."""


def key(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> list[str]:
    """Names of what the project itself asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [key(Requirement(line).name) for line in project["dependencies"]]


def closure(names: list[str]) -> Iterator[metadata.Distribution]:
    """Those packages and all that they need here, each once."""
    waiting, seen = list(names), set()
    while waiting:
        name = key(waiting.pop(0))
        if name in seen:
            continue
        seen.add(name)
        found = metadata.distribution(name)
        yield found
        for line in found.requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)


def licence(distribution: metadata.Distribution) -> str:
    """Short name of a package's licence: its expression, else its classifier, else its words."""
    told = distribution.metadata
    if told["License-Expression"]:
        return str(told["License-Expression"])
    named = [c.rpartition(" :: ")[2] for c in told.get_all("Classifier") or []
             if c.startswith("License ::") and c.count("::") > 1]  # fmt: skip
    words = named[0] if named else (told["License"] or "").strip().partition("\n")[0]
    return NAMES.get(words, words) or "unknown"


def is_permissive(text: str) -> bool:
    """Whether every part of an expression is; of alternatives one is enough."""
    parts = re.split(r"\s+AND\s+", text.replace("(", "").replace(")", ""))
    return all(any(PERMISSIVE.match(o) for o in re.split(r"\s+OR\s+", p)) for p in parts)


def rows() -> list[tuple[str, str, str, bool]]:
    """Name, version, licence, and whether the project asks for it itself."""
    own = set(declared())
    found = [(key(d.metadata["Name"]), d.version, licence(d)) for d in closure(sorted(own))]
    return [(n, v, text, n in own) for n, v, text in sorted(found)]


def main() -> int:
    """Print them all; 1 when one is not permissive."""
    listed = rows()
    for name, version, text, own in listed:
        print(f"{'*' if own else ' '} {name:<28}{version:<16}{text}")
    odd = [name for name, _, text, _ in listed if not is_permissive(text)]
    print(f"{len(listed)} packages, * asked for by the project; not permissive: {odd or 'none'}")
    return int(bool(odd))


if __name__ == "__main__":
    sys.exit(main())
