"""The Dockerfile, the units, and what kubectl makes of the plain manifests."""

import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import yaml

import manifests

UNITS = manifests.DEPLOY / "systemd"


def run(*command):
    return subprocess.run(command, capture_output=True, text=True)


class Image(unittest.TestCase):
    def test_hadolint_finds_nothing_wrong(self):
        done = run("hadolint", str(manifests.DEPLOY / "container" / "Dockerfile"))
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_it_builds_with_the_projects_rust_and_runs_as_nobody(self):
        text = (manifests.DEPLOY / "container" / "Dockerfile").read_text()
        rust = re.search(r'rust-version = "(.*)"', (manifests.DEPLOY.parent / "Cargo.toml").read_text())[1]
        self.assertIn(f"FROM rust:{rust}-", text)
        self.assertEqual(re.findall(r"^USER (.*)$", text, re.M), ["65532:65532"])


@unittest.skipUnless(shutil.which("systemd-analyze"), "there is no systemd-analyze")
class Units(unittest.TestCase):
    def unit(self, directory, breakage=lambda text: text):
        """The unit with a command and a manual page that are there on this machine."""
        text = (UNITS / "nccltap@.service").read_text()
        text = re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", text)
        text = re.sub(r"Documentation=.*", "", text)
        unit = Path(directory) / "nccltap@.service"
        unit.write_text(breakage(text))
        return str(unit)

    def test_systemd_takes_every_line(self):
        with tempfile.TemporaryDirectory() as directory:
            done = run("systemd-analyze", "verify", "--man=no", self.unit(directory))
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            misspelled = self.unit(directory, lambda text: text.replace("ProtectSystem", "ProtectSytem"))
            self.assertIn("ProtectSytem", run("systemd-analyze", "verify", "--man=no", misspelled).stderr)

    def test_little_is_exposed(self):
        with tempfile.TemporaryDirectory() as directory:
            ask = ("systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=20")
            self.assertEqual(run(*ask, self.unit(directory)).returncode, 0)
            open_unit = self.unit(directory, lambda text: re.sub(r"\n(Protect|Capability|System|Restrict).*", "", text))
            self.assertNotEqual(run(*ask, open_unit).returncode, 0)

    def test_the_engine_is_told_of_the_socket_that_the_unit_makes(self):
        service = (UNITS / "nccltap@.service").read_text()
        listens = re.search(r"--listen (\S+)", service)[1].replace("%i", "vllm")
        self.assertIn(f"NCCLTAP_COLLECTOR={listens}\n", (UNITS / "vllm.conf").read_text())


@unittest.skipUnless(shutil.which("kubectl"), "there is no kubectl")
class Kustomize(unittest.TestCase):
    def test_kubectl_renders_the_plain_manifests_into_their_namespace(self):
        done = run("kubectl", "kustomize", str(manifests.KUBERNETES))
        self.assertEqual(done.returncode, 0, done.stderr)
        objects = list(yaml.safe_load_all(done.stdout))
        self.assertEqual({found["kind"] for found in objects}, {"Namespace", "ServiceAccount", "DaemonSet"})
        for found in objects:
            self.assertIn("nccltap", (found["metadata"]["name"], found["metadata"].get("namespace")))
