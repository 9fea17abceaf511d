"""A real OpenSSH server of our own: unprivileged, on a free port, with keys made for the occasion."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PROGRAM = shutil.which("sshd") or "/usr/sbin/sshd"
_START_SECONDS = 20


@dataclass(frozen=True)
class Sshd:
    """`command` is the ssh that gets in; `device_folder` is where its files go."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def command(self) -> str:
        return f"ssh -F {self.folder / 'client.conf'}"

    @property
    def device_folder(self) -> Path:
        return self.folder / "tmp"

    @property
    def url(self) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{self.device_folder}"

    def sessions(self) -> list[int]:
        """Server processes of connections, one or two each."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != self.process.pid:
                with suppress(OSError):
                    if os.getpgid(int(entry.name)) == self.process.pid or _parent(entry) == self.process.pid:
                        found.append(int(entry.name))
        return found


@contextmanager
def running(folder: Path) -> Iterator[Sshd]:
    """Start it, wait until it listens, and end it by its process id."""
    (folder / "tmp").mkdir()
    for name in ("host", "user", "stranger"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True, timeout=30
        )
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    port = _free_port()
    host_key = (folder / "host.pub").read_text().rsplit(" ", 1)[0]
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    (folder / "client.conf").write_text(
        f"IdentityFile {folder}/user\nIdentitiesOnly yes\nUserKnownHostsFile {folder}/known_hosts\n"
        "GlobalKnownHostsFile /dev/null\nStrictHostKeyChecking yes\n"
    )
    (folder / "server.conf").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\n"
        f"PidFile {folder}/pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\nMaxStartups 100\nPermitRootLogin prohibit-password\n"
    )
    if os.geteuid() == 0:  # its own privilege separation wants this folder, which init would make
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [PROGRAM, "-D", "-e", "-f", folder / "server.conf"], stderr=log, start_new_session=True
        )
    try:
        _wait(port, process, folder / "log")
        yield Sshd(port, folder, process)
    finally:
        process.terminate()
        process.wait(10)


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"sshd does not listen: {log.read_text()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _parent(entry: Path) -> int:
    return int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
