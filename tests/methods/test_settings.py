"""The settings of a run: a preset, a file, the command line, and what follows the batch."""

from __future__ import annotations

import json
import logging
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from ranks import environment

from imagenets.cli.main import main
from imagenets.core.settings import to_toml
from imagenets.errors import UsageError
from imagenets.methods.pass_.presets import FOREVER, PRESETS, Schedule
from imagenets.methods.pass_.settings import Changes, make_config

PASS50 = PRESETS["pass50"]


def test_settings_from_the_command_line() -> None:
    config = make_config("pass50", Changes({"pretrain": 3}, batch=64, seed=1))
    assert (config.pretrain.epochs, config.finetune.epochs) == (3, 20)
    assert (config.batch, config.seed) == (64, 1)
    for bad in (
        Changes({"cluster": 1}),
        Changes({"pretrain": -1}),
        Changes(batch=1),
        Changes(accumulate=0),
        Changes(accumulate=5),
        Changes(accumulate=32),
        Changes(features="int8"),
    ):
        with pytest.raises(UsageError):
            make_config("sample", bad)


def test_parts_that_the_images_of_a_rank_do_not_fall_into_are_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment(0, 8, 1).items():
        monkeypatch.setenv(name, value)
    assert make_config("pass50", Changes(accumulate=16)).accumulate == 16
    with pytest.raises(UsageError, match="--accumulate 64: the 32 images of each rank"):
        make_config("pass50", Changes(accumulate=64))


def test_a_table_needs_all_that_has_no_default() -> None:
    with pytest.raises(UsageError, match="with a value for base_rate"):
        make_config("sample", sets("pretrain={epochs=3}"))


def sets(*assignments: str) -> Changes:
    return Changes(assignments=assignments)


@pytest.mark.parametrize("preset", PRESETS)
def test_what_config_prints_is_read_back(
    preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "--preset", preset]) == 0
    file = tmp_path / "my.toml"
    file.write_text(capsys.readouterr().out)
    for other in PRESETS:  # a file that says all leaves nothing of the preset
        assert make_config(other, Changes(file=file)) == PRESETS[preset]


