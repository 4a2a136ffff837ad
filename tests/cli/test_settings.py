"""A run's options as a file: what is written is read as it was, and the command line wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from art_levelset.cli.settings import as_yaml, options_of, read_settings, with_settings

SCALARS = st.one_of(
    st.booleans(), st.integers(-9, 9), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8)
)


@given(settings=st.dictionaries(st.from_regex(r"[a-z]{2,8}(-[a-z]{2,5})?", fullmatch=True), SCALARS, max_size=5))
def test_what_is_written_is_what_is_read(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("settings") / "run.yaml"
    path.write_text(as_yaml(settings, "a run"), encoding="utf-8")
    if any(value is not False for value in settings.values()):
        assert options_of(read_settings(path)) == options_of(settings)


def test_the_files_options_come_first(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("eps: 8/255\nbf16: true\nepochs: [1, 2]\ncsv:\n")
    typed = ["--eps", "8/255", "--bf16", "--epochs", "1", "2"]
    assert with_settings(["train", "--lr", "1", "--config", str(path), "-q"]) == ["train", *typed, "--lr", "1", "-q"]
    assert with_settings(["train", f"--config={path}"]) == ["train", *typed]
    assert with_settings(["train", "--lr", "1"]) == ["train", "--lr", "1"]


@pytest.mark.parametrize("typed", [["--optimizer", "sgd"], ["--optimizer=sgd"]])
def test_another_optimizer_wants_a_learning_rate_of_its_own(tmp_path: Path, typed: list[str]) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("optimizer: adam\nlr: 0.005\n")
    line = ["train", "--config", str(path), *typed]
    with pytest.raises(ValueError, match=r"^--optimizer: the learning rate in .*run.yaml is not for it; give --lr"):
        with_settings(line)
    assert with_settings([*line, "--lr", "0.1"])[-2:] == ["--lr", "0.1"]
    assert with_settings(["train", "--config", str(path), "--optimizer", "adam"])[-1] == "adam"
    path.write_text("optimizer: adam\n")
    assert with_settings(line)[-1].endswith("sgd")


@pytest.mark.parametrize(
    ("content", "typed", "message"),
    [
        (
            "trainer: levelset",
            ["--preset", "mnist"],
            "--preset: .*run.yaml has the settings of no preset, not of mnist: ",
        ),
        ("preset: cifar10", ["--preset=mnist"], "--preset: .* the settings of the preset cifar10, not of mnist: "),
        (
            "trainer: trades",
            ["--trainer", "mma"],
            "--trainer: .* the settings of the trainer trades, not of mma: leave ",
        ),
    ],
)
def test_the_settings_of_another_preset_or_trainer(
    tmp_path: Path, content: str, typed: list[str], message: str
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"{content}\neps: 0.15\n")
    with pytest.raises(ValueError, match=f"^{message}"):
        with_settings(["train", "--config", str(path), *typed])


@pytest.mark.parametrize(
    ("content", "typed"),
    [
        ("preset: mnist\ntrainer: levelset", ["--preset", "mnist", "--trainer=levelset"]),
        ("preset: paper-mnist", ["--trainer", "geometric-svm"]),
        ("eps: 0.15", ["--preset", "mnist", "--trainer", "levelset"]),
        ("trainer: trades", ["--preset"]),
    ],
)
def test_settings_that_go_with_the_preset_and_the_trainer(tmp_path: Path, content: str, typed: list[str]) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(content)
    assert with_settings(["train", "--config", str(path), *typed])[-len(typed) :] == typed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- lr", "must be a mapping of options to values"),
        (b"3: 4", "must be a mapping of options to values"),
        (b"", "must be a mapping of options to values"),
        (b"config: other.yaml", "must not name another file by --config: put the options into one file"),
        (b"lr: [1", "is no YAML file"),
        (b"\xff\xfe\x00", "is no YAML file"),
        (b"lr: !!python/object/apply:os.getcwd []", "is no YAML file"),
        (b"[" * 100_000, "is no YAML file"),
    ],
)
def test_what_is_no_file_of_options(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^--config: .*{message}"):
        read_settings(path)


@pytest.mark.parametrize("typed", [["--config=other.yaml"], ["--config", "other.yaml"], ["--config"]])
def test_several_files_are_refused(tmp_path: Path, typed: list[str]) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("lr: 0.005\n")
    with pytest.raises(ValueError, match="^--config must be given once, got it 2 times: put the options into one"):
        with_settings(["train", "--config", str(path), *typed])


def test_a_file_that_is_not_named_is_for_the_parser_to_refuse() -> None:
    assert with_settings(["train", "--config"]) == ["train", "--config"]


def test_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^--config: .*none.yaml: No such file"):
        with_settings(["train", "--config", str(tmp_path / "none.yaml")])
