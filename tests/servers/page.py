"""docs/servers.md, from what was seen."""

import json
import platform
from datetime import date

from process import PLACE, output

INTRODUCTION = """\
# tidegate in front of real servers

Written by `tests/servers/run BINARY` on {date}: {tidegate}, Python {python}, Node.js {node}, all on one
machine ({machine}) that was busy with other things. A raw client asked each server directly and
through tidegate; every sentence under "seen" is an assertion of the script, which fails if it is not so.

In the traces each line is a chunk: when it arrived, its size, its bytes (`⏎` is LF, `␍` is CR). A line without a time
came in the same read as the one above it.
"""

NOT_RUN = """\
## Not run: llama-cpp-python

`pip install --no-binary llama-cpp-python 'llama-cpp-python[server]==0.3.36'` was tried twice on a busy machine with two
cores, at idle priority (`nice -n 19`), and given up after 15 minutes each time: 15 of 127 objects were compiled with
`-O3`, 44 with `-O0`. Nothing in it failed; there was not time enough. So nothing is known here about that server.
"""


def page(binary, sections):
    about = INTRODUCTION.format(
        date=date.today().isoformat(),
        tidegate=output(binary, "--version").strip(),
        python=platform.python_version(),
        node=output("node", "--version").strip().lstrip("v"),
        machine=f"{platform.machine()}, Linux {platform.release().split('-')[0]}",
    )
    rows = [
        f"| [{section.title}](#{anchor(section.title)}) | {versions(name, module.PACKAGES)} | {section.sends} |"
        for name, (module, section) in sections.items()
    ]
    table = ["| server | packages | what it sends by itself |", "| --- | --- | --- |", *rows, ""]
    parts = [about, "\n".join(table), *(shown(section) for _, section in sections.values())]
    return "\n".join([*parts, NOT_RUN])


def shown(section):
    lines = [f"## {section.title}", "", section.about, ""]
    for caption, text, language in section.blocks:
        lines += [f"{caption}:", "", f"```{language}", text.rstrip("\n"), "```", ""]
    if section.facts:
        several = len({path for paths in section.facts.values() for path in paths if path}) > 1
        lines += ["Seen:", ""]
        for fact, paths in section.facts.items():
            lines.append(f"- {fact} ({', '.join(f'`{path}`' for path in paths)})" if several and paths[0] else f"- {fact}")
        lines.append("")
    return "\n".join(lines)


def anchor(title):
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c == "-")


def versions(name, packages):
    if name == "express":
        files = {package: PLACE / "express/node_modules" / package / "package.json" for package in packages}
        installed = {package: json.loads(file.read_text())["version"] for package, file in files.items()}
    else:
        installed = dict(line.split("==") for line in output(PLACE / name / "bin/pip", "freeze").splitlines())
    return ", ".join(f"{package} {installed[package]}" for package in packages)