def test_a_file_may_say_some_alone_and_the_command_line_comes_last(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text("seed = 3\nrestarts = 7\n[pretrain]\nbase_rate = 0.3\nepochs = 9\n")
    changes = Changes({"pretrain": 8}, file=file, assignments=("restarts=5", "restarts=6"))
    expected = replace(PASS50, seed=3, restarts=6)
    expected = replace(expected, pretrain=replace(PASS50.pretrain, base_rate=0.3, epochs=8))
    assert make_config("pass50", changes) == expected


def test_rates_queues_and_freezes_follow_the_batch_and_a_line_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    for changes in (Changes(batch=64), sets("batch=64")):
        caplog.clear()
        config = make_config("pass50", changes)
        assert config.pretrain == replace(
            PASS50.pretrain, base_rate=0.15, final_rate=0.00015, queue=2240, freeze=4004
        )
        assert config.attention.base_rate == 1.5
        assert PASS50.attention.queue + PASS50.batch == 4032 + 64
        assert config.attention.queue == 4032
        assert config.finetune == Schedule(20, 0.15, final_rate=0.00015)
        (record,) = caplog.records
        said = record.getMessage()
        assert "64 images a step instead of 256; pretrain.base_rate 0.6 -> 0.15" in said
        assert "pretrain.queue 2048 -> 2240; pretrain.freeze 1001 -> 4004" in said
    large = make_config("pass50", Changes(batch=4096))
    assert large.pretrain.queue == 0  # one batch is more than queue and batch were
    assert large.pretrain.base_rate == pytest.approx(9.6)
    frozen = make_config("sample", Changes(batch=16)).pretrain
    assert (frozen.queue, frozen.freeze) == (0, FOREVER)


def test_what_is_given_with_the_batch_does_not_follow(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = make_config("pass50", sets("pretrain.base_rate=0.6", "batch=64", "pretrain.freeze=1"))
    assert (config.pretrain.base_rate, config.pretrain.freeze) == (0.6, 1)
    assert (config.pretrain.queue, config.attention.base_rate) == (2240, 1.5)
    file = tmp_path / "my.toml"
    file.write_text("batch = 128\n[finetune]\nbase_rate = 1.0\n")
    config = make_config("pass50", Changes(file=file))
    assert (config.finetune.base_rate, config.pretrain.base_rate) == (1.0, 0.3)
    config = make_config("pass50", Changes(file=file, batch=64))
    assert (config.finetune.base_rate, config.pretrain.base_rate) == (0.5, 0.15)
    caplog.set_level(logging.INFO)
    caplog.clear()
    make_config("pass50", Changes(batch=256))
    assert not caplog.records


def test_a_run_that_was_begun_before_the_rule_keeps_its_settings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    old = replace(PRESETS["sample"], batch=8)
    (tmp_path / "config.json").write_text(json.dumps({"tier": "50"} | old.to_json()))
    assert make_config("sample", Changes(batch=8), out=tmp_path) == old
    assert f"{tmp_path} was begun without these, and stays as it is" in caplog.text
    assert make_config("sample", Changes(batch=4), out=tmp_path).pretrain.base_rate == 0.125


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("batch=1", "batch is 2 or more"),
        ("prototypes=0", "prototypes is 1 or more"),
        ("pretrain_split=validation", "pretrain_split is one of train, train-full"),
        ("pretrain.base_rate=-1", "pretrain.base_rate is 0 or more"),
        ("attention.epsilon=0", "attention.epsilon is above 0"),
        ("views.0.views=3", "views.0.views is 2"),
        ("views.1.size=0", "views.1.size is 1 or more"),
        ("views.1.scale=[0.5, 0.1]", "views.1.scale is a range above 0"),
        ("views.1.scale=[0.5, 2]", "views.1.scale ends at 1"),
        ("attention_views.0.gray_probability=2", "gray_probability is 0 to 1"),
        ("views.0.jitter.1=-1", "views.0.jitter is 0 or more"),
        ("accumulate=3", "--accumulate 3"),
        ("features=int8", "--features int8"),
        ("kmeans_init=greedy", "kmeans_init is one of random, plusplus"),
        ("ema=1", "ema is 0 or more and below 1"),
        ("saliency_layer=5", "saliency_layer is 1 to 4"),
        ("keep=0", "keep is above 0 and at most 1"),
        ("foreground=depth", "foreground is one of attention, sharpened, saliency"),
    ],
)
def test_numbers_out_of_range_are_refused(assignment: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        make_config("pass50", sets(assignment))
    assert said in str(refused.value)


def test_the_command_line_takes_them_and_ends_with_2_on_a_mistake(
    tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, file = tmp_path / "run", tmp_path / "my.toml"
    call = ["train", "--root", str(tiny_root), "--out", str(out), "--preset", "sample"]
    assert main([*call, "--set", "pretrain.base_rat=0.3"]) == 2
    said = capsys.readouterr().err
    assert "no setting 'pretrain.base_rat'. Did you mean pretrain.base_rate?" in said
    assert "Traceback" not in said
    file.write_text("[pretrain]\nepochs = 0\nqueue = 1.5\n")
    assert main([*call, "--config", str(file)]) == 2
    assert f"{file}: pretrain.queue is a whole number" in capsys.readouterr().err
    assert main([*call, "--config", str(tmp_path / "no.toml")]) == 1
    file.write_text("batch = 8\n[pretrain]\nepochs = 0\n")
    words = ["--config", str(file), "--set", "seed=5", "--set", "hidden=16"]
    words += ["--stages", "pretrain", "--device", "cpu", "--workers", "0"]
    assert main([*call, *words]) == 0
    assert "pretrain.base_rate 1 -> 0.25" in capsys.readouterr().err
    kept = json.loads((out / "config.json").read_text())
    assert (kept["seed"], kept["hidden"], kept["batch"]) == (5, 16, 8)
    assert kept["pretrain"]["base_rate"] == 0.25
    assert main(["config", "--run", str(out)]) == 0
    printed = tomllib.loads(capsys.readouterr().out)
    assert printed["pretrain"]["base_rate"] == 0.25
    assert main([*call, *words]) == 0  # the same words continue it
    assert "pretrain: done" in capsys.readouterr().err
    assert main(["config", "--run", str(out), "--set", "seed=1"]) == 2


def test_settings_of_a_preset_say_all() -> None:
    assert tomllib.loads(to_toml(PASS50))["views"][1]["size"] == 96
