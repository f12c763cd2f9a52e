import enum
import unittest
from types import ModuleType, SimpleNamespace

from nccltap import marks, sglang
from nccltap.hooks import Marker
from tests.fakes import Tap, begins


class Mode(enum.Enum):
    EXTEND = 1
    MIXED = 2
    DECODE = 3
    IDLE = 4
    PREBUILT = 5

    def is_extend(self):
        return self in (Mode.EXTEND, Mode.MIXED)

    def is_decode(self):
        return self is Mode.DECODE

    def is_idle(self):
        return self is Mode.IDLE


def batch(mode, requests, tokens=0, decoding=None):
    return SimpleNamespace(forward_mode=mode, reqs=[None] * requests, extend_num_tokens=tokens, decoding_reqs=decoding)


class Batches(unittest.TestCase):
    def test_each_batch_is_a_step(self):
        tap, module = Tap(), ModuleType("sglang.srt.managers.scheduler")

        class Scheduler:
            def run_batch(self, batch, pp_proxy_tensors=None):
                return batch.forward_mode

        module.Scheduler = Scheduler
        sglang.hook(Marker(tap), module)
        for one in [
            batch(Mode.EXTEND, 2, 100),
            batch(Mode.MIXED, 5, 33, decoding=[None] * 3),
            batch(Mode.DECODE, 4),
            batch(Mode.IDLE, 0),
        ]:
            self.assertIs(Scheduler().run_batch(one), one.forward_mode)
        expected = [(2, 0, 100, 0, 0, 0), (2, 3, 30, 3, 0, 0), (0, 4, 0, 4, 0, 0), (0, 0, 0, 0, 0, marks.DUMMY)]
        self.assertEqual(begins(tap), expected)
        Scheduler().run_batch(batch(Mode.PREBUILT, 1))
        self.assertEqual(len(begins(tap)), 4)


if __name__ == "__main__":
    unittest.main()
