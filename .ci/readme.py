"""README as a package index shows it, where links to files of the repository lead nowhere.

A hook of hatchling, for each build. Where the variable XPNET_REPOSITORY has the address of the
repository, as in a release, such links and pictures get it in front; else README stays as it is.
"""

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Readme(MetadataHookInterface):
    """Sets the project's readme."""

    def update(self, metadata: dict[str, Any]) -> None:
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        repository = os.environ.get("XPNET_REPOSITORY")
        if repository:
            text = with_addresses(text, repository, f"v{metadata['version']}")
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def with_addresses(text: str, repository: str, tag: str) -> str:
    """Markdown whose relative links go to the files of a repository on GitHub, at a tag."""
    parts, end, opened = [], 0, []
    for found in re.finditer(r"\[|\]\((?P<path>[^)\s]+)\)|\]", text):
        if found[0] == "[":
            opened.append(found.start())
            continue
        start = opened.pop() if opened else 0
        path = found["path"]
        if path is None or re.match(r"[a-z]+:|#|/", path):
            continue
        kind = "raw" if text[start - 1 : start] == "!" else "blob"
        parts += [text[end : found.start("path")], f"{repository.rstrip('/')}/{kind}/{tag}/"]
        end = found.start("path")
    return "".join([*parts, text[end:]])
