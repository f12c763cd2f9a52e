import importlib
import os
import sys
import tempfile
import unittest

from nccltap.imports import when_imported


class WhenImported(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        sys.path.insert(0, folder.name)
        self.addCleanup(sys.path.remove, folder.name)
        self.name = f"imported_{self._testMethodName}"
        self.addCleanup(sys.modules.pop, self.name, None)
        with open(os.path.join(folder.name, f"{self.name}.py"), "w") as module:
            module.write("value = 1\n")
        importlib.invalidate_caches()

    def test_a_module_is_changed_when_it_is_imported_and_keeps_its_own_loader(self):
        seen = []
        when_imported(self.name, lambda module: seen.append(module.value))
        self.assertNotIn(self.name, sys.modules)
        module = importlib.import_module(self.name)
        self.assertEqual(seen, [1])
        for loader in (module.__loader__, module.__spec__.loader):
            self.assertIsInstance(loader, importlib.machinery.SourceFileLoader)

    def test_one_that_is_imported_already_is_changed_at_once(self):
        module, seen = importlib.import_module(self.name), []
        when_imported(self.name, seen.append)
        self.assertEqual(seen, [module])

    def test_another_finder_of_this_kind_does_not_make_it_happen_twice(self):
        seen = []

        class Other(importlib.abc.MetaPathFinder):
            def find_spec(other, name, path=None, target=None):
                if name != self.name:
                    return None
                sys.meta_path.remove(other)
                try:
                    return importlib.util.find_spec(name)
                finally:
                    sys.meta_path.append(other)

        other = Other()
        self.addCleanup(lambda: sys.meta_path.remove(other))
        when_imported(self.name, seen.append)
        sys.meta_path.insert(0, other)
        importlib.import_module(self.name)
        self.assertEqual(len(seen), 1)

    def test_a_module_that_is_not_there_is_still_not_there(self):
        when_imported("nccltap_no_such_module", self.fail)
        with self.assertRaises(ModuleNotFoundError):
            importlib.import_module("nccltap_no_such_module")


if __name__ == "__main__":
    unittest.main()
