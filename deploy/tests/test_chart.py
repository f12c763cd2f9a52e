"""What Helm makes of the chart."""

import os
import unittest

import helm_python
import yaml

import manifests


class Chart(unittest.TestCase):
    def test_helm_finds_nothing_wrong(self):
        found = helm_python.lint(manifests.CHART, strict=True)
        self.assertEqual(found["total_charts_linted"], 1)
        self.assertEqual(found["errors"], [])
        # Severity 1 is information: it would like an icon.
        self.assertLessEqual({message["severity"] for message in found["messages"]}, {1})

    def test_a_value_that_is_not_there_or_cannot_be_is_refused(self):
        for values in [
            {"runas": {"user": 1}},
            {"runAs": {"user": "vllm", "group": 1}},
            {"http": {"port": 80}},
            {"sharedMemory": {"hostPath": "dev/shm", "mountPath": "/host/shm"}},
            {"podMonitor": {"interval": "often"}},
        ]:
            with self.subTest(values), self.assertRaises(helm_python.HelmValuesError):
                manifests.rendered(values)

    def test_the_plain_manifests_are_what_it_renders_with_its_defaults(self):
        texts = manifests.rendered()
        plain = "# Rendered from deploy/helm/nccltap: NCCLTAP_BLESS=1 deploy/check.sh\n"
        for name in ("serviceaccount.yaml", "daemonset.yaml"):
            plain += f"---\n{texts[name].strip()}\n"
        kept = manifests.KUBERNETES / "collector.yaml"
        if os.environ.get("NCCLTAP_BLESS"):
            kept.write_text(plain)
        self.assertEqual(kept.read_text(), plain)

    def test_its_version_is_that_of_the_project(self):
        cargo = (manifests.DEPLOY.parent / "Cargo.toml").read_text()
        chart = yaml.safe_load((manifests.CHART / "Chart.yaml").read_text())
        self.assertIn(f'version = "{chart["version"]}"', cargo)
        self.assertEqual(chart["appVersion"], chart["version"])
        tag = yaml.safe_load((manifests.KUBERNETES / "kustomization.yaml").read_text())["images"][0]["newTag"]
        self.assertEqual(tag, chart["appVersion"])

    def test_the_monitor_selects_the_pods_and_names_their_port(self):
        self.assertNotIn("PodMonitor", [found["kind"] for found in manifests.of_chart()])
        values = {"podMonitor": {"enabled": True, "interval": "5s", "labels": {"release": "prometheus"}}}
        objects = manifests.of_chart(values)
        monitor, pod = manifests.one(objects, "PodMonitor"), manifests.pod(manifests.one(objects, "DaemonSet"))
        self.assertEqual(monitor["metadata"]["labels"]["release"], "prometheus")
        selected = monitor["spec"]["selector"]["matchLabels"].items()
        self.assertLessEqual(selected, pod["metadata"]["labels"].items())
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        self.assertEqual(endpoint["interval"], "5s")
        self.assertIn(endpoint["port"], [port["name"] for port in pod["spec"]["containers"][0]["ports"]])

    def test_the_notes_say_what_a_pod_needs_of_these_values(self):
        values = {"runAs": {"user": 2000, "group": 2000}, "sharedMemory": {"hostPath": "/dev/shm", "mountPath": "/shm"}}
        notes = manifests.rendered(values)["NOTES.txt"]
        pod = {"spec": yaml.safe_load(notes.split("\n\n", 1)[1])}
        engine = manifests.container(pod, "vllm")
        collector = manifests.pod(manifests.one(manifests.of_chart(values), "DaemonSet"))["spec"]["containers"][0]
        variables = manifests.variables(engine)
        self.assertEqual(variables["NCCLTAP_COLLECTOR"], manifests.option(collector, "listen"))
        self.assertEqual(variables["NCCLTAP_RING_DIR"], manifests.option(collector, "recover-dir"))
        self.assertIn("user 2000", notes)
