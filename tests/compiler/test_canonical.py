"""The canonical form that the documentation promises is the one that the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sanderling.compiler.canonical import FORMS

DOCUMENT = (Path(__file__).parents[2] / "docs" / "compiler.md").read_text()
ROWS = {
    operator: attributes
    for operators, attributes in re.findall(
        r"^\| (`[A-Z][^|]*) \|[^|]*\| ([^|]*) \|$", DOCUMENT, re.MULTILINE
    )
    for operator in re.findall(r"`(\w+)`", operators)
}


@pytest.mark.parametrize("op", sorted(op for op, form in FORMS.items() if form.attributes))
def test_every_operator_with_attributes_is_documented(op: str) -> None:
    row = ROWS["ReduceSum" if op.startswith("Reduce") else op]
    if "as `Conv`" in row:
        row += ROWS["Conv"]
    if "the same" in row:
        row += ROWS["MaxPool"]
    missing = FORMS[op].attributes.keys() - set(re.findall(r"`(\w+)`", row))
    assert not missing


def test_only_canonical_operators_are_documented() -> None:
    assert ROWS.keys() <= FORMS.keys()
