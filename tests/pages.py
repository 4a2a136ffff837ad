"""
Pages whose blocks run: what stands in a Markdown file between fences, what it prints, and what it was said to print.

- `python`: the blocks of a page share one namespace, in their order.
- `diff`: patches the last `python` block in which it fits; the result runs.
- `bash`: `art-levelset`, in this process; `torchrun`, by the nursery; `mkdir -p`. A command with `# exit status N`
  behind it ends so, and its message counts as printed.
- `text`: what the block before has printed. `...` stands for anything, numbers need to be near.

A block below the comment `<!-- not run: REASON -->` does not run. `<!-- within: N -->` above a `text` block says by how
much its numbers may differ.
"""

from __future__ import annotations

import io
import linecache
import re
import shlex
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from art_levelset.cli.main import main

from .nursing import Nursery

ROOT = Path(__file__).parent.parent

FENCED = re.compile(
    r"(?:<!-- (?P<key>not run|within): (?P<value>[^\n]+?) -->\n)?^```(?P<kind>[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S
)
IMAGE = re.compile(r"!\[[^\]]*\]\(([^)]+)\)")
NUMBER = r"-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?%?"
STATUS = re.compile(r"\s+# exit status (\d+)$")

POINTS = 8.0
"""By how many points a percentage may differ: other versions and processors train other networks."""

PART = 0.1
"""By what part other numbers may differ."""


@dataclass(frozen=True)
class Block:
    """
    A fenced block.

    :param kind: What stands behind the fence.
    :param text: The lines between the fences.
    :param line: The number of the first one.
    :param reason: Why it does not run; "" if it does.
    :param within: By how much numbers may differ, if it says so.
    """

    kind: str
    text: str
    line: int
    reason: str = ""
    within: float | None = None


def blocks_of(text: str) -> list[Block]:
    """The fenced blocks of a page, in their order."""
    found = []
    for match in FENCED.finditer(text):
        line = text.count("\n", 0, match.start("text")) + 1
        said = {match["key"]: match["value"]}
        within = float(said["within"]) if "within" in said else None
        found.append(Block(match["kind"].strip(), match["text"], line, said.get("not run", ""), within))
    return found


def images_of(page: Path) -> list[Path]:
    """The pictures that a page shows."""
    return [(page.parent / link).resolve() for link in IMAGE.findall(page.read_text(encoding="utf-8"))]


def run_page(page: Path, nursery: Nursery) -> list[str]:
    """Run the blocks of a page in the current folder; what differs from what the page says is returned."""
    names: dict[str, Any] = {"__name__": "__main__"}
    printed, codes, wrong = "", list[str](), list[str]()
    for block in blocks_of(page.read_text(encoding="utf-8")):
        place = f"{page.name}:{block.line}"
        if block.kind == "text":
            wrong += [f"{place}: {difference}" for difference in differences(block.text, printed, block.within)]
        elif block.reason:
            printed = ""
        elif block.kind in ("python", "diff"):
            codes.append(block.text if block.kind == "python" else patched(codes, block.text))
            printed = run_python(codes[-1], place, names)
        elif block.kind == "bash":
            printed = "".join(run_command(command, nursery) for command in commands_of(block.text))
        else:
            raise ValueError(f"{place}: a block of an unknown kind {block.kind!r}")
    return wrong


def run_python(code: str, place: str, names: dict[str, Any]) -> str:
    """What a block prints."""
    linecache.cache[place] = (len(code), None, code.splitlines(keepends=True), place)
    with redirect_stdout(io.StringIO()) as output:
        exec(compile(code, place, "exec"), names)
    return output.getvalue()


def commands_of(text: str) -> list[str]:
    """The commands of a block, one string each."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def run_command(command: str, nursery: Nursery) -> str:
    """What a command prints; it must end with the exit status that is said, 0 by default."""
    said = STATUS.search(command)
    expected = int(said[1]) if said else 0
    program, *arguments = shlex.split(command, comments=True)
    if program == "mkdir":
        for folder in arguments:
            if folder != "-p":
                Path(folder).mkdir(parents=True, exist_ok=True)
        return ""
    if program == "torchrun":
        done = nursery.torchrun(arguments, Path.cwd())
        assert done.status == expected, done.err
        return done.out
    if program != "art-levelset":
        raise ValueError(f"a command that the tests do not run: {command}")
    with redirect_stdout(io.StringIO()) as output, redirect_stderr(io.StringIO()) as errors:
        try:
            status = main(arguments)
        except SystemExit as stopped:
            status = int(stopped.code or 0)
    assert status == expected, errors.getvalue()
    return output.getvalue() + (errors.getvalue() if expected else "")


def patched(codes: Sequence[str], diff: str) -> str:
    """The last code that a diff fits, after it: hunks are separated by lines with @@, each fits in one place."""
    hunks = []
    for hunk in re.split(r"^@@.*\n", diff, flags=re.M):
        lines = [line or " " for line in hunk.splitlines()]
        before, after = ("".join(f"{line[1:]}\n" for line in lines if line[0] in (" ", sign)) for sign in "-+")
        hunks.append((before, after))
    fitting = [code for code in codes if all(code.count(before) == 1 for before, _ in hunks)]
    if not fitting:
        raise ValueError(f"a diff that fits no block before it:\n{diff}")
    code = fitting[-1]
    for before, after in hunks:
        code = code.replace(before, after)
    return code


def differences(shown: str, printed: str, within: float | None = None) -> list[str]:
    """In what a page's output is not what was printed."""
    pattern = "".join(_pattern(part) for part in re.split(rf"(\s+|\.\.\.|{NUMBER})", shown.strip()))
    match = re.fullmatch(pattern, printed.strip(), flags=re.S)
    if match is None:
        return [f"shown:\n{shown}\nprinted:\n{printed}"]
    pairs = zip(re.findall(NUMBER, shown), match.groups(), strict=True)
    return [f"{one} is shown, {other} printed" for one, other in pairs if not _near(one, other, within)]


def _pattern(part: str) -> str:
    if part == "...":
        return ".*?"
    if part.isspace():
        return r"\s+"
    return f"({NUMBER})" if re.fullmatch(NUMBER, part) else re.escape(part)


def _near(shown: str, printed: str, within: float | None) -> bool:
    one, other = (float(text.replace(",", "").rstrip("%")) for text in (shown, printed))
    if shown.endswith("%") or printed.endswith("%"):
        return shown.endswith("%") == printed.endswith("%") and abs(one - other) <= POINTS
    if shown.isdigit() and one <= 10:
        return one == other
    if within is not None:
        return abs(one - other) <= within
    decimals = len(shown.partition(".")[2]) if "e" not in shown else 0
    return abs(one - other) <= PART * abs(one) + (10.0**-decimals if decimals else 0.0)
