"""A device over real ssh: what it is, what runs there, and that nothing stays behind, whatever happens."""

from __future__ import annotations

import os
import platform
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sanderling.compiler import remote
from sanderling.compiler.errors import CompileError
from sanderling.compiler.remote import Address, Device, runner_for
from tests.support.sshd import Sshd, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running(tmp_path_factory.mktemp("sshd")) as sshd:
        yield sshd


@pytest.fixture
def sshd(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    """The server, reached with its own keys; afterwards no folder may be left."""
    monkeypatch.setenv("SANDERLING_SSH", server.command)
    yield server
    assert list(server.device_folder.iterdir()) == []


ADDRESSES = {
    "ssh://pi": Address("pi"),
    "ssh://pi@raspberrypi.local": Address("raspberrypi.local", "pi"),
    "ssh://box:2222": Address("box", port=2222),
    "ssh://me@10.0.0.7:22/var/tmp/": Address("10.0.0.7", "me", 22, "/var/tmp"),
    "ssh://[fe80::1]:22": Address("fe80::1", port=22),
    "ssh://box/": Address("box"),
}


@pytest.mark.parametrize("text", ADDRESSES)
def test_address_is_read(text: str) -> None:
    assert Address.parse(text) == ADDRESSES[text]


@pytest.mark.parametrize(
    "text",
    [
        "pi",
        "http://pi",
        "ssh://",
        "ssh://-oProxyCommand=x",
        "ssh://-l@pi",
        "ssh://a b",
        "ssh://pi:port",
        "ssh://@pi",
    ],
)
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(CompileError, match="no address of the form ssh://"):
        Address.parse(text)


def test_device_says_what_it_is(sshd: Sshd) -> None:
    with Device(Address.parse(sshd.url)) as device:
        facts = device.facts
        assert facts.arch == platform.machine()
        assert facts.cpu in facts.cpuinfo
        assert facts.memory_bytes > 100_000_000
        assert facts.libc.startswith("glibc 2.")
        assert set(facts.to_json()) >= {"cpu", "arch", "cpus", "memory_bytes", "system", "kernel"}


def test_files_are_copied_and_programs_run_there(sshd: Sshd) -> None:
    with Device(Address.parse(sshd.url)) as device:
        content = bytes(range(256)) * 1000
        device.copy("it's a file", content)
        assert device.read("it's a file") == content
        assert device.run("cat", data=b"through a pipe") == b"through a pipe"
        folder = Path(device.folder)
        assert folder.parent == sshd.device_folder
        assert folder.stat().st_mode & 0o077 == 0, "nobody else may look into it"
    assert not folder.exists()


def test_runner_measures_there(sshd: Sshd) -> None:
    with Device(Address.parse(sshd.url)) as device, device.serve(threads=1) as server:
        assert server.features
        with pytest.raises(CompileError, match=r"^ssh://.*: load: "):
            server.load("nothing.sand")
        assert server.alive


def test_failing_command_has_its_reason(sshd: Sshd) -> None:
    with Device(Address.parse(sshd.url)) as device:
        with pytest.raises(CompileError, match=r"127\.0\.0\.1.*No such file"):
            device.read("nothing")
        with pytest.raises(CompileError, match=r"no answer within 0\.3 s"):
            device.run("sleep", "30", timeout=0.3)


FAULTS = {
    "unknown host key": ("known_hosts", "", "Host key verification failed. (log in by hand once"),
    "no key": ("authorized_keys", "", "Permission denied (publickey"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_refused_login_says_what_to_do(sshd: Sshd, fault: str) -> None:
    file, content, reason = FAULTS[fault]
    path = sshd.folder / file
    before = path.read_text()
    path.write_text(content)
    try:
        with pytest.raises(CompileError) as caught, Device(Address.parse(sshd.url)):
            pass
    finally:
        path.write_text(before)
    assert reason in str(caught.value)


def test_host_that_is_not_there(sshd: Sshd) -> None:
    with (
        pytest.raises(CompileError, match=r"Connection refused.*is sshd running"),
        Device(Address("127.0.0.1", port=9)),
    ):
        pass


def test_host_without_a_name(sshd: Sshd) -> None:
    with (
        pytest.raises(CompileError, match=r"Could not resolve.*check the name"),
        Device(Address("no-such-host.invalid")),
    ):
        pass


def test_host_that_never_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    silent = tmp_path / "ssh"
    silent.write_text("#!/bin/sh\nexec sleep 60\n")
    silent.chmod(0o755)
    monkeypatch.setenv("SANDERLING_SSH", str(silent))
    monkeypatch.setattr(remote, "_ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(remote, "_END_SECONDS", 0.3)
    began = time.monotonic()
    with pytest.raises(CompileError, match=r"no answer within 0\.3 s"), Device(Address("box")):
        pass
    assert time.monotonic() - began < 10


def test_machine_without_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDERLING_SSH", "no-such-ssh")
    with pytest.raises(CompileError, match="no-such-ssh is not installed"), Device(Address("box")):
        pass


def test_folder_that_cannot_be_written(sshd: Sshd) -> None:
    address = Address.parse(sshd.url.replace(str(sshd.device_folder), "/nonexistent"))
    with (
        pytest.raises(CompileError, match=r"No such file.*name a folder that can be written to"),
        Device(address),
    ):
        pass


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            b"#!/bin/sh\necho \"libc.so.6: version 'GLIBC_2.99' not found\" >&2; exit 1\n",
            "C library is too old",
        ),
        (b"\x7fELF" + bytes(14) + b"\x3e\x00" + bytes(100), "Exec format error"),
    ],
    ids=["old C library", "broken program"],
)
def test_runner_that_does_not_run_there(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, reason: str
) -> None:
    program = tmp_path / "sanderling-run"
    program.write_bytes(content)
    monkeypatch.setattr(remote, "runner_for", lambda arch: program)
    with pytest.raises(CompileError, match=reason), Device(Address.parse(sshd.url)):
        pass


def test_runner_of_another_architecture_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert runner_for(platform.machine()).name == "sanderling-run"
    program = tmp_path / "run"
    program.write_bytes(b"\x7fELF" + bytes(14) + b"\xb7\x00" + bytes(100))
    monkeypatch.setenv("SANDERLING_RUN", str(program))
    with pytest.raises(
        CompileError, match=r"the device is x86_64, but .*run is for aarch64; build .*SANDERLING_RUN"
    ):
        runner_for("x86_64")
    assert runner_for("aarch64") == program
    program.write_bytes(b"text")
    with pytest.raises(CompileError, match="no machine that we know"):
        runner_for("x86_64")


def test_interrupt_leaves_nothing(sshd: Sshd) -> None:
    def interrupted() -> None:
        with Device(Address.parse(sshd.url)) as device:
            device.copy("file", b"content")
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        interrupted()


def test_lost_connection_is_noticed_and_leaves_nothing(sshd: Sshd) -> None:
    def disconnected() -> None:
        with Device(Address.parse(sshd.url)) as device, device.serve(threads=1) as server:
            for process in sshd.sessions():
                os.kill(process, signal.SIGKILL)
            server.times(100_000)

    with pytest.warns(UserWarning, match="may still be there"):
        _fails(disconnected, r"^ssh://.*: run: ")
    deadline = time.monotonic() + 10
    while list(sshd.device_folder.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)  # until the shell over there has removed it


def _fails(action: Callable[[], None], reason: str) -> None:
    with pytest.raises(CompileError, match=reason):
        action()
