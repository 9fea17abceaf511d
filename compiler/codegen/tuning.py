"""Chooses a configuration for every workload: from the database, by measurement, or by the template's own
order.

All candidates that need measuring go into one Program, a call each, which the runtime runs as it runs any
model. One run goes through every workload's first candidate, then every second one, and so on: so each finds
the caches as cold as the others do, and a machine that slows down for a while slows all alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import numpy as np

from ..database import Database
from ..graph import TensorType
from ..program import Arg, Call, Program
from ..target import Target
from .builder import Kernel
from .object import compile_object, link
from .templates import relayout
from .workload import Relayout, Workload, ceil_div

Mode = Literal["none", "quick", "full"]
Measure = Callable[[Program], Sequence[float]]
"""Runs a Program many times; the best seconds of each call."""

_QUICK = 4  # candidates that `quick` measures of each workload
_MARGIN = 0.99  # a later candidate must beat an earlier one by this factor, so that noise does not choose


@dataclass(frozen=True)
class Tuner:
    """A `generate.Chooser`. Without `measure`, what the database does not know gets the template's first
    candidate.
    """

    target: Target
    mode: Mode = "none"
    database: Database | None = None
    measure: Measure | None = None

    def __call__(self, workloads: Mapping[str, tuple[Workload, ModuleType]]) -> Mapping[str, Any]:
        configs: dict[str, Any] = {}
        pending: dict[str, tuple[Workload, ModuleType, list[Any]]] = {}
        for key, (work, module) in workloads.items():
            candidates = module.candidates(work, self.target)
            known = self._known(key, candidates)
            configs[key] = known if known is not None else candidates[0]
            if self.mode == "quick":
                candidates = candidates[:_QUICK]
            if known is None and self.mode != "none" and self.measure is not None and len(candidates) > 1:
                pending[key] = (work, module, candidates)
        if pending:
            configs.update(self._measured(pending))
        return configs

    def _known(self, key: str, candidates: Sequence[Any]) -> Any | None:
        """The database's choice, if the template still offers it."""
        found = self.database.lookup(key, self.target.name) if self.database is not None else None
        if found is None:
            return None
        return next((config for config in candidates if str(config) == found.choice), None)

    def _measured(self, pending: Mapping[str, tuple[Workload, ModuleType, list[Any]]]) -> dict[str, Any]:
        assert self.measure is not None
        rounds = max(len(candidates) for _, _, candidates in pending.values())
        trials = [
            (key, candidates[index])
            for index in range(rounds)
            for key, (_, _, candidates) in pending.items()
            if index < len(candidates)
        ]
        seconds = self.measure(_trial_program(pending, trials, self.target))
        times: dict[str, dict[str, float]] = {key: {} for key in pending}
        for (key, config), value in zip(trials, seconds, strict=False):
            times[key][str(config)] = max(value, 1e-9)
        chosen = {}
        for key, (_, _, candidates) in pending.items():
            best = candidates[0]
            for config in candidates[1:]:
                if times[key][str(config)] < times[key][str(best)] * _MARGIN:
                    best = config
            chosen[key] = best
            if self.database is not None:
                self.database.record(key, self.target.name, str(best), times[key])
        return chosen


def _trial_program(
    pending: Mapping[str, tuple[Workload, ModuleType, list[Any]]],
    trials: Sequence[tuple[str, Any]],
    target: Target,
) -> Program:
    """One call per trial. Inputs are random parameters, shared by the candidates of a workload."""
    rng = np.random.default_rng(0)
    params: dict[str, Any] = {}
    buffers: dict[str, int] = {}
    calls: list[Call] = []
    kernels: list[Kernel] = []
    scratch = 0
    for index, (key, config) in enumerate(trials):
        work, module, _ = pending[key]
        kernel = module.build(work, config, target, f"k{index}")
        kernels.append(kernel)
        args, used = [], 0
        for argument in kernel.arguments[:-1]:
            if argument.scratch:
                args.append(Arg("scratch", "", "both", argument.size * 4, used))
                used += ceil_div(argument.size * 4, 64) * 64
                continue
            name = f"{key}.{argument.name}"
            if name not in params or params[name].size < argument.size:  # methods pack in their own ways
                params[name] = rng.standard_normal(argument.size, dtype=np.float32)
            args.append(Arg("param", name, "read", argument.size * 4))
        scratch = max(scratch, used)
        output = kernel.arguments[-1]
        buffers[f"out{index}"] = output.size * 4
        args.append(Arg("buffer", f"out{index}", "write", output.size * 4))
        tasks = module.tasks(work, config, target)
        calls.append(Call(kernel.symbol, tasks, tuple(args), key, str(config), work.flops, tasks))
    # A program has an input and an output: a last small call stands for both.
    last = Relayout(1, target.lanes, 1, False, True)
    kernel = relayout.build(last, relayout.Config(), target, "last")
    params["last"] = np.zeros(target.lanes, np.float32)
    io = TensorType("float32", (1, target.lanes, 1, 1))
    args = [Arg("param", "last", "read", io.nbytes), Arg("output", "y", "write", io.nbytes, align=4)]
    calls.append(Call("last", 1, tuple(args), "last", "relayout"))
    functions = {item.symbol: item.function for item in (*kernels, kernel)}
    return Program(
        target=target.name,
        inputs={"x": io},
        outputs={"y": io},
        buffers=buffers,
        params=params,
        calls=tuple(calls),
        scratch_bytes=scratch,
        code=link([compile_object(functions, target)], target),
    )
