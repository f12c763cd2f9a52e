#!/usr/bin/env python3
"""What vLLM's /metrics has of KV-cache transfers: its own classes export a handful of transfers that are named here.

usage: kv_exposition.py      under `nccltap rehearse`, of vLLM 0.20 or later

No transfer is made: connectors need network cards and stores that no simulation has. Names, labels and types are vLLM's. The output for
0.20.0 and 0.32.0 is collector/src/serving/recorded/; the transfers are those that the tests of collector/src/serving/kv.rs expect.
"""

import importlib
import sys
from types import SimpleNamespace

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONNECTORS = "vllm.distributed.kv_transfer.kv_connector.v1."


def main() -> None:
    registry = CollectorRegistry()

    def of(kind):
        return lambda *arguments, **options: kind(*arguments, registry=registry, **options)

    types = {kind: of(kind) for kind in (Counter, Gauge, Histogram)}
    names, values = ["model_name", "engine"], {0: ["m", "0"]}
    config = SimpleNamespace(kv_transfer_config=SimpleNamespace(kv_connector_extra_config={}))

    nixl = importlib.import_module(CONNECTORS + "nixl.stats")
    data = nixl.NixlKVConnectorStats().data
    data["transfer_duration"] += [0.010, 0.030]
    data["post_duration"] += [0.001, 0.001]
    data["bytes_transferred"] += [1 << 20, 3 << 20]
    data["num_descriptors"] += [64, 192]
    data["num_failed_transfers"] += [1]
    data["num_kv_expired_reqs"] += [1]
    nixl.NixlPromMetrics(config, types, names, values).observe(data, 0)

    try:
        mooncake = importlib.import_module(CONNECTORS + "mooncake.store.metrics")
    except ImportError:
        print("vLLM of this release says nothing of Mooncake", file=sys.stderr)
    else:
        stats = mooncake.MooncakeStoreConnectorStats()
        stats.record_operation("save_exists", 0.001, 4)
        stats.record_operation("save_put", 0.020, 4, num_bytes=8 << 20)
        stats.record_operation("load_get", 0.005, 2, num_bytes=4 << 20)
        stats.record_operation("load_get", 0.100, 2, status="error", num_failed_keys=2)
        mooncake.MooncakeStorePromMetrics(config, types, names, values).observe(stats.data, 0)

    print(generate_latest(registry).decode(), end="")


if __name__ == "__main__":
    main()
