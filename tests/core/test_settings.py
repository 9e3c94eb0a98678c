"""Settings as TOML, and changed by name: what is off is told with what may have been meant."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenets.core.settings import changed, changed_by_text, leaves, names, read_toml, to_toml
from imagenets.errors import MissingError, UsageError


@dataclass(frozen=True)
class Row:
    size: int = 8
    span: tuple[float, float] = (0.5, 1.0)
    mode: Literal["near", "far"] = "near"


@dataclass(frozen=True)
class Part:
    rate: float = 0.5
    steps: int = 3


@dataclass(frozen=True)
class Settings:
    name: str = "a"
    batch: int = 4
    flip: bool = True
    sizes: tuple[float, ...] = (1.0, 2.0)
    rows: tuple[Row, ...] = (Row(), Row(16))
    first: Part = Part()
    second: Part = Part(0.25)


@given(
    st.builds(
        Settings,
        name=st.text(st.characters(exclude_categories=["Cs"])),
        rows=st.lists(st.builds(Row), min_size=1, max_size=3).map(tuple),
        sizes=st.lists(
            st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=3
        ).map(tuple),
        first=st.builds(Part, rate=st.floats(allow_nan=False, allow_infinity=False)),
    )
)
def test_what_is_written_is_read_back(settings: Settings) -> None:
    found: Any = Settings("other", 1, False, (9.0,), (Row(1),), Part(7.0, 7), Part(7.0, 7))
    for name, value in leaves(tomllib.loads(to_toml(settings))):
        found = changed(found, name, value, "file")
    assert found == settings


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("batch=8", Settings(batch=8)),
        (" batch = 8 ", Settings(batch=8)),
        ("name=b c", Settings(name="b c")),
        ('name="b"', Settings(name="b")),
        ("flip=false", Settings(flip=False)),
        ("first.rate=1", Settings(first=Part(1.0))),
        ("second.steps=9", Settings(second=Part(0.25, 9))),
        ("sizes=[1, 2.5]", Settings(sizes=(1.0, 2.5))),
        ("sizes.1=3", Settings(sizes=(1.0, 3.0))),
        ("rows.1.size=9", Settings(rows=(Row(), Row(9)))),
        ("rows.0.mode=far", Settings(rows=(Row(mode="far"), Row(16)))),
        ("rows=[{size = 2}]", Settings(rows=(Row(2),))),
    ],
)
def test_one_setting_is_changed_by_its_name(assignment: str, expected: Settings) -> None:
    found, name = changed_by_text(Settings(), assignment)
    assert found == expected
    assert name == assignment.partition("=")[0].strip()


def test_a_number_without_a_point_becomes_a_float() -> None:
    assert type(changed_by_text(Settings(), "first.rate=1")[0].first.rate) is float


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("bacth=8", "there is no setting 'bacth'. Did you mean batch?"),
        ("rate=1", "no setting 'rate'. Did you mean first.rate or second.rate?"),
        ("first.rat=1", "Did you mean first.rate?"),
        ("rows.2.size=1", "no setting 'rows.2.size'"),
        ("batch.more=1", "no setting 'batch.more'"),
        ("zzz=1", "Choose among name, batch, flip, sizes, rows, first.rate"),
        ("batch=4.5", "batch is a whole number"),
        ("batch=true", "batch is a whole number"),
        ("batch=", "batch is a whole number"),
        ("batch=4\nflip=false", "batch is a whole number"),
        ("flip=1", "flip is true or false"),
        ("first.rate=fast", "first.rate is a number"),
        ("first.rate=nan", "first.rate is a number"),
        ("first=1", "first is a table with some of rate, steps"),
        ("first={rat = 1}", "none of these is 'rat' (did you mean 'rate'?)"),
        ("sizes=1", "sizes is a list, a number"),
        ("sizes=[]", "sizes is a list, a number"),
        ("rows.0.span=[1]", "rows.0.span is a list, 2 times a number"),
        ("rows.0.mode=middle", "rows.0.mode is one of near, far"),
        ("rows=[{size = 1.5}]", "and size is a whole number"),
        ("batch", "give NAME=VALUE"),
    ],
)
def test_what_is_off_is_told(assignment: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        changed_by_text(Settings(), assignment)
    assert str(refused.value).startswith(f"--set {assignment}: ")
    assert said in str(refused.value)


def test_names_of_all_settings() -> None:
    assert list(names(replace(Settings(), batch=1))) == (
        [
            "name",
            "batch",
            "flip",
            "sizes",
            "rows",
            "first.rate",
            "first.steps",
            "second.rate",
            "second.steps",
        ]
    )


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"my\.toml: there is no such file"):
        read_toml(tmp_path / "my.toml")
    (tmp_path / "my.toml").write_text("batch: 4")
    with pytest.raises(UsageError, match=r"my\.toml: not TOML \(.*line 1.*imagenets config"):
        read_toml(tmp_path / "my.toml")
