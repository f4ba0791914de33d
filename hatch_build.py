"""Build hook: pack the knowledge base into the wheel, so that an installed advisor never parses YAML to answer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PackKnowledge(BuildHookInterface):
    """Adds `advisor/_data/knowledge.pack`, made from the YAML files by the code that will read it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before a wheel is put together."""
        if version == "editable":  # the files are edited in place: their pack is made at first use
            return
        root = Path(self.root)
        sys.path.insert(0, self.root)
        from advisor.kb import pack
        from advisor.kb.load import build

        target = root / "build" / "knowledge.pack"
        pack.write(target, build(root / "knowledge"))
        build_data["force_include"][str(target)] = "advisor/_data/knowledge.pack"
