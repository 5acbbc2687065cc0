"""Where the agent's settings come from."""

from __future__ import annotations

import pytest

from meshca.agent.flags import FLAGS, gather, parser


def test_a_flag_wins_over_the_environment_and_that_over_the_default() -> None:
    """In this order."""
    environ = {"MESHCA_AGENT_SOCKET": "/env", "MESHCA_AGENT_KEY_TYPE": "rsa-2048"}
    values, problems = gather(["--socket", "/flag"], environ)
    assert problems == []
    assert (values["socket"].text, values["key-type"].text, values["call-timeout"].text) == (
        "/flag",
        "rsa-2048",
        "10s",
    )


def test_the_place_of_a_value_is_known() -> None:
    """So that an error can name it."""
    values, _ = gather(["--socket", "/flag"], {"MESHCA_AGENT_KEY_TYPE": "x"})
    assert values["socket"].place == "--socket"
    assert values["key-type"].place == "MESHCA_AGENT_KEY_TYPE"
    assert values["endpoint"].place == "--endpoint (or MESHCA_AGENT_ENDPOINT)"


def test_unknown_settings_are_problems() -> None:
    """With the one that was perhaps meant; other programs' variables are not ours."""
    _, problems = gather([], {"MESHCA_AGENT_ENDPONT": "x", "MESHCA_AGENT_ZZZZZ": "y", "MESHCA_OTHER": "z"})
    assert problems == [
        "MESHCA_AGENT_ENDPONT: no such setting; did you mean MESHCA_AGENT_ENDPOINT; remove or rename it",
        "MESHCA_AGENT_ZZZZZ: no such setting; remove or rename it",
    ]


@pytest.mark.parametrize("argv", [["--nonsense"], ["--endpoin", "x"], ["stray"], ["--endpoint"]])
def test_unknown_flags_end_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Abbreviations too: they would change their meaning with the next flag."""
    with pytest.raises(SystemExit) as caught:
        gather(argv, {})
    assert caught.value.code == 2
    assert "usage: meshca agent" in capsys.readouterr().err


def test_help_names_every_flag_and_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    """And ends with 0."""
    with pytest.raises(SystemExit) as caught:
        gather(["--help"], {})
    shown = capsys.readouterr().out
    assert caught.value.code == 0
    assert all(f"--{flag.name}" in shown for flag in FLAGS)
    assert "examples:" in shown


def test_a_switch_takes_no_value() -> None:
    """Nor is it on by default."""
    assert parser().parse_args(["--system-roots"]).system_roots == "true"
    assert gather([], {})[0]["system-roots"].text == "false"
