"""Puts the command and the libraries of nccltap into the wheel, where deploy/wheel/build.sh has built them."""

import os
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Command(BuildHookInterface):
    def initialize(self, version, build_data):
        stage = os.environ.get("NCCLTAP_WHEEL_STAGE")
        if not stage:
            return
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-" + os.environ["NCCLTAP_WHEEL_PLATFORM"]
        # `bin` of the environment, whatever its system calls that; all else lies relative to it as it was staged.
        build_data["shared_scripts"][f"{stage}/bin/nccltap"] = "nccltap"
        for part in ("lib", "share"):
            for file in Path(stage, part).rglob("*"):
                if file.is_file():
                    build_data["shared_data"][str(file)] = str(file.relative_to(stage))
