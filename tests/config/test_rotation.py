"""When a step of a rotation is safe: what the configuration takes and refuses."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from meshca.config.loader import validated
from meshca.config.rotation import LONGEST_WINDOW, RotationConfig
from meshca.config.server import ServerConfig
from meshca.errors import ConfigError


def problem(rotation: dict[str, Any], **others: Any) -> str:
    """The one thing that is wrong with a section."""
    with pytest.raises(ConfigError) as caught:
        validated({"rotation": rotation, **others}, "f")
    (found,) = caught.value.problems
    return found


def test_by_default_everybody_must_trust_a_root_and_none_begins_by_itself() -> None:
    """Five minutes to replace a stolen key's leaves."""
    rotation = validated({}, "f").rotation
    assert (rotation.share, rotation.before_end, rotation.seen_within) == (1.0, None, None)
    assert rotation.window == rotation.published_for == timedelta(minutes=5)


def test_all_of_it() -> None:
    """And it reaches a worker as JSON, unchanged."""
    config = validated(
        {
            "rotation": {
                "share": 0.99,
                "seen_within": "48h",
                "settle": "30s",
                "published_for": "10m",
                "window": "1h",
                "before_end": "180d",
            }
        },
        "f",
    )
    assert config.rotation == RotationConfig(
        share=0.99,
        seen_within=timedelta(hours=48),
        settle=timedelta(seconds=30),
        published_for=timedelta(minutes=10),
        window=timedelta(hours=1),
        before_end=timedelta(days=180),
    )
    assert ServerConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("rotation", "expected"),
    [
        ({"share": 0.49}, "rotation.share: "),
        ({"share": 1.01}, "rotation.share: "),
        ({"seen_within": "0s"}, "rotation.seen_within: must be longer than 0s"),
        ({"before_end": "0s"}, "rotation.before_end: must be longer than 0s"),
        ({"settle": "-1s"}, "rotation.settle: "),
        ({"window": 5}, "rotation.window: "),
        ({"window": "169h"}, "rotation: window must be at most 7d: so long is a compromised root trusted"),
        ({"half": True}, "rotation.half: "),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_means_nothing_is_refused(rotation: dict[str, Any], expected: str) -> None:
    """With its path."""
    assert problem(rotation).startswith(expected)


@pytest.mark.parametrize("window", [timedelta(0), LONGEST_WINDOW], ids=["at-once", "longest"])
def test_the_bounds_of_the_window_are_in_it(window: timedelta) -> None:
    """From at once to a week."""
    assert RotationConfig(window=window).window == window


@pytest.mark.parametrize(
    ("rotation", "others", "expected"),
    [
        (
            {"settle": "30m"},
            {"svid": {"default_lifetime": "1h"}},
            "rotation.settle must be shorter than half of svid.default_lifetime: ",
        ),
        ({}, {"svid": {"default_lifetime": "2m"}}, "rotation.settle must be shorter than half of svid.default"),
        (
            {"seen_within": "23h"},
            {},
            "rotation.seen_within must not be shorter than svid.max_lifetime: ",
        ),
        (
            {"before_end": "365d"},
            {"upstream": {"kind": "self_signed", "root_lifetime": "365d"}},
            "rotation.before_end must be shorter than upstream.root_lifetime: ",
        ),
        (
            {"before_end": "365d"},
            {"upstream": {"kind": "secret", "root_lifetime": "365d"}, "kubernetes": {}},
            "rotation.before_end must be shorter than upstream.root_lifetime: ",
        ),
    ],
    ids=["settle", "settle-by-default", "seen-within", "before-end", "before-end-in-a-secret"],
)
def test_what_does_not_fit_the_lifetimes_is_refused(
    rotation: dict[str, Any], others: dict[str, Any], expected: str
) -> None:
    """With what would happen, and what to do."""
    assert expected in problem(rotation, **others)


@pytest.mark.parametrize(
    ("rotation", "others"),
    [
        ({"settle": "29m59s"}, {"svid": {"default_lifetime": "1h"}}),
        ({"seen_within": "24h"}, {}),
        ({"before_end": "364d"}, {"upstream": {"kind": "self_signed", "root_lifetime": "365d"}}),
        ({"before_end": "364d"}, {"upstream": {"kind": "secret", "root_lifetime": "365d"}, "kubernetes": {}}),
    ],
    ids=["settle", "seen-within", "before-end", "before-end-in-a-secret"],
)
def test_what_just_fits(rotation: dict[str, Any], others: dict[str, Any]) -> None:
    """Is taken."""
    config = validated({"rotation": rotation, **others}, "f")
    assert config.rotation == RotationConfig.model_validate(rotation)


@pytest.mark.parametrize(
    "upstream",
    [
        {"kind": "files", "dir": "/ca"},
        {"kind": "secret", "rotate": False},
        {"kind": "vault", "login": {"token": {"file": "/token"}}, "roots": {"accept": "any"}},
    ],
    ids=["files", "secret", "vault"],
)
def test_a_schedule_that_nothing_follows_is_refused(upstream: dict[str, Any]) -> None:
    """Before anybody relies on it."""
    found = problem({"before_end": "30d"}, upstream=upstream, kubernetes={})
    assert "rotation.before_end has no effect where meshca makes no roots: " in found


def test_a_share_may_be_a_whole_number() -> None:
    """As people write 100 %."""
    assert validated({"rotation": {"share": 1}}, "f").rotation.share == 1.0
