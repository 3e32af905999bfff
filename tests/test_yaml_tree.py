"""YAML of a stranger: what asks for work without end, or is no YAML, is one line and soon said."""

import time

import pytest

from cdtr.config import load_config, read_tree
from cdtr.errors import ConfigError
from cdtr.yaml_tree import MAX_BYTES, MAX_DEPTH, MAX_VALUES, parse_yaml

LEVELS = "\n".join(f"x{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else 'lol'] * 10)}]" for n in range(10))
MERGED = "\n".join(
    f"x{n}: &a{n} {{y{n}: 0, <<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" if n else "x0: &a0 {y: 0}" for n in range(10)
)
NESTED = "\n".join(f"x{n}: &a{n} [{f'*a{n - 1}' if n else 'lol'}]" for n in range(MAX_DEPTH + 1))
BAD = [
    pytest.param(LEVELS, f"more than {MAX_VALUES} values", id="aliases"),
    pytest.param(MERGED, f"more than {MAX_VALUES} values", id="merge-keys"),
    pytest.param(NESTED, "nested deeper", id="deep-aliases"),
    pytest.param("a: &a [*a]", "the alias *a in line 1 within what it names", id="an-alias-to-itself"),
    pytest.param("a: *b", "the alias *b", id="an-alias-to-nothing"),
    pytest.param("{" * 100_000, "nest", id="open-braces"),
    pytest.param("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested deeper", id="one-too-deep"),
    pytest.param("- " * 100_000, "nested deeper", id="dashes"),
    pytest.param("a: 2001-99-99", "a value cannot be read", id="date"),
    pytest.param("a: " + "9" * 6000, "a number of 6000 digits", id="digits"),
    pytest.param("a: 0x" + "f" * 6000, "a number of 6002 digits", id="hexadecimal"),
    pytest.param("a: !!int abc", "a value cannot be read", id="int"),
    pytest.param("a: !!float abc", "a value cannot be read", id="float"),
    pytest.param("a: !!timestamp x", "is not YAML", id="timestamp"),
    pytest.param("a: !!binary \xff", "is not YAML", id="binary"),
    pytest.param("a: !!python/object/apply:os.getcwd []", "is not YAML", id="code"),
    pytest.param("? [1]\n: 2", "is not YAML", id="list-as-key"),
    pytest.param("a: \x00", "is not YAML", id="nul"),
    pytest.param("a" * (MAX_BYTES + 1), "too large for settings", id="large"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_refused_in_one_line_and_at_once(text, message):
    start = time.process_time()
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is looked at below
        parse_yaml(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert time.process_time() - start < 2


@pytest.mark.parametrize(("text", "message"), BAD)
def test_a_file_is_named_wherever_one_is_read(tmp_path, text, message):
    path = tmp_path / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    for read in (load_config, read_tree):
        with pytest.raises(ConfigError, match=r"settings\.yaml") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_a_value_of_set_is_read_by_the_same_rules():
    with pytest.raises(ConfigError, match=r"`overrides=\['seed=2001-99-99'\]`: the value is not YAML"):
        load_config(None, ["seed=2001-99-99"])
    with pytest.raises(ConfigError, match="nested deeper"):
        load_config(None, ["seed=" + "[" * 1000])


def test_what_settings_hold_is_read():
    assert parse_yaml("a: {b: [1, 2.5, yes, null, x]}") == {"a": {"b": [1, 2.5, True, None, "x"]}}
    assert parse_yaml("a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}") == {"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2}}
    assert parse_yaml("") is None
    deepest = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert isinstance(parse_yaml(deepest), list)
    assert parse_yaml("a: " + "x" * 5000) == {"a": "x" * 5000}
