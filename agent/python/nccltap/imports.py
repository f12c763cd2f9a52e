"""Does something when a module has been imported, without importing it."""

import importlib.abc
import importlib.machinery
import sys
import threading
from types import ModuleType
from typing import Any, Callable, Dict, List, Optional

Action = Callable[[ModuleType], None]


class _Loader(importlib.abc.Loader):
    """A module's own loader, and then the actions."""

    def __init__(self, own: Any, actions: List[Action]) -> None:
        self._own = own
        self._actions = actions

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Optional[ModuleType]:
        return self._own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # Whoever asks the module later who loaded it shall find its own loader.
        module.__loader__ = self._own
        if module.__spec__ is not None:
            module.__spec__.loader = self._own
        self._own.exec_module(module)
        for action in self._actions:
            action(module)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self) -> None:
        self.actions: Dict[str, List[Action]] = {}
        self._asking = threading.local()

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Optional[importlib.machinery.ModuleSpec]:
        actions = self.actions.get(fullname)
        # Another finder of this kind may look the module up through all finders, this one among them.
        if actions is None or getattr(self._asking, "now", False):
            return None
        self._asking.now = True
        try:
            for finder in list(sys.meta_path):
                find = getattr(finder, "find_spec", None)
                spec = find(fullname, path, target) if find and finder is not self else None
                if spec is not None:
                    break
            else:
                return None
        finally:
            self._asking.now = False
        if hasattr(spec.loader, "exec_module"):
            spec.loader = _Loader(spec.loader, actions)
        return spec


_finder = _Finder()


def when_imported(name: str, action: Action) -> None:
    """Calls `action` with the module of this name: now, or when it is imported, if ever."""
    module = sys.modules.get(name)
    if module is not None:
        action(module)
        return
    _finder.actions.setdefault(name, []).append(action)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
