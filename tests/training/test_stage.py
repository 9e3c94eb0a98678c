"""The ledger: a stage is done when its key is equal, and nothing of another key is mixed in."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from imagenets.core.lock import hold
from imagenets.errors import BusyError, CorruptError, MissingError, TrainingError, UsageError
from imagenets.training import stage as stages
from imagenets.training.ledger import changes
from imagenets.training.run import Run
from imagenets.training.stage import Stage, Stages


@dataclass(frozen=True)
class Config:
    seed: int = 0
    batch: int = 4
    numbers: tuple[int, ...] = (1, 2)

    def to_json(self) -> dict[str, Any]:
        return {"seed": self.seed, "batch": self.batch, "numbers": self.numbers}


@dataclass
class FakeData:
    digest: str


@dataclass(frozen=True)
class FakeRun(Run[Config]):
    """A run whose data is a digest; `ran` notes which stages worked."""

    digests: dict[str, str] = field(default_factory=lambda: {"train": "a"})
    ran: list[str] = field(default_factory=list)

    def dataset(self, split: str, masks: bool = False) -> Any:
        return FakeData(self.digests[split])


def left(folder: Path) -> str | None:
    path = folder / "result.txt"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def made(name: str, *needs: str, version: int = 1, settings: tuple[str, ...] = ()) -> Stage:
    def work(run: Any) -> Mapping[str, float]:
        run.ran.append(name)
        parts = [(run.out / need / "result.txt").read_text() for need in needs]
        values = [run.config.to_json()[one] for one in settings]
        text = f"{name}{version}{run.digests['train']}{values}({','.join(parts)})"
        (run.folder(name) / "result.txt").write_text(text)
        return {"length": len(text)}

    return Stage(
        name, lambda config: needs, settings, lambda config: ("train",), version, work, left
    )


FIRST = made("first", settings=("numbers",))
SECOND = made("second", "first")
THIRD = made("third", "second", settings=("batch",))
REGISTRY = {name: f"{__name__}:{name.upper()}" for name in ("first", "second", "third")}


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    return FakeRun(tmp_path, "3", tmp_path / "run", Config(), torch.device("cpu"))


def work(run: FakeRun, *names: str) -> list[str]:
    """Runs stages as a new process would; returns which of them worked."""
    run.ran.clear()
    Stages(REGISTRY, run).run(names or list(REGISTRY))
    return list(run.ran)


def test_a_finished_run_has_nothing_to_do(run: FakeRun) -> None:
    assert work(run) == ["first", "second", "third"]
    assert work(run) == []
    ledger = json.loads((run.out / "ledger.json").read_text())
    assert ledger["first"]["reports"] == {"length": len((run.out / "first/result.txt").read_text())}
    assert Stages(REGISTRY, run).is_done("third")


def test_other_data_makes_everything_anew_in_a_clean_place(
    run: FakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    work(run)
    (run.out / "first" / "more.txt").write_text("of the data before")
    run.digests["train"] = "b"
    assert not Stages(REGISTRY, run).is_done("first")
    assert work(run) == ["first", "second", "third"]
    assert "other than before: data.train" in caplog.text
    assert not (run.out / "first" / "more.txt").exists()
    assert (run.out / "replaced" / "first-1" / "more.txt").exists()
    assert "b[" in (run.out / "third" / "result.txt").read_text()


def test_a_lost_result_is_made_anew_and_what_it_changes_with_it(run: FakeRun) -> None:
    work(run)
    (run.out / "first" / "result.txt").unlink()
    assert work(run) == ["first"]  # the same again: nothing that reads it has changed
    (run.out / "second" / "result.txt").write_text("something else")
    assert work(run) == ["second"]
    (run.out / "first" / "result.txt").unlink()
    with pytest.raises(MissingError, match=r"first: its files are missing.*Run the step 'first'"):
        work(run, "second")


def test_changed_files_are_set_aside_and_never_taken_for_the_result(
    run: FakeRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def resumes(run: Any) -> Mapping[str, float]:
        """Goes on from what lies there, as training does."""
        path = run.folder("first") / "result.txt"
        if not path.is_file():
            path.write_text("its own")
        return {}

    monkeypatch.setattr(sys.modules[__name__], "FIRST", replace(FIRST, run=resumes))
    work(run)
    (run.out / "first" / "result.txt").write_text("of another run")
    assert work(run) == []  # made again, the same: nothing that reads it has changed
    assert (run.out / "first" / "result.txt").read_text() == "its own"
    assert (run.out / "replaced" / "first-1" / "result.txt").read_text() == "of another run"
    assert "first: made anew, since other than before: its files were changed" in caplog.text


def test_a_stage_on_results_of_other_data_is_refused(run: FakeRun) -> None:
    work(run)
    run.digests["train"] = "b"
    with pytest.raises(MissingError, match=r"second was made with another|first was made"):
        work(run, "third")


def test_another_version_of_the_code_counts(
    run: FakeRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    work(run)
    monkeypatch.setattr(sys.modules[__name__], "SECOND", made("second", "first", version=2))
    assert work(run) == ["second", "third"]
    assert "second: made anew, since other than before: code" in caplog.text


def test_an_interrupted_stage_goes_on_in_its_place(
    run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(run: Any) -> Mapping[str, float]:
        (run.folder("first") / "half.txt").write_text("half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[__name__], "FIRST", replace(FIRST, run=interrupted))
        with pytest.raises(KeyboardInterrupt):
            work(run)
    assert work(run)[0] == "first"
    assert (run.out / "first" / "half.txt").exists()


def test_other_settings_are_refused_once_something_is_kept(run: FakeRun) -> None:
    run.out.mkdir()
    failing = {"first": "no.such.module:STAGE"}
    with pytest.raises(ModuleNotFoundError):
        Stages(failing, run).run(["first"])
    other = replace(run, config=Config(batch=8))
    assert work(other, "first") == ["first"]  # nothing was kept before: any settings will do
    with pytest.raises(UsageError, match=r"other settings \(batch\)"):
        work(run)


def test_files_of_unknown_origin_are_set_aside(run: FakeRun) -> None:
    run.folder("first").joinpath("result.txt").write_text("from somewhere")
    assert work(run, "first") == ["first"]
    aside = run.out / "replaced" / "first-1" / "result.txt"
    assert aside.read_text() == "from somewhere"


def test_stages_out_of_order_name_what_is_missing(run: FakeRun) -> None:
    with pytest.raises(MissingError, match="second: not finished"):
        work(run, "third")
    with pytest.raises(UsageError, match="no step paint: choose among first, second, third"):
        work(run, "paint")


def test_a_broken_ledger_is_named(run: FakeRun) -> None:
    work(run)
    (run.out / "ledger.json").write_text("{")
    with pytest.raises(CorruptError, match=r"ledger\.json.*Delete it"):
        work(run)


def test_one_run_at_a_time_and_a_killed_one_lets_go(run: FakeRun) -> None:
    code = (
        "import sys, time; from pathlib import Path; from imagenets.core.lock import hold\n"
        f"with hold(Path({str(run.out / '.lock')!r}), 'x'):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    call = [sys.executable, "-c", code]
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BusyError, match=f"process {other.pid}"):
            work(run)
        other.kill()
    assert work(run) == ["first", "second", "third"]


def test_too_little_memory_names_the_batch(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(run: Any) -> Mapping[str, float]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nMore")

    monkeypatch.setattr(f"{__name__}.SECOND", replace(SECOND, run=full))
    with pytest.raises(TrainingError, match=r"batches of 4 images .*9 GiB.*--batch-size"):
        work(run)
    monkeypatch.undo()
    assert work(run) == ["second", "third"]


def test_ranks_of_one_run_share_its_lock(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    with hold(run.out / ".lock", "x"):
        monkeypatch.setattr("imagenets.core.lock.rank", lambda: 1)
        assert work(run, "first") == ["first"]


def test_changes_are_named_by_their_path() -> None:
    before = {"code": 1, "settings": {"batch": 4, "seed": 0}, "data": {"train": "a"}}
    now = {"code": 1, "settings": {"batch": 8, "seed": 0}, "data": {"train": "a", "test": "b"}}
    assert changes(before, now) == ["data.test", "settings.batch"]
    assert changes(now, now) == []
    assert stages.REPLACED == "replaced"
