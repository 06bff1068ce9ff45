"""A Slurm cluster of this machine alone: munged, slurmctld and slurmd as root, on loopback, in a temporary folder."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

CONF = """
ClusterName=twoclocks
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
KillWait=2
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 {node} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture(scope="session")
def slurm():
    """The cluster, ready for sbatch; SLURM_CONF points at it. Everything is stopped and removed at the end."""
    if missing := [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name) is None]:
        pytest.fail(f"{', '.join(missing)} not found; install Debian's slurm-wlm")
    if os.geteuid() != 0:
        pytest.fail("slurmd starts jobs as their user, so this test runs as root")
    folder = Path(tempfile.mkdtemp(prefix="twoclocks-slurm-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        _write_files(folder)
        stack.callback(lambda: print(_logs(folder)))  # shown by pytest when a test fails
        start = [
            ["munged", "--foreground", "--force", "--num-threads=2", f"--key-file={folder}/munge.key",
             f"--socket={folder}/munge.socket", f"--pid-file={folder}/munged.pid", f"--seed-file={folder}/munged.seed"],
            ["slurmctld", "-D", "-c"],
            ["slurmd", "-D"],
        ]  # fmt: skip
        for command in start:
            with open(folder / f"{command[0]}.out", "w") as log:
                process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
            stack.callback(_stop, process)
            if command[0] == "munged":
                _wait_for((folder / "munge.socket").exists, 10, folder)
        _wait_for(lambda: _answer("sinfo", "-h", "-o", "%T") == "idle", 30, folder)
        stack.callback(_cancel_all)  # first of the callbacks to run: jobs end before their daemons
        yield folder


def _write_files(folder: Path) -> None:
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    host = socket.gethostname().partition(".")[0]
    ports = []
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            free = stack.enter_context(socket.socket())
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    described = subprocess.run(["slurmd", "-C"], capture_output=True, text=True, check=True).stdout.split()
    node = " ".join(part for part in described if part.partition("=")[0] in ("CPUs", "RealMemory"))
    (folder / "slurm.conf").write_text(
        CONF.format(folder=folder, host=host, ctld_port=ports[0], slurmd_port=ports[1], node=node)
    )


def _cancel_all() -> None:
    subprocess.run(["scancel", "--user", str(os.getuid())], check=False)
    until = time.monotonic() + 20
    while _answer("squeue", "-h") and time.monotonic() < until:
        time.sleep(0.2)


def _stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_for(condition, seconds: float, folder: Path) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            pytest.fail(f"Slurm does not start:\n{_logs(folder)}")
        time.sleep(0.2)


def _answer(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _logs(folder: Path) -> str:
    return "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in sorted(folder.glob("*.[lo][ou][gt]")))
