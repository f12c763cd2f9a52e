"""The manifests as objects, from files and from the chart."""

from pathlib import Path

import helm_python
import yaml

DEPLOY = Path(__file__).resolve().parent.parent
CHART = DEPLOY / "helm" / "nccltap"
KUBERNETES = DEPLOY / "kubernetes"


def of_file(name):
    """Every object in a file of deploy/kubernetes."""
    return [found for found in yaml.safe_load_all((KUBERNETES / name).read_text()) if found]


def rendered(values=None):
    """What the chart renders, by the name of its template."""
    with helm_python.Chart.load(CHART) as chart:
        chart.validate_schema(values)
        texts = chart.render(values, name="nccltap", namespace="nccltap")
    return {name.rsplit("/", 1)[1]: text for name, text in sorted(texts.items())}


def of_chart(values=None):
    """Every object that the chart renders."""
    texts = [text for name, text in rendered(values).items() if name.endswith(".yaml")]
    return [found for text in texts for found in yaml.safe_load_all(text) if found]


def one(objects, kind):
    """The one object of a kind."""
    (found,) = [found for found in objects if found["kind"] == kind]
    return found


def pod(workload):
    """The pod that a DaemonSet or Deployment makes."""
    return workload["spec"]["template"]


def container(pod, name):
    """A container of a pod, the first ones included."""
    spec = pod["spec"]
    (found,) = [c for c in spec["containers"] + spec.get("initContainers", []) if c["name"] == name]
    return found


def variables(container):
    """The environment that a container declares."""
    return {variable["name"]: variable["value"] for variable in container.get("env", [])}


def option(container, name):
    """The value of `--name=VALUE` among the arguments of a container."""
    (found,) = [a.split("=", 1)[1] for a in container["args"] if a.startswith(f"--{name}=")]
    return found


def mounts(container):
    """Where a container sees which volume."""
    return {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", [])}
