"""One tree of verbs: each has its help, the options of all, and errors as exit codes."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from imagenets.cli.baseline import main as baseline
from imagenets.cli.evaluate import main as evaluate
from imagenets.cli.main import VERBS, load, main
from imagenets.cli.prepare import main as prepare

HEAVY = {"torch", "h5py", "scipy", "joblib", "pyarrow", "dask", "numba", "requests"}


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command line prints that exits by itself."""
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_shows_description_defaults_and_two_examples(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(capsys, name, "--help")
    verb = load(name)
    assert verb.name == name
    assert len(verb.examples) >= 2
    for words, what in verb.examples:
        assert f"imagenets {name} {words}" in text
        assert what in text
    assert " ".join(verb.description.split()) in " ".join(text.split())
    for option in ("--version", "--quiet", "--verbose", "--log-file"):
        assert option in text
    assert verb.summary in " ".join(shown(capsys, "--help").split())


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom imagenets.cli.main import main\n"
        "try: main(['train', '--help'])\nexcept SystemExit: pass\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_an_option_that_a_verb_has_not_is_told_with_those_it_has(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words in (
        ["heatmaps", "--maps", "x", "--reprot", "y"],
        ["report", "--root", "x", "--page1"],
    ):
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 2
        said = capsys.readouterr().err
        assert said.startswith(f"usage: imagenets {words[0]} ")
    assert "unrecognized arguments: --page1 (did you mean --page?)" in said
    with pytest.raises(SystemExit):
        prepare(["--imagenett", "y"])
    assert "did you mean --imagenet?" in capsys.readouterr().err


def test_an_unknown_verb_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["trian"])
    assert end.value.code == 2
    assert "Did you mean 'train'?" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 2
    assert "name a verb" in capsys.readouterr().err


@pytest.mark.parametrize("door", [main, prepare, baseline, evaluate])
def test_every_door_tells_its_version(door: object, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        door(["--version"])  # type: ignore[operator]  # each is such a function
    assert end.value.code == 0
    assert capsys.readouterr().out == f"imagenets {version('imagenets')}\n"


def test_doors_and_verbs_are_the_same(tiny_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--root", str(tiny_root), "--json"]
    assert main(["verify", *place]) == 0
    assert prepare(["--verify", *place]) == 0
    by_verb, by_door = capsys.readouterr().out.split("\n}\n", 1)
    assert json.loads(by_verb + "}") == json.loads(by_door)
    assert main(["evaluate", "compare", "a", "b", "--split", "0"]) == 2
    assert main(["baseline", "score", "--root", str(tiny_root / "no")]) == 1


def test_info_shows_sets_and_versions(tiny_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--root", str(tiny_root), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["tier"] for one in found["sets"]] == ["3"]
    assert found["sets"][0]["splits"]["train"] == 24
    assert found["versions"]["imagenets"] == version("imagenets")
    assert main(["info", "--root", str(tiny_root)]) == 0
    text = capsys.readouterr().out
    assert "24 images" in text
    assert "ImageNetS3.shards" in text


def test_info_of_an_empty_folder_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", "--root", str(tmp_path)]) == 0
    assert "nothing is prepared here" in capsys.readouterr().out


def test_a_log_file_gets_everything_and_quiet_shows_warnings_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "all.log"
    call = ["info", "--root", str(tmp_path), "--quiet", "--log-file", str(file)]
    assert main(call) == 0
    logger = logging.getLogger("imagenets.tests")
    logger.info("of interest")
    logger.warning("of importance")
    assert capsys.readouterr().err == "warning: of importance\n"
    assert "INFO imagenets.tests: of interest" in file.read_text()
    assert main([*call[:-1], str(tmp_path / "no" / "all.log")]) == 1
    assert "there is no folder" in capsys.readouterr().err


_TERMINATED = """
import argparse, os, signal
from imagenets.cli.command import execute

def run(_):
    if os.fork() == 0:  # a forked worker ends as any process does, without a word
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == -signal.SIGTERM
    os.kill(os.getpid(), signal.SIGTERM)
    print("not reached")

before = signal.getsignal(signal.SIGTERM)
print(execute(argparse.Namespace(run=run, quiet=False, verbose=False, log_file=None)))
assert signal.getsignal(signal.SIGTERM) is before
"""


def test_sigterm_ends_with_143_and_is_as_before_afterwards() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _TERMINATED], capture_output=True, text=True, check=True
    )
    assert done.stdout == "143\n"
    assert done.stderr == "terminated: run the same command again to continue\n"


def test_what_comes_next_is_what_is_left(
    tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After one stage of six there is nothing to score."""
    words = ["--root", str(tiny_root), "--out", str(tmp_path), "--workers", "0"]
    words += ["--preset", "sample", "--epochs", "0", "--batch-size", "4"]
    assert main(["train", *words, "--stages", "pretrain"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("next: the same command without --stages, for attention, cluster")


def test_prepare_takes_what_its_door_takes(tmp_path: Path) -> None:
    root = str(tmp_path)
    assert main(["prepare", "--sample", "--root", root, "--quiet"]) == 0
    assert main(["prepare", "--verify", "--root", root]) == 0
    assert prepare(["--verify", "--root", root]) == 0
