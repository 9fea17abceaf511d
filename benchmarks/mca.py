"""What LLVM's machine models say of the inner loops of convolution on ARM: `python -m benchmarks.mca`.

Each kernel is compiled as a package would have it, the loop with most multiply-adds is found in its machine
code by control flow, and `llvm-mca` counts the cycles of one pass with everything in the first-level cache.
That is a judgement of the code, no measurement: nothing here ran on ARM.

Needs LLVM 19's command-line tools (`scripts/setup mca`).
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.results import RESULTS, write
from sanderling.compiler.codegen.epilogue import Step
from sanderling.compiler.codegen.object import compile_object
from sanderling.compiler.codegen.templates import conv2d, direct
from sanderling.compiler.codegen.workload import Conv2d, Window
from sanderling.compiler.target import Target, find_target

GOAL = 0.85  # of the limit, for every loop on the first target
_LLVM = 19
_ITERATIONS = 200
_SYMBOL = "kernel"


def _conv(inner: int, outer: int, size: int, window: Window) -> Conv2d:
    return Conv2d(1, inner, (1, size, size), outer, window, 1, False, True, (Step("Relu"),))


_THREE, _ONE = Window.of((3, 3), pads=(1, 1, 1, 1)), Window.of((1, 1))
KERNELS = {
    "3×3, 64 → 64, 56×56": _conv(64, 64, 56, _THREE),
    "3×3, 512 → 512, 7×7": _conv(512, 512, 7, _THREE),
    "1×1, 384 → 96, 14×14": _conv(384, 96, 14, _ONE),
    "1×1, 256 → 64, 56×56": _conv(256, 64, 56, _ONE),
}


@dataclass(frozen=True)
class Model:
    """A scheduling model of LLVM. `dispatch`: instructions a cycle, if the model does not say it rightly."""

    cpu: str
    dispatch: int | None
    why: str


MODELS = {
    "aarch64-cortex-a76": Model(
        "neoverse-n1",
        4,
        "LLVM 19 has no model of cortex-a76 (it takes cortex-a57's); neoverse-n1 is the same core for "
        "servers. It decodes 4 instructions a cycle, the model would allow 8",
    ),
    "aarch64-cortex-a72": Model("cortex-a72", None, "LLVM's model of cortex-a72, which is cortex-a57's"),
    "aarch64-neoverse-v1": Model("neoverse-v1", 8, "LLVM's model; the core renames 8 instructions a cycle"),
}


@dataclass(frozen=True, slots=True)
class Instruction:
    """One line of a disassembly; `goal` is where it may jump to."""

    address: int
    text: str
    goal: int | None = None

    @property
    def name(self) -> str:
        return self.text.split()[0]


_LINE = re.compile(r"\s*([0-9a-f]+):\s+(\S.*)")
_JUMP = re.compile(r"(?:b|b\.\w+|cbn?z|tbn?z)\s.*?\b0x([0-9a-f]+)\b")


def parse(disassembly: str) -> list[Instruction]:
    """The instructions in the output of `llvm-objdump --disassemble --no-show-raw-insn`."""
    found = []
    for line in disassembly.splitlines():
        if match := _LINE.fullmatch(line):
            text = re.sub(r"\s*(//.*|<.*>)", "", match[2]).replace("\t", " ")
            jump = _JUMP.match(text)
            found.append(Instruction(int(match[1], 16), text, int(jump[1], 16) if jump else None))
    return found


def inner_loops(code: Sequence[Instruction]) -> list[list[Instruction]]:
    """Runs of code that end with a jump to their own beginning, with no other jump out, in or within."""
    at = {instruction.address: index for index, instruction in enumerate(code)}
    jumps = [(index, at[i.goal]) for index, i in enumerate(code) if i.goal is not None and i.goal in at]
    found = []
    for end, start in jumps:
        others = [jump for jump in jumps if jump != (end, start)]
        alone = not any(start <= source <= end or start < goal <= end for source, goal in others)
        if start <= end and alone and not any(i.name in ("bl", "blr", "br", "ret") for i in code[start:end]):
            found.append(list(code[start : end + 1]))
    return found


def multiply_adds(code: Sequence[Instruction]) -> int:
    return sum(instruction.name == "fmla" for instruction in code)


def hot_loop(code: Sequence[Instruction]) -> list[Instruction]:
    """The inner loop with most multiply-adds. Raises ValueError if none has any."""
    loop = max(inner_loops(code), key=multiply_adds, default=[])
    if multiply_adds(loop) == 0:
        raise ValueError("no inner loop multiplies and adds")
    return loop


def memory_accesses(code: Sequence[Instruction], pair: str, single: str) -> int:
    """Registers loaded ("ldp", "ld") or stored ("stp", "st")."""
    return sum(2 if i.name == pair else int(i.name.startswith(single)) for i in code)


def _tool(name: str) -> str:
    found = shutil.which(f"{name}-{_LLVM}")
    if found is None:
        raise SystemExit(
            f"{name}-{_LLVM} is not installed: run scripts/setup mca (Debian's package llvm-{_LLVM})"
        )
    return found


def disassemble(data: bytes) -> list[Instruction]:
    """The instructions of the kernel in an object."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.o"
        path.write_bytes(data)
        command = [_tool("llvm-objdump"), "--no-show-raw-insn", f"--disassemble-symbols={_SYMBOL}", str(path)]
        return parse(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def simulate(lines: Sequence[str], model: Model) -> tuple[float, float]:
    """Cycles of one pass through a loop of these lines: simulated, and by resources alone."""
    command = [_tool("llvm-mca"), "-mtriple=aarch64", f"-mcpu={model.cpu}", "-json"]
    command += [f"-iterations={_ITERATIONS}", *([f"-dispatch={model.dispatch}"] if model.dispatch else [])]
    text = "\n".join(lines)
    done = subprocess.run(command, input=text, check=True, capture_output=True, text=True)
    summary = json.loads(done.stdout)["CodeRegions"][0]["SummaryView"]
    return summary["TotalCycles"] / summary["Iterations"], summary["BlockRThroughput"]


def peak(model: Model) -> int:
    """Multiply-adds of four lanes a cycle at most, by the model: of 30 that do not wait for each other."""
    lines = [f"fmla v{register}.4s, v30.4s, v31.s[0]" for register in range(30)]
    return round(len(lines) / simulate(lines, model)[1])


def methods(work: Conv2d, target: Target) -> list[conv2d.Config]:
    """What a target gets that cannot be measured here, and the direct method if that is another."""
    return list(dict.fromkeys((conv2d.candidates(work, target)[0], direct.candidates(work, target)[0])))


def judge(target: Target, name: str, work: Conv2d, config: conv2d.Config) -> dict[str, Any]:
    """One row: the hot loop of a kernel."""
    model = MODELS[target.name]
    kernel = conv2d.build(work, config, target, _SYMBOL)
    loop = hot_loop(disassemble(compile_object({_SYMBOL: kernel.function}, target)))
    lines = [re.sub(r"\b0x[0-9a-f]+$", "#0", i.text) if i.goal is not None else i.text for i in loop]
    cycles, throughput = simulate(lines, model)
    least = multiply_adds(loop) / peak(model)
    return {
        "target": target.name,
        "kernel": name,
        "workload": str(work),
        "choice": str(config),
        "model": model.cpu,
        "instructions": len(loop),
        "fmla": multiply_adds(loop),
        "loads": memory_accesses(loop, "ldp", "ld"),
        "stores": memory_accesses(loop, "stp", "st"),
        "cycles": round(cycles, 2),
        "block_throughput": round(throughput, 2),
        "fmla_a_cycle_limit": peak(model),
        "limit_cycles": round(least, 2),
        "share": round(least / cycles, 3),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mca", description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR")
    args = parser.parse_args(arguments)
    rows = [
        judge(target, name, work, config)
        for target in map(find_target, MODELS)
        for name, work in KERNELS.items()
        for config in methods(work, target)
    ]
    for row in rows:
        print(
            f"{row['target']:22} {row['kernel']:24} {row['choice']:20} {row['fmla']:3} fmla, "
            f"{row['loads']:2} loads: {row['cycles']:6.1f} cycles, {row['share']:.0%} of the limit"
        )
    version = subprocess.run([_tool("llvm-mca"), "--version"], check=True, capture_output=True, text=True)
    write(
        args.output,
        "mca",
        arguments,
        rows,
        llvm_mca=version.stdout.splitlines()[0].strip(),
        models={name: f"{model.cpu}: {model.why}" for name, model in MODELS.items()},
        note="cycles by LLVM's model of the core with all data in the first-level cache; nothing ran on ARM",
    )
    low = [row for row in rows if row["target"] == next(iter(MODELS)) and row["share"] < GOAL]
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
