"""
The mutation score of `art_levelset/core`: small changes are made to its code, and its tests must notice them.

    pip install 'mutmut>=3.8'
    python tools/mutation.py                    # all mutants: hours
    python tools/mutation.py --sample 600       # a random part of each module, the interval is printed
    python tools/mutation.py --report           # what is known so far, survivors with their differences

Mutmut makes the mutants (folder `mutants/`), finds the tests of each by what they call, and runs them in forks of a
process that has torch and the tests in memory, until one fails or the processor time is up. `[tool.mutmut]` of
pyproject.toml says what is mutated and tested. Texts are left out, for they are messages; annotations and decorated
functions too, by mutmut itself. What is known is kept: a second call goes on, and tries survivors again.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CAUGHT = frozenset({"killed", "timeout", "segfault", "suspicious"})
MISSED = frozenset({"survived", "no tests"})


@dataclass(frozen=True)
class Module:
    """
    The mutants of a module, by name and by what became of them.

    :param name: Its name, without the package.
    :param ends: What mutmut calls the end of each mutant, "not checked" where it was not tried.
    """

    name: str
    ends: dict[str, str]

    def count(self, kinds: frozenset[str]) -> int:
        """
        Mutants that ended so.

        :param kinds: Names of ends.
        :return: Their number.
        """
        return sum(end in kinds for end in self.ends.values())

    @property
    def tried(self) -> int:
        """
        Mutants whose end is known.

        :return: Their number.
        """
        return self.count(CAUGHT | MISSED)


def sample(modules: Sequence[Module], size: int, seed: int) -> list[str]:
    """
    Mutants drawn at random, from each module in proportion to what it has.

    Those of a smaller sample with the same seed are among those of a larger one.

    :param modules: All.
    :param size: The number, about.
    :param seed: Of the draw.
    :return: Their names.
    """
    total = sum(len(module.ends) for module in modules)
    drawn: list[str] = []
    for module in modules:
        names = sorted(module.ends)
        random.Random(f"{seed} {module.name}").shuffle(names)
        drawn += names[: max(1, round(size * len(names) / total)) if names else 0]
    return drawn


def score(modules: Sequence[Module]) -> tuple[float, float]:
    """
    The part of all mutants that is caught, from those that were tried.

    :param modules: All; each counts by the number of its mutants.
    :return: The score, and half of its interval of 95%, both in [0, 1].
    """
    total = sum(len(module.ends) for module in modules if module.tried)
    mean = variance = 0.0
    for module in modules:
        if module.tried:
            part, weight = module.count(CAUGHT) / module.tried, len(module.ends) / total
            unknown = 1 - module.tried / len(module.ends)  # nothing is uncertain where all were tried
            mean += weight * part
            variance += weight**2 * part * (1 - part) * unknown / max(module.tried - 1, 1)
    return mean, 1.96 * math.sqrt(variance)


def table(modules: Sequence[Module]) -> str:
    """
    The figures in Markdown.

    :param modules: All.
    :return: A table and a line.
    """
    lines = ["| module | mutants | tried | caught | score |", "|---|---|---|---|---|"]
    for module in modules:
        if module.tried:
            caught = module.count(CAUGHT)
            lines.append(
                f"| `{module.name}` | {len(module.ends)} | {module.tried} | {caught} | {caught / module.tried:.0%} |"
            )
    mean, half = score(modules)
    tried = [module for module in modules if module.tried]
    mutants, count = sum(len(module.ends) for module in tried), sum(module.tried for module in tried)
    lines.append(f"| all | {mutants} | {count} | {sum(module.count(CAUGHT) for module in tried)} | {mean:.1%} |")
    return "\n".join([*lines, "", f"Score {mean:.1%}, 95% interval ±{half:.1%}"])


def known() -> list[Module]:
    """
    What the folder `mutants` tells.

    :return: The modules.
    """
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.stats import status_by_exit_code
    from mutmut.utils.file_utils import walk_mutatable_files

    modules = []
    for path in sorted(walk_mutatable_files()):
        data = SourceFileMutationData(path=path)
        data.load()
        ends = {name: status_by_exit_code[code] for name, code in data.exit_code_by_key.items()}
        modules.append(Module(path.stem, ends))
    return modules


def without_texts() -> None:
    """Let mutmut leave texts as they are."""
    from mutmut.mutation import mutators

    kept = [entry for entry in mutators.mutation_operators if entry[1] is not mutators.operator_string]
    mutators.mutation_operators[:] = kept  # type: ignore[index]


def generate() -> None:
    """Make the mutants, without trying any."""
    from mutmut import __main__ as mutmut
    from mutmut.mutation.trampoline import set_mutant_under_test
    from mutmut.utils.file_utils import copy_also_copy_files, copy_src_dir

    set_mutant_under_test("mutant_generation")
    Path("mutants").mkdir(exist_ok=True)
    copy_src_dir()
    copy_also_copy_files()
    mutmut.create_mutants(1)


def main(argv: list[str] | None = None) -> None:
    """Make mutants, try them and report."""
    parser = argparse.ArgumentParser(description="The mutation score of the core.")
    parser.add_argument("--sample", type=int, help="mutants to try (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--modules", nargs="+", help="only those of these modules, such as balls")
    parser.add_argument("--report", action="store_true", help="try none")
    arguments = parser.parse_args(argv)
    os.chdir(Path(__file__).resolve().parent.parent)
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        from mutmut import __main__ as mutmut
        from mutmut.mutation.diff_apply import get_diff_for_mutant
    except ImportError as error:
        sys.exit(f"{error}: pip install 'mutmut>=3.8'")
    without_texts()
    if not arguments.report:
        generate()
        modules = [module for module in known() if not arguments.modules or module.name in arguments.modules]
        names = sample(modules, arguments.sample or sum(len(module.ends) for module in modules), arguments.seed)
        ends = {name: end for module in modules for name, end in module.ends.items()}
        names = [name for name in names if ends[name] in MISSED | {"not checked"}]
        if names:
            mutmut.cli.main(["run", "--max-children", "1", *names], standalone_mode=False)
    modules = [module for module in known() if not arguments.modules or module.name in arguments.modules]
    for module in modules:
        for name, end in module.ends.items():
            if end in MISSED:
                print(f"{name}: {end}\n{get_diff_for_mutant(name)}\n")
    print(table(modules))


if __name__ == "__main__":
    main()
