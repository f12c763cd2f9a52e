"""Changes modules of an engine when they are imported, for the sitecustomize.py of folders beside this one."""

import importlib.abc
import importlib.util
import sys


class Finder(importlib.abc.MetaPathFinder):
    """Lets a module be imported as always, and then changes it."""

    def __init__(self, patches):
        self.patches = patches

    def find_spec(self, name, path, target=None):
        patch = self.patches.get(name)
        if patch is None:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            patch(module)

        spec.loader.exec_module = exec_module
        return spec


def patch_imports(patches):
    """From now on: `patches` has, by name, what is called with a module once it is imported."""
    sys.meta_path.insert(0, Finder(patches))
