"""Kubernetes' own schemas, strictly: what they do not know is refused."""

import copy
import unittest

import kubernetes_validate

import manifests

# The oldest that the chart says it takes, and the newest whose schema there is.
RELEASES = ["1.25", "1.37"]
EVERYTHING = {
    "runAs": {"user": 0, "group": 0},
    "imagePullSecrets": [{"name": "registry"}],
    "extraArgs": ["--model", "llama-3.1-8b", "--tp", "8"],
    "nodeSelector": {"nvidia.com/gpu.present": "true"},
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "system-node-critical",
    "podAnnotations": {"team": "serving"},
    "podLabels": {"team": "serving"},
}


def validate(found, release):
    kubernetes_validate.validate(found, release, strict=True)


class Schema(unittest.TestCase):
    def test_the_chart_is_valid_with_its_defaults_and_with_every_value_set(self):
        for values in (None, EVERYTHING):
            objects = manifests.of_chart(values)
            self.assertEqual([found["kind"] for found in objects], ["DaemonSet", "ServiceAccount"])
            for found in objects:
                for release in RELEASES:
                    validate(found, release)

    def test_the_files_are_valid(self):
        for name, releases in [
            ("namespace.yaml", RELEASES),
            ("collector.yaml", RELEASES),
            ("vllm.yaml", RELEASES),
            # Containers that restart beside the others came with 1.28.
            ("sidecar.yaml", ["1.29", "1.37"]),
        ]:
            objects = manifests.of_file(name)
            self.assertTrue(objects, name)
            for found in objects:
                for release in releases:
                    with self.subTest(name, kind=found["kind"], release=release):
                        validate(found, release)

    def test_a_broken_manifest_is_refused(self):
        whole = manifests.one(manifests.of_chart(), "DaemonSet")
        validate(whole, RELEASES[-1])

        def misspelled(pod):
            pod["containers"][0]["volumeMount"] = pod["containers"][0].pop("volumeMounts")

        def wrong_type(pod):
            pod["containers"][0]["ports"][0]["containerPort"] = "9464"

        def left_out(pod):
            del pod["containers"][0]["name"]

        def misplaced(pod):
            pod["readOnlyRootFilesystem"] = True

        for breakage in (misspelled, wrong_type, left_out, misplaced):
            broken = copy.deepcopy(whole)
            breakage(manifests.pod(broken)["spec"])
            with self.subTest(breakage.__name__), self.assertRaises(kubernetes_validate.ValidationError):
                validate(broken, RELEASES[-1])

    def test_a_sidecar_is_refused_by_a_release_that_does_not_know_it(self):
        with self.assertRaises(kubernetes_validate.ValidationError):
            validate(manifests.of_file("sidecar.yaml")[0], "1.27")
