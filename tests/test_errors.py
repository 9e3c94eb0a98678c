"""Each error is also the builtin that fits, keeps its words, and travels between processes."""

from __future__ import annotations

import pickle

import pytest

from imagenets import errors

BUILTINS = {
    errors.UsageError: ValueError,
    errors.MissingError: FileNotFoundError,
    errors.CorruptError: ValueError,
    errors.DownloadError: ConnectionError,
    errors.BusyError: RuntimeError,
    errors.DependencyError: ImportError,
    errors.TrainingError: RuntimeError,
}


def test_every_error_is_listed_here() -> None:
    assert set(errors.ImageNetSError.__subclasses__()) >= set(BUILTINS)


@pytest.mark.parametrize("error", BUILTINS)
def test_an_error_is_ours_and_the_fitting_builtin(error: type[errors.ImageNetSError]) -> None:
    with pytest.raises(BUILTINS[error], match=r"where: what\. Do this\."):
        raise error("where: what. Do this.")
    again = pickle.loads(pickle.dumps(error("words")))
    assert type(again) is error
    assert str(again) == "words"
    assert again.exit_code == (2 if error is errors.UsageError else 1)
