"""Runs tidegate in front of real servers and writes what was seen to docs/servers.md.

    tests/servers/run BINARY [NAME...]

With names only these servers are run, and the page is not written.
"""

import importlib.util
import sys
import time
from pathlib import Path

import page
from process import REPOSITORY

HERE = Path(__file__).resolve().parent
NAMES = ["fastapi", "express", "litellm", "mcp"]


def load(name):
    """The check of a server. Not by import: its folder has the name of the package it checks."""
    spec = importlib.util.spec_from_file_location(f"check_{name}", HERE / name / "check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(binary, names):
    sections = {}
    for name in names or NAMES:
        module = load(name)
        print(f"== {module.TITLE}", flush=True)
        begin = time.monotonic()
        sections[name] = (module, module.run(binary))
        print(f"   {len(sections[name][1].facts)} checks, {time.monotonic() - begin:.0f} s", flush=True)
    if not names:
        (REPOSITORY / "docs" / "servers.md").write_text(page.page(binary, sections))
        print("wrote docs/servers.md")


if __name__ == "__main__":
    main(str(Path(sys.argv[1]).resolve()), sys.argv[2:])
