"""What a release consists of agrees: versions, addresses, Python versions, bounds, workflows, forms and scripts."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import art_levelset

yaml = pytest.importorskip("yaml", reason="comes with pre-commit, of the extra dev")

ROOT = Path(__file__).parent.parent
REPOSITORY = "https://github.com/art-levelset/art-levelset"
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
SCRIPTS = sorted((ROOT / "tools").glob("*.sh"))


def parsed(path: Path) -> dict[Any, Any]:
    contents = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(contents, dict)
    return contents


def test_the_version_is_in_one_place() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", art_levelset.__version__)
    assert 'dynamic = ["version"]' in PYPROJECT
    assert 'path = "art_levelset/__init__.py"' in PYPROJECT
    assert re.findall(r"^version\b", PYPROJECT, flags=re.MULTILINE) == []


def test_the_citation_is_of_this_version() -> None:
    citation = parsed(ROOT / "CITATION.cff")
    assert citation["version"] == art_levelset.__version__
    assert citation["repository-code"] == REPOSITORY
    assert citation["references"][0]["title"] == "Controlling Neural Level Sets"


def test_the_changelog_has_a_section_of_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d{2}-\d{2}))?$", changelog, flags=re.MULTILINE)
    assert sections[0] == ("Unreleased", "")
    assert sections[1][0] == art_levelset.__version__
    assert all(date for name, date in sections[1:])


def test_there_is_one_repository() -> None:
    files = [*ROOT.glob("*.md"), *ROOT.glob("*.cff"), *(ROOT / ".github").rglob("*.*"), ROOT / "pyproject.toml"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    found = set(re.findall(r"https://github\.com/[\w-]+/art-levelset(?![\w-])", text))
    assert found == {REPOSITORY}


def test_the_python_versions_agree() -> None:
    classified = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PYPROJECT)
    assert f'requires-python = ">={classified[0]}"' in PYPROJECT
    jobs = parsed(ROOT / ".github" / "workflows" / "tests.yml")["jobs"]
    assert jobs["python"]["strategy"]["matrix"]["python"] == classified
    kinds = {cell["kind"]: cell["python"] for cell in jobs["environment"]["strategy"]["matrix"]["include"]}
    assert kinds.keys() == {"lowest", "minimal", "newest"}
    assert (kinds["lowest"], kinds["newest"]) == (classified[0], classified[-1])


@pytest.mark.skipif(sys.version_info < (3, 11), reason="reads TOML with Python's own module")
def test_each_requirement_has_a_lower_bound() -> None:
    """Else the oldest versions would be those of twenty years ago, and nobody would know whether they work."""
    import tomllib
    from packaging.requirements import Requirement

    project = tomllib.loads(PYPROJECT)["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    required = [Requirement(line) for lines in lists for line in lines]
    assert len(required) > 20
    bounds = {
        str(each): {part.operator for part in each.specifier} for each in required if each.name != project["name"]
    }
    assert [name for name, operators in bounds.items() if not operators & {">=", "==", "~="}] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_what_there_is(workflow: Path) -> None:
    contents = parsed(workflow)
    assert True in contents, "`on:` says when"  # YAML 1.1 takes the word for a truth value
    assert contents["permissions"] == {"contents": "read"}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for job in contents["jobs"].values():
        assert "runs-on" in job
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            assert re.fullmatch(r"[\w./-]+@[\w./]+", step.get("uses", "actions/checkout@v4"))
            command = step.get("run", "")
            assert "${{ github.event" not in command, "what strangers write is no part of a command"
            for script in re.findall(r"tools/\S+", command):
                assert (ROOT / script).is_file()
            for target in re.findall(r"^make (\w+)$", command, flags=re.MULTILINE):
                assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_a_tag_must_be_the_version() -> None:
    steps = parsed(ROOT / ".github" / "workflows" / "release.yml")["jobs"]["build"]["steps"]
    (command,) = [step["run"] for step in steps if step.get("name") == "The tag is the version"]
    folder = Path(art_levelset.__file__).parents[1]
    for tag, status in [(f"v{art_levelset.__version__}", 0), ("v9.9.9", 1), (art_levelset.__version__[:-1], 1)]:
        done = subprocess.run(["sh", "-c", command], cwd=folder, env={"TAG": tag, "PATH": "/usr/bin:/bin"}, check=False)
        assert done.returncode == status


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_is_one(form: Path) -> None:
    contents = parsed(form)
    assert contents.keys() >= {"name", "description", "body"}
    fields = contents["body"]
    assert {field["type"] for field in fields} <= {"checkboxes", "dropdown", "input", "markdown", "textarea"}
    identifiers = [field["id"] for field in fields if field["type"] != "markdown"]
    assert len(set(identifiers)) == len(identifiers)
    assert all(field["attributes"]["label"] for field in fields)
    assert any(field.get("validations", {}).get("required") for field in fields)


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a POSIX shell")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_one_of_sh(script: Path) -> None:
    source = script.read_text(encoding="utf-8")
    assert source.startswith("#!/bin/sh\n")
    assert "\nset -eu\n" in source
    assert re.findall(r"\[\[|\blocal\b|<<<|\bfunction\b", source) == [], "what sh does not have"
    subprocess.run(["sh", "-n", str(script)], check=True)


def test_the_container_gets_what_its_steps_need() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "*"
    let_in = [line[1:] for line in lines if line.startswith("!")]
    assert [name for name in let_in if not (ROOT / name).exists()] == []
    named = re.findall(r"/src/(\S+)", (ROOT / "Containerfile").read_text(encoding="utf-8"))
    assert named
    assert set(named) <= set(let_in)
    declared = re.findall(r'^(?:readme = |license-files = \[)"(.+?)"', PYPROJECT, flags=re.MULTILINE)
    assert {*declared, "pyproject.toml", "art_levelset"} <= set(let_in)
