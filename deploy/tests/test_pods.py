"""What the manifests say to each other, and what they ask of a node."""

import os
import re
import signal
import subprocess
import tempfile
import unittest
import urllib.request
from pathlib import Path

import manifests

COMMAND = Path(os.environ.get("NCCLTAP", manifests.DEPLOY.parent / "target" / "release" / "nccltap"))


def collector_of(name):
    """The pod with the collector in it, and the collector."""
    pod = manifests.pod(next(found for found in manifests.of_file(name) if "template" in found.get("spec", {})))
    return pod, manifests.container(pod, "collector")


def engine_of(name):
    pod = manifests.pod(manifests.of_file(name)[0])
    return pod, manifests.container(pod, "vllm")


def restricted(pod):
    """How a pod breaks the level `restricted` of the pod security standards."""
    broken = []
    volumes = {kind for volume in pod["spec"].get("volumes", []) for kind in volume if kind != "name"}
    broken += [f"volume {kind}" for kind in volumes - {"emptyDir", "configMap", "secret", "projected"}]
    broken += [key for key in ("hostNetwork", "hostPID", "hostIPC") if pod["spec"].get(key)]
    of_pod = pod["spec"].get("securityContext", {})
    for container in pod["spec"]["containers"] + pod["spec"].get("initContainers", []):
        context = {**of_pod, **container.get("securityContext", {})}
        for is_kept, rule in [
            (context.get("runAsNonRoot") is True and context.get("runAsUser") != 0, "runs as root"),
            (context.get("allowPrivilegeEscalation") is False, "may gain privileges"),
            (not context.get("privileged"), "is privileged"),
            (context.get("capabilities") == {"drop": ["ALL"]}, "has capabilities"),
            (context.get("seccompProfile", {}).get("type") == "RuntimeDefault", "has no seccomp profile"),
            (all("hostPort" not in port for port in container.get("ports", [])), "takes a port of the node"),
        ]:
            if not is_kept:
                broken.append(f"{container['name']} {rule}")
    return broken


class Pods(unittest.TestCase):
    def test_they_are_restricted_but_for_the_shared_memory_of_the_node(self):
        self.assertEqual(restricted(collector_of("collector.yaml")[0]), ["volume hostPath"])
        self.assertEqual(restricted(engine_of("vllm.yaml")[0]), ["volume hostPath"])
        self.assertEqual(restricted(collector_of("sidecar.yaml")[0]), [])

    def test_the_look_at_the_rules_finds_what_breaks_them(self):
        pod = collector_of("sidecar.yaml")[0]
        pod["spec"]["securityContext"]["runAsUser"] = 0
        pod["spec"]["hostIPC"] = True
        del manifests.container(pod, "vllm")["securityContext"]["capabilities"]
        found = restricted(pod)
        for expected in ("hostIPC", "vllm runs as root", "vllm has capabilities"):
            self.assertIn(expected, found)

    def test_the_collector_can_write_nothing_but_shared_memory(self):
        for name in ("collector.yaml", "sidecar.yaml"):
            pod, collector = collector_of(name)
            self.assertIs(collector["securityContext"]["readOnlyRootFilesystem"], True)
            (at,) = manifests.mounts(collector)
            for option in ("listen", "recover-dir"):
                path = manifests.option(collector, option).removeprefix("unix:")
                self.assertTrue(Path(path).is_relative_to(at), f"{path} is not in {at}")
            self.assertIs(pod["spec"]["automountServiceAccountToken"], False)

    def test_engine_and_collector_mean_the_same_places_and_the_same_user(self):
        for engine_file, collector_file in [("vllm.yaml", "collector.yaml"), ("sidecar.yaml", "sidecar.yaml")]:
            pod, engine = engine_of(engine_file)
            collector_pod, collector = collector_of(collector_file)
            variables = manifests.variables(engine)
            self.assertEqual(variables["NCCLTAP_COLLECTOR"], manifests.option(collector, "listen"))
            rings = variables["NCCLTAP_RING_DIR"]
            self.assertEqual(rings, manifests.option(collector, "recover-dir"))

            def volume(of, container):
                name = manifests.mounts(container)[rings]
                (found,) = [{**found, "name": ""} for found in of["spec"]["volumes"] if found["name"] == name]
                return found

            self.assertEqual(volume(pod, engine), volume(collector_pod, collector))
            user = [of["spec"]["securityContext"]["runAsUser"] for of in (pod, collector_pod)]
            self.assertEqual(user[0], user[1])

    def test_the_engine_preloads_what_the_init_container_brings(self):
        for name in ("vllm.yaml", "sidecar.yaml"):
            pod, engine = engine_of(name)
            bringer = manifests.container(pod, "nccltap")
            self.assertEqual(bringer["args"][:2], ["library", "--into"])
            to = bringer["args"][2]
            self.assertEqual(manifests.mounts(bringer)[to], manifests.mounts(engine)[to])
            self.assertEqual(manifests.variables(engine)["LD_PRELOAD"], f"{to}/libnccltap.so")
            self.assertEqual(manifests.variables(engine)["PYTHONPATH"], f"{to}/python")

    def test_every_volume_that_is_mounted_is_there_and_selectors_select(self):
        for name in ("collector.yaml", "vllm.yaml", "sidecar.yaml"):
            workload = next(found for found in manifests.of_file(name) if "template" in found.get("spec", {}))
            pod = manifests.pod(workload)
            volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
            used = set()
            for container in pod["spec"]["containers"] + pod["spec"].get("initContainers", []):
                used |= set(manifests.mounts(container).values())
            self.assertEqual(used, volumes)
            selected = workload["spec"]["selector"]["matchLabels"].items()
            self.assertLessEqual(selected, pod["metadata"]["labels"].items())

    @unittest.skipUnless(COMMAND.exists(), f"{COMMAND} is not built")
    def test_the_command_takes_the_arguments_and_is_ready(self):
        for name in ("collector.yaml", "sidecar.yaml"):
            with self.subTest(name), tempfile.TemporaryDirectory() as shared_memory:
                _, collector = collector_of(name)
                (at,) = manifests.mounts(collector)
                arguments = [argument.replace(at, shared_memory) for argument in collector["args"]]
                arguments = [argument.replace("0.0.0.0:9464", "127.0.0.1:0") for argument in arguments]
                serving = subprocess.Popen([COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                try:
                    said = serving.stdout.readline()
                    self.assertIn(f"collector=unix:{shared_memory}/nccltap-1000/collector.sock", said)
                    http = re.search(r"http=(\S+)", said)[1]
                    for probe in ("livenessProbe", "readinessProbe"):
                        path = collector.get(probe, {}).get("httpGet", {}).get("path", "/metrics")
                        with urllib.request.urlopen(f"http://{http}{path}", timeout=10) as answer:
                            self.assertEqual(answer.status, 200)
                    serving.send_signal(signal.SIGTERM)
                    self.assertEqual(serving.wait(10), 0)
                finally:
                    serving.kill()
                    serving.communicate()

    @unittest.skipUnless(COMMAND.exists(), f"{COMMAND} is not built")
    def test_the_init_container_brings_libraries_and_plugin(self):
        with tempfile.TemporaryDirectory() as directory:
            done = subprocess.run([COMMAND, "library", "--into", directory], check=True, capture_output=True, text=True)
            self.assertEqual(done.stdout, f"{directory}/libnccltap.so\n")
            brought = {path.name for path in Path(directory).iterdir()}
            self.assertEqual(brought, {"libnccltap.so", "libnccltap_uplink.so", "python"})
