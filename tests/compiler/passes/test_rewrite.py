"""The walk that all passes are written with, and the loop that runs them."""

from __future__ import annotations

import pytest

from sanderling.compiler import passes
from sanderling.compiler.errors import CompileError
from sanderling.compiler.graph import Graph, Node
from sanderling.compiler.passes._rewrite import Rewriter, rewrite
from sanderling.compiler.verifier import verify
from tests.support.graphs import imported, operators

CHAIN = "g (float[3] x) => (float[3] y) { a = Relu(x) b = Tanh(a) y = Relu(b) }"


def test_graph_is_the_same_object_if_no_rule_applies() -> None:
    graph = imported(CHAIN)
    assert rewrite(graph, lambda rewriter, node: False) is graph


def test_one_node_may_become_several_with_names_of_their_own() -> None:
    def twice(rewriter: Rewriter, node: Node) -> bool:
        if node.op != "Relu":
            return False
        middle = rewriter.value(f"{node.outputs[0]}_half", rewriter.types[node.outputs[0]])
        rewriter.emit("Neg", node.inputs, middle, name=node.name)
        rewriter.emit("Neg", (middle,), node.outputs[0], name=node.name)
        return True

    graph = rewrite(imported(CHAIN), twice)
    assert verify(graph) == []
    assert operators(graph) == ["Neg", "Neg", "Tanh", "Neg", "Neg"]
    assert [node.name for node in graph.nodes] == ["relu_0", "relu_0_1", "tanh_0", "relu_1", "relu_1_1"]


def test_what_nobody_reads_any_more_is_dropped() -> None:
    def skip(rewriter: Rewriter, node: Node) -> bool:
        if node.op != "Tanh":
            return False
        rewriter.forward(node.outputs[0], "x")
        return True

    graph = rewrite(imported(CHAIN), skip)
    assert verify(graph) == []
    assert [(node.inputs, node.outputs) for node in graph.nodes] == [(("x",), ("y",))]
    assert graph.types.keys() == {"x", "y"}


def test_uses_follow_what_was_forwarded() -> None:
    body = (
        "g (float[3] x) => (float[3] y) { a = Relu(x) b = Identity(a) c = Tanh(b) d = Exp(b) y = Add(c, d) }"
    )
    seen = {}

    def rule(rewriter: Rewriter, node: Node) -> bool:
        if node.op == "Identity":
            return rewriter.alias(node, node.inputs[0])
        if node.op == "Tanh":
            seen["a"] = rewriter.uses("a")
        return False

    rewrite(imported(body), rule)
    assert seen == {"a": 2}


def test_pass_that_breaks_the_graph_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def forget_a_type(graph: Graph) -> Graph:
        return graph.with_(types={name: graph.types[name] for name in graph.types if name != "a"})

    monkeypatch.setattr(passes, "REPEATED", (forget_a_type,))
    with pytest.raises(
        CompileError, match="defect in pass forget_a_type: every value typed: 'a' has no type"
    ):
        passes.run_passes(imported(CHAIN))


def test_all_passes_run_in_their_table_order() -> None:
    assert passes.PASSES == passes.ONCE + passes.REPEATED
    assert len({step.__name__ for step in passes.PASSES}) == len(passes.PASSES)
