"""Text has the contrast of WCAG AA on the web page, in reports, and in the theme of these pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEAST = 4.5


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
    parts = [int(digits[start : start + 2], 16) / 255 for start in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def colours(text: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})\b", text))


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#ffffff", "#009485") == pytest.approx(3.76, abs=0.01)  # the theme's own teal


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_the_web_page(scheme: int) -> None:
    light, dark = (ROOT / "src/cdtr/app/page/style.css").read_text().split("prefers-color-scheme: dark")
    found = colours((light, dark)[scheme])
    pairs = [(text, ground) for text in ("text", "muted", "accent", "good", "middling", "bad") for ground in ("card",)]
    pairs += [("text", "ground"), ("muted", "ground"), ("accent", "ground"), ("muted", "stage"), ("text", "stage")]
    pairs += [("on-accent", "accent"), ("bad", "bad-ground")]
    low = {pair: contrast(found[pair[0]], found[pair[1]]) for pair in pairs}
    assert {pair: ratio for pair, ratio in low.items() if ratio < LEAST} == {}


def test_reports() -> None:
    found = colours((ROOT / "src/cdtr/reports/base.html").read_text())
    for text in ("ink", "soft", "mark", "link", "wrong"):
        for ground in ("#ffffff", found["plate"]):
            assert contrast(found[text], ground) >= LEAST, f"{text} on {ground}"


def test_the_theme_of_the_documentation() -> None:
    found = colours((ROOT / "docs/site.css").read_text())
    for name in ("md-primary-fg-color", "md-accent-fg-color", "md-typeset-a-color", "md-default-fg-color--light"):
        assert contrast(found[name], "#ffffff") >= LEAST, name
    assert contrast(found["md-code-hl-comment-color"], "#f5f5f5") >= LEAST
