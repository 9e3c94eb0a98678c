"""`--print-completion`: a shell that runs what it prints completes verbs and options."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from imagenets.cli.baseline import main as baseline
from imagenets.cli.evaluate import main as evaluate
from imagenets.cli.main import VERBS, main
from imagenets.cli.prepare import main as prepare

DOORS = {
    "imagenets": main,
    "imagenets-prepare": prepare,
    "imagenets-baseline": baseline,
    "imagenets-evaluate": evaluate,
}

COMPLETE = """source "$1"; shift
call=$(complete -p "$1" | sed 's/.*-F \\([^ ]*\\).*/\\1/')
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
"$call" "$1" "${!#}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def printed(
    door: Callable[[list[str]], int], shell: str, capsys: pytest.CaptureFixture[str]
) -> str:
    with pytest.raises(SystemExit) as end:
        door(["--print-completion", shell])
    assert end.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", DOORS)
def test_without_shtab_it_says_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(SystemExit) as end:
        DOORS[name](["--print-completion", "bash"])
    assert end.value.code == 1
    assert "pip install 'imagenets[completion]'" in capsys.readouterr().err


@pytest.mark.extras
def test_bash_completes_verbs_and_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("shtab")

    def completed(*words: str) -> set[str]:
        script = tmp_path / "completion"
        script.write_text(printed(DOORS[words[0]], "bash", capsys))
        call = ["bash", "-c", COMPLETE, "bash", str(script), *words]
        done = subprocess.run(call, capture_output=True, text=True, check=True, cwd=tmp_path)
        return set(done.stdout.split())

    (tmp_path / "set-of-mine").mkdir()
    assert set(VERBS) <= completed("imagenets", "")
    assert completed("imagenets", "pre") == {"prepare", "predict"}
    assert completed("imagenets", "train", "--back") == {"--backbone"}
    assert completed("imagenets-baseline", "pr") == {"predict"}
    assert completed("imagenets-prepare", "--annot") == {"--annotations"}
    assert "--gt" in completed("imagenets-evaluate", "--g")
    assert any("set-of-mine" in one for one in completed("imagenets", "info", "--root", "set"))


@pytest.mark.extras
@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_get_every_verb(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    text = printed(main, shell, capsys)
    assert all(verb in text for verb in VERBS)
