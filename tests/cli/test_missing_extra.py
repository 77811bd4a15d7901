import pytest

from alpha_umi.cli.screen import EXIT_USAGE, show_error


def test_a_missing_extra_says_what_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    assert show_error(ModuleNotFoundError("No module named 'accelerate'", name="accelerate")) == EXIT_USAGE
    assert "pip install 'alpha-umi[train]'" in capsys.readouterr().err
