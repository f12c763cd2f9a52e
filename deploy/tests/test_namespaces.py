"""Collector and engine as two pods on one node: namespaces of their own, the manifests' users, arguments and environment.

There is no cluster here. What Kubernetes would set up is set up by unshare(1), mount(8) and setpriv(1), which need root.
The engine is the simulator's program, which plays ranks of vLLM.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
import urllib.request
from pathlib import Path

import manifests
from test_pods import COMMAND, engine_of

TOOLS = ("unshare", "mount", "setpriv")
SIMULATOR = sorted(COMMAND.parent.glob("build/nccltap-rehearsal-*/out/llama_rank"), key=os.path.getmtime)
PATIENCE = float(os.environ.get("NCCLTAP_TEST_PATIENCE", "30"))

# /mnt stands for the container's own file system: it is empty, and the root is read-only.
POD = """
set -e
hostname "$1"
mount -t tmpfs tmpfs /mnt && mkdir /mnt/shm && mount --bind "$2" /mnt/shm
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount --bind / / && mount -o remount,bind,ro /
user=$3
shift 3
exec setpriv --reuid="$user" --regid="$user" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""
# The engine's container drops nothing.
WITH_CAPABILITIES = POD.replace(" --bounding-set=-all --inh-caps=-all", "")


def eventually(look):
    """What `look` gives as soon as it is true."""
    until = time.monotonic() + PATIENCE
    while not (found := look()):
        if time.monotonic() > until:
            raise AssertionError(f"not within {PATIENCE} s")
        time.sleep(0.02)
    return found


@unittest.skipUnless(os.geteuid() == 0 and all(map(shutil.which, TOOLS)), "needs root, unshare, mount and setpriv")
@unittest.skipUnless(COMMAND.exists() and SIMULATOR, f"{COMMAND} and the simulator are not built")
class Namespaces(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.directory.chmod(0o755)
        self.node = self.directory / "node-shm"
        self.node.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", self.node], check=True)
        self.addCleanup(subprocess.run, ["umount", self.node], check=True)
        brought = self.directory / "nccltap"
        subprocess.run([COMMAND, "library", "--into", brought], check=True, capture_output=True)
        self.program = self.directory / "program"
        self.program.mkdir()
        for file in (COMMAND, *SIMULATOR[-1].parent.glob("lib*.so.*"), SIMULATOR[-1]):
            if not file.name.endswith(".map"):
                shutil.copy(file, self.program)
        self.brought = brought

    def pod(self, name, user, command, script=POD, environment=None):
        namespaces = ["unshare", "--mount", "--pid", "--uts", "--fork", "--mount-proc"]
        whole = [*namespaces, "sh", "-c", script, "pod", name, self.node, str(user), *map(str, command)]
        running = subprocess.Popen(
            whole,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.addCleanup(running.communicate)
        self.addCleanup(self.signal, running, signal.SIGKILL)
        return running

    def signal(self, pod, number):
        """Sends a signal to every process of a pod: the death of unshare alone does not reach another user's."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pod.pid, number)

    def collector(self, values=None):
        """The collector of the chart, and where it answers."""
        pod = manifests.pod(manifests.one(manifests.of_chart(values), "DaemonSet"))
        container = manifests.container(pod, "collector")
        arguments = [argument.replace("/host/shm", "/mnt/shm") for argument in container["args"]]
        arguments = [argument.replace("0.0.0.0:9464", "127.0.0.1:0") for argument in arguments]
        user = pod["spec"]["securityContext"]["runAsUser"]
        running = self.pod("collector", user, [self.program / "nccltap", *arguments])
        said = running.stdout.readline()
        self.assertTrue(said.startswith("listening http="), said or running.stderr.read())
        return running, "http://" + said.split("http=")[1].split()[0]

    def rank(self, user, script=POD, tokens=8):
        """Two ranks, as the engine of the manifests is started, for a collector of that user."""
        declared = manifests.variables(manifests.container(engine_of("vllm.yaml")[0], "vllm"))
        taken = {name: declared[name] for name in ("LD_PRELOAD", "NCCLTAP_COLLECTOR", "NCCLTAP_RING_DIR")}
        environment = {name: value.replace("/host/shm", "/mnt/shm") for name, value in taken.items()}
        if user == 0:
            collector = environment["NCCLTAP_COLLECTOR"]
            environment["NCCLTAP_COLLECTOR"] = collector.replace("nccltap-1000", "nccltap-0")
        environment["LD_PRELOAD"] = environment["LD_PRELOAD"].replace("/nccltap", str(self.brought), 1)
        environment["NCCLTAP_REHEARSAL"] = "1"
        rank = f"{self.program}/llama_rank --tp 2 --prompt 16 --output {tokens} --pace 5 --ids-file /mnt/ids"
        ranks = f"{rank} --rank 1 & {rank} --rank 0; code=$?; wait $! && exit $code"
        # /mnt belongs to root: the ranks find each other by a file in it.
        script = script.replace("mount --bind / /", "chmod 777 /mnt && mount --bind / /")
        return self.pod("vllm-0", user, ["sh", "-c", ranks], script, environment)

    def counted(self, at):
        with urllib.request.urlopen(f"{at}/api/v1/report?format=json", timeout=10) as answer:
            return sum(row["count"] for row in json.load(answer))

    def processes(self, at):
        with urllib.request.urlopen(f"{at}/api/v1/processes", timeout=10) as answer:
            return json.load(answer)["processes"]

    def rings(self):
        return [path.name for path in self.node.iterdir() if path.is_file()]

    def kill_while_stopped(self, engine, collector):
        """Kills an engine while its collector can take nothing: both its ranks leave their rings."""
        self.signal(collector, signal.SIGSTOP)
        self.signal(engine, signal.SIGKILL)
        engine.wait(PATIENCE)
        self.assertEqual(len(self.rings()), 2)
        self.signal(collector, signal.SIGCONT)

    def test_an_engine_of_the_same_user_is_counted_and_leaves_nothing(self):
        _, at = self.collector()
        user = engine_of("vllm.yaml")[0]["spec"]["securityContext"]["runAsUser"]
        engine = self.rank(user)
        self.assertEqual(engine.wait(PATIENCE), 0, engine.stderr)
        # A prompt and seven steps of 65 AllReduce and a gather, for each of two ranks, are the least it can be.
        eventually(lambda: self.counted(at) >= 2 * 8 * 65)
        eventually(lambda: not self.rings())
        self.assertEqual({process["host"] for process in self.processes(at)}, {"vllm-0"})

    def test_what_a_killed_engine_left_is_taken(self):
        collector, at = self.collector()
        engine = self.rank(1000, tokens=100_000)
        eventually(lambda: self.counted(at) > 1000)
        self.kill_while_stopped(engine, collector)
        eventually(lambda: not self.rings())
        for process in self.processes(at):
            self.assertEqual(process["life"], "recovered")

    def test_an_engine_of_root_is_counted_and_recovered_by_a_collector_of_root_without_capabilities(self):
        collector, at = self.collector({"runAs": {"user": 0, "group": 0}})
        engine = self.rank(0, WITH_CAPABILITIES, tokens=100_000)
        eventually(lambda: self.counted(at) > 1000)
        self.kill_while_stopped(engine, collector)
        eventually(lambda: not self.rings())

    def test_an_engine_of_another_user_runs_all_the_same(self):
        _, at = self.collector()
        engine = self.rank(2000)
        self.assertEqual(engine.wait(PATIENCE), 0)
        self.assertEqual(self.counted(at), 0)

    def test_an_engine_needs_no_collector(self):
        self.assertEqual(self.rank(1000).wait(PATIENCE), 0)
