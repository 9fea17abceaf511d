"""The text form of an input's shape."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanderling.compiler.errors import ModelError
from sanderling.compiler.frontends import InputSpec


@pytest.mark.parametrize(
    ("text", "name", "spec"),
    [
        ("image:1x3x320x320:float32", "image", InputSpec((1, 3, 320, 320), "float32")),
        ("image:1x3x320x320", "image", InputSpec((1, 3, 320, 320))),
        ("a:b:7:int64", "a:b", InputSpec((7,), "int64")),
        ("flag:scalar:bool", "flag", InputSpec((), "bool")),
        ("scalar:scalar", "scalar", InputSpec(())),
    ],
)
def test_text_is_read(text: str, name: str, spec: InputSpec) -> None:
    assert InputSpec.parse(text) == (name, spec)


@pytest.mark.parametrize(
    "text", ["", "image", ":1x3", "image:1x", "image:-1x3", "image:1,3", "image:1x3:", "x:axb"]
)
def test_other_text_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ModelError, match="name:1x3x320x320:float32"):
        InputSpec.parse(text)


@given(
    st.text(min_size=1), st.lists(st.integers(0, 10**6)), st.sampled_from([None, "float32", "uint8", "bool"])
)
def test_what_was_written_is_read_back(name: str, shape: list[int], dtype: str | None) -> None:
    name = name.replace("\n", "").replace("\r", "") or "x"
    text = f"{name}:{'x'.join(map(str, shape)) or 'scalar'}" + (f":{dtype}" if dtype else "")
    if ":" not in name:
        assert InputSpec.parse(text) == (name, InputSpec(tuple(shape), dtype))
