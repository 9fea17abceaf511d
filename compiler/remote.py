"""A device that is reached over ssh: a folder there for as long as it is needed, and programs run in it.

Everything goes through the system's `ssh`, so keys, jump hosts and aliases are those of ~/.ssh/config. A
shell on the device owns the folder and removes it when its connection ends, however that comes about.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import struct
import subprocess
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import IO, Any, Self

from .errors import CompileError
from .serve import Server, find_runner, receive
from .target import Target, cpu_flags

SSH, RUNNER = "SANDERLING_SSH", "SANDERLING_RUN"
_OPTIONS = ("-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10")
_ALIVE = ("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3")  # a lost connection is noticed
_ANSWER_SECONDS = 30.0
_COPY_SECONDS = 600.0
_RUN_SECONDS = 600.0
_END_SECONDS = 15.0
_BEGIN, _READY = "sanderling-begin", "sanderling-ready"
_BUILD = Path(__file__).resolve().parent.parent / "build"
_MACHINES = {62: "x86_64", 183: "aarch64"}  # e_machine of an ELF file

_KEEPER = f"""
umask 077
folder=$(mktemp -d "$1/sanderling-XXXXXX") || exit 1
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM PIPE
echo {_BEGIN}
echo "$folder"
uname -m
getconf GNU_LIBC_VERSION 2>/dev/null || echo "another C library"
(. /etc/os-release 2>/dev/null; echo "${{PRETTY_NAME:-Linux}}")
uname -r
nproc 2>/dev/null || echo 1
sed -n 's/^MemTotal: *\\([0-9]*\\) kB$/\\1/p' /proc/meminfo | grep . || echo 0
tr -d '\\0' 2>/dev/null </proc/device-tree/model || true
echo
cat /proc/cpuinfo
echo {_READY}
cat >/dev/null
"""

# What ssh and the device's loader say → what to do about it.
_HINTS = {
    "Host key verification failed": "log in by hand once, to check and accept the host's key",
    "Permission denied (": "it must let you in without a password: see ssh-copy-id",
    "Could not resolve hostname": "check the name, or use the address",
    "Connection refused": "is sshd running there, on that port?",
    "timed out": "is it switched on and reachable?",
    "GLIBC": f"its C library is too old for this sanderling-run: name one that suits it in ${RUNNER}",
    "Exec format error": f"name a sanderling-run for its architecture in ${RUNNER}",
    "mktemp": "name a folder that can be written to: ssh://host/folder",
    "Permission denied": "can programs be run in that folder? Name another one: ssh://host/folder",
}


@dataclass(frozen=True, slots=True)
class Address:
    """`ssh://[user@]host[:port][/folder]`: where to go, and where to put a temporary folder there."""

    host: str
    user: str | None = None
    port: int | None = None
    folder: str = "/tmp"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises CompileError if it is no such address."""
        # No part may begin with a dash, which ssh would take for an option.
        found = re.fullmatch(
            r"ssh://(?:([\w.][\w.-]*)@)?([\w.][\w.-]*|\[[0-9a-fA-F:]+\])(?::(\d{1,5}))?(/.*)?", text
        )
        if found is None:
            raise CompileError(f"{text!r} is no address of the form ssh://[user@]host[:port][/folder]")
        user, host, port, folder = found.groups()
        return cls(host.strip("[]"), user, int(port) if port else None, (folder or "").rstrip("/") or "/tmp")

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        return f"ssh://{user}{self.host}{f':{self.port}' if self.port else ''}"

    def command(self) -> list[str]:
        """The ssh command line, up to the remote command."""
        line = [*shlex.split(os.environ.get(SSH) or "ssh"), *_OPTIONS, *_ALIVE]
        if self.user:
            line += ["-l", self.user]
        if self.port:
            line += ["-p", str(self.port)]
        return [*line, "--", self.host]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a device is. `cpuinfo` is the text of its /proc/cpuinfo."""

    arch: str
    libc: str
    system: str
    kernel: str
    cpus: int
    memory_bytes: int
    board: str
    cpuinfo: str

    @property
    def cpu(self) -> str:
        """The name of its CPU, or of the board where the CPU does not say."""
        found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", self.cpuinfo, re.MULTILINE)
        return self.board or (found.group(1).strip() if found else self.arch)

    def to_json(self) -> dict[str, Any]:
        """As `describe_machine` says it of this one."""
        return {
            "cpu": self.cpu, "arch": self.arch, "cpus": self.cpus, "memory_bytes": self.memory_bytes,
            "system": self.system, "kernel": self.kernel, "libc": self.libc,
        }  # fmt: skip


class Device:
    """A folder on a device with `sanderling-run` in it; leave the `with` block to remove it.

    Every method raises CompileError, whose text names the device, the cause and what to do.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the keeper
        self._keeper: subprocess.Popen[bytes] | None = None
        self.folder = ""

    def __enter__(self) -> Self:
        try:
            self._open()
            self._install()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fits(self, target: Target) -> bool:
        """Whether its CPU has all that the target's code needs."""
        return self.facts.arch == target.arch and cpu_flags(self.facts.cpuinfo).issuperset(target.features)

    def run(self, *words: str | Path, data: bytes | None = None, timeout: float = _RUN_SECONDS) -> bytes:
        """Run a command in the folder, give it `data`, and return what it prints."""
        script = f"cd {shlex.quote(self.folder)} && {shlex.join(map(str, words))}"
        return self._shell(script, data, timeout)

    def copy(self, name: str, data: bytes) -> None:
        """Write a file into the folder."""
        path = shlex.quote(f"{self.folder}/{name}")
        self._shell(f"cat >{path} && chmod 700 {path}", data, _COPY_SECONDS)

    def read(self, name: str) -> bytes:
        """The content of a file in the folder."""
        return self.run("cat", name, timeout=_COPY_SECONDS)

    def serve(self, *, threads: int) -> Server:
        """`sanderling-run --serve` on the device (docs/serve-protocol.md)."""
        program = shlex.quote(f"{self.folder}/sanderling-run")
        return Server([*self.address.command(), program], threads=threads, name=str(self.address))

    def close(self) -> None:
        """Have the folder removed. Warns if nobody can tell whether it was."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            assert keeper.stdin
            assert keeper.stdout
            keeper.stdin.close()
            try:
                status = keeper.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                keeper.kill()
                status = keeper.wait()
            keeper.stdout.close()
            if status != 0 and self.folder:
                warnings.warn(f"{self.address}: {self.folder} may still be there", stacklevel=3)
        self._errors.close()

    def _open(self) -> None:
        """Start the shell that owns the folder, and read what it says about the machine."""
        if shutil.which(self.address.command()[0]) is None:
            raise CompileError(
                f"{self.address.command()[0]} is not installed (Debian, Ubuntu: openssh-client)"
            )
        script = f"exec sh -c {shlex.quote(_KEEPER)} sh {shlex.quote(self.address.folder)}"
        self._keeper = subprocess.Popen(
            [*self.address.command(), script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for us; the folder goes when we close the pipe
        )
        text = self._greeting()
        _, _, rest = text.partition(f"{_BEGIN}\n")
        self.folder, arch, libc, system, kernel, cpus, memory, board, cpuinfo = rest.split("\n", 8)
        cpuinfo = cpuinfo.removesuffix(f"{_READY}\n")
        self.facts = Facts(arch, libc, system, kernel, int(cpus), int(memory) * 1024, board, cpuinfo)

    def _greeting(self) -> str:
        assert self._keeper
        assert self._keeper.stdout
        deadline = monotonic() + _ANSWER_SECONDS
        text = b""
        while not text.endswith(f"\n{_READY}\n".encode()):
            data = receive(self._keeper.stdout, deadline - monotonic())
            if data is None:
                raise CompileError(f"{self.address}: no answer within {_ANSWER_SECONDS:g} s")
            if not data:
                self._keeper.wait(_END_SECONDS)
                self._errors.seek(0)
                raise self._error(self._errors.read().decode(errors="replace"))
            text += data
        return text.decode(errors="replace")

    def _install(self) -> None:
        runner = runner_for(self.facts.arch)
        self.copy("sanderling-run", runner.read_bytes())
        self.run("./sanderling-run", "--version", timeout=_ANSWER_SECONDS)

    def _shell(self, script: str, data: bytes | None, timeout: float) -> bytes:
        try:
            done = subprocess.run(
                [*self.address.command(), script],
                input=data if data is not None else b"",
                capture_output=True,
                timeout=timeout,
                check=False,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            raise CompileError(f"{self.address}: no answer within {timeout:g} s") from None
        if done.returncode:
            raise self._error(done.stderr.decode(errors="replace"), done.returncode)
        return done.stdout

    def _error(self, said: str, status: int = 255) -> CompileError:
        """The last line that was said, and the first hint that fits any of it."""
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        last = lines[-1] if lines else f"the command ended with status {status}"
        hint = next((hint for sign, hint in _HINTS.items() if sign in said), None)
        return CompileError(f"{self.address}: {last}{f' ({hint})' if hint else ''}")


def runner_for(arch: str) -> Path:
    """The `sanderling-run` to copy: $SANDERLING_RUN, one that was cross-built here, or our own.

    Raises CompileError if it is not for this architecture.
    """
    given, cross = os.environ.get(RUNNER), _BUILD / arch / "cpp" / "tools" / "sanderling-run"
    path = Path(given) if given else cross if cross.exists() else find_runner()
    try:
        head = path.read_bytes()[:20]
    except OSError as error:
        raise CompileError(f"{path}: {error.strerror}") from None
    machine = struct.unpack_from("<H", head, 18)[0] if head[:4] == b"\x7fELF" and len(head) == 20 else 0
    found = _MACHINES.get(machine, "no machine that we know")
    if found != arch:
        raise CompileError(
            f"the device is {arch}, but {path} is for {found}; build sanderling-run for {arch} "
            f"(cmake -S . -B build/{arch} --toolchain cmake/{arch}-linux-gnu.cmake && cmake --build "
            f"build/{arch}), or name one in ${RUNNER}"
        )
    return path
