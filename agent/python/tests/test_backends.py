import unittest
from collections import Counter
from types import ModuleType, SimpleNamespace

from nccltap import backends, marks
from nccltap.hooks import Marker
from tests.fakes import Tap


def tensor(nbytes):
    return SimpleNamespace(nbytes=nbytes)


def module(name, **members):
    made = ModuleType(name)
    for member, value in members.items():
        setattr(made, member, value)
    return made


class Pynccl:
    """`PyNcclCommunicator`, as far as it reduces."""

    disabled = False

    def all_reduce(self, in_tensor, out_tensor=None, op="sum", stream=None):
        return None if self.disabled else ("reduced", in_tensor, op)


class Backends(unittest.TestCase):
    def setUp(self):
        self.tap = Tap()
        self.marker = Marker(self.tap)
        self.marker.witness = self.witness = backends.Witness(self.marker)

    def hook(self, backend, **classes):
        for name, owner, *row in backends.BACKENDS:
            if row[-1] == backend and owner in classes:
                self.witness.hook(module(name, **classes), owner, *row)

    def hooked_pynccl(self):
        owner = type("PyNcclCommunicator", (Pynccl,), {"all_reduce": Pynccl.all_reduce})
        self.hook(marks.PYNCCL, PyNcclCommunicator=owner)
        return owner()

    def said(self):
        """What is said at the end of a step, if anything."""
        self.tap.marked.clear()
        self.marker.within(marks.step(flags=marks.WARM_UP), lambda: None)
        begin, *said, end = self.tap.marked
        self.assertEqual((begin[0], end[0]), ("begin", "end"))
        return [calls for kind, calls in said if kind == "chosen"]

    def test_calls_of_a_step_are_said_at_its_end_by_backend_and_size(self):
        pynccl = self.hooked_pynccl()
        for size in (4, 8192, 8192):
            self.assertEqual(pynccl.all_reduce(tensor(size))[0], "reduced")
        self.assertEqual(self.said(), [{(marks.PYNCCL, 4): 1, (marks.PYNCCL, 8192): 2}])
        self.assertEqual(self.said(), [], "nothing was done since")

    def test_arguments_and_results_are_the_engines_own(self):
        pynccl = self.hooked_pynccl()
        one = tensor(4)
        self.assertEqual(pynccl.all_reduce(one, None, "max"), ("reduced", one, "max"))
        self.assertEqual(pynccl.all_reduce(in_tensor=one, op="min"), ("reduced", one, "min"))
        self.assertEqual(pynccl.all_reduce.__name__, "all_reduce")
        self.assertEqual(self.said(), [{(marks.PYNCCL, 4): 2}])

    def test_a_backend_that_is_disabled_did_nothing(self):
        pynccl = self.hooked_pynccl()
        pynccl.disabled = True
        self.assertIsNone(pynccl.all_reduce(tensor(4)))
        self.assertEqual(self.said(), [])

    def test_an_error_of_the_engine_goes_through_and_is_no_call(self):
        def broken(self, inp):
            raise ValueError("the engine's own")

        owner = type("QuickAllReduce", (), {"quick_all_reduce": broken})
        self.hook(marks.QUICK_REDUCE, QuickAllReduce=owner)
        with self.assertRaisesRegex(ValueError, "the engine's own"):
            owner().quick_all_reduce(tensor(4))
        self.assertEqual(self.said(), [])

    def test_what_only_warms_up_before_a_capture_launches_nothing(self):
        class CustomAllreduce:
            warms_up = True

            def all_reduce(self, inp, *, out=None, registered=False):
                return inp

            def custom_all_reduce(self, inp):
                return inp if self.warms_up else self.all_reduce(inp, registered=True)

        self.hook(marks.CUSTOM, CustomAllreduce=CustomAllreduce)
        custom = CustomAllreduce()
        custom.custom_all_reduce(tensor(8192))
        self.assertEqual(self.said(), [])
        custom.warms_up = False
        custom.custom_all_reduce(tensor(8192))
        self.assertEqual(self.said(), [{(marks.CUSTOM, 8192): 1}])

    def test_what_is_cut_into_pieces_is_a_call_for_each(self):
        class CustomAllreduce:
            def all_reduce(self, inp, *, out=None, registered=False):
                for piece in (inp.nbytes // 2, inp.nbytes // 2):
                    self._all_reduce_chunk(tensor(piece), out, registered)
                return inp

            def _all_reduce_chunk(self, inp, out, registered):
                return None

        self.hook(marks.CUSTOM, CustomAllreduce=CustomAllreduce)
        CustomAllreduce().all_reduce(tensor(32))
        self.assertEqual(self.said(), [{(marks.CUSTOM, 16): 2}])

    def test_flashinfer_is_told_from_what_it_fuses(self):
        patterns = SimpleNamespace(kAllReduce=0, kARResidualRMSNorm=1)
        comm = module(
            "flashinfer.comm",
            AllReduceFusionPattern=patterns,
            allreduce_fusion=lambda input, workspace, pattern: input,
            trtllm_allreduce_fusion=lambda allreduce_in, pattern_code: None,
        )
        self.witness.hook_flashinfer(comm)
        comm.allreduce_fusion(input=tensor(8), workspace=None, pattern=0)
        comm.allreduce_fusion(input=tensor(8), workspace=None, pattern=1)
        comm.trtllm_allreduce_fusion(allreduce_in=tensor(16), pattern_code=1)
        expected = {(marks.FLASHINFER, 8): 1, (marks.FLASHINFER_FUSED, 8): 1, (marks.FLASHINFER_FUSED, 16): 1}
        self.assertEqual(self.said(), [expected])

    def test_a_backend_that_is_missing_is_said_once_and_the_others_speak(self):
        with self.assertLogs("nccltap", "WARNING") as logged:
            for _ in range(2):
                self.hook(marks.SYMM_MEM, SymmMemCommunicator=None)
        self.assertEqual(len(logged.records), 1)
        self.assertIn("has no SymmMemCommunicator.all_reduce", logged.output[0])
        self.hooked_pynccl().all_reduce(tensor(4))
        self.assertEqual(self.said(), [{(marks.PYNCCL, 4): 1}])

    def test_a_call_that_is_not_understood_ends_what_is_said_and_not_the_engine(self):
        pynccl = self.hooked_pynccl()
        with self.assertLogs("nccltap", "WARNING") as logged:
            self.assertEqual(pynccl.all_reduce("no tensor")[0], "reduced")
            pynccl.all_reduce(tensor(4))
            self.assertEqual(self.said(), [])
        self.assertEqual(len(logged.records), 1)

    def test_more_than_is_remembered_ends_what_is_said(self):
        pynccl = self.hooked_pynccl()
        with self.assertLogs("nccltap", "WARNING") as logged:
            for _ in range(backends.LONGEST):
                pynccl.all_reduce(tensor(4))
            self.assertEqual(self.said(), [])
        self.assertIn("more all-reduces between two steps", logged.output[0])
        pynccl.all_reduce(tensor(4))
        self.assertEqual(self.said(), [])

    def steps(self, number, backend, flags=0):
        """For each of so many steps with one all-reduce: what was said in it, without the marks of the step."""
        for _ in range(number):
            self.tap.marked.clear()
            self.marker.within(marks.step(flags=flags), lambda: backend.all_reduce(tensor(4)))
            yield self.tap.marked[1:-1]

    def test_after_the_first_steps_one_of_so_many_is_listened_to(self):
        pynccl = self.hooked_pynccl()
        spoken = ("chosen", {(marks.PYNCCL, 4): 1})
        self.assertEqual(list(self.steps(backends.FIRST, pynccl)), [[spoken]] * backends.FIRST)
        rest = list(self.steps(10 * backends.ONE_OF, pynccl))
        self.assertEqual(rest.count([]), 10 * (backends.ONE_OF - 1))
        self.assertEqual(rest.count([("not listened",), spoken]), 10, "what was done between is not spoken of")

    def test_runs_at_start_up_are_all_listened_to(self):
        pynccl = self.hooked_pynccl()
        list(self.steps(backends.FIRST + 1, pynccl))
        captured = list(self.steps(3, pynccl, marks.CAPTURE))
        spoken = ("chosen", {(marks.PYNCCL, 4): 1})
        self.assertEqual(captured, [[("not listened",), spoken], [spoken], [spoken]])
        self.assertEqual(list(self.steps(1, pynccl, marks.DUMMY)), [[]], "an idle partner's step is as any")

    def test_while_it_rests_the_engines_own_functions_stand_in_their_places(self):
        pynccl = self.hooked_pynccl()
        self.assertIsNot(type(pynccl).all_reduce, Pynccl.all_reduce)
        list(self.steps(backends.FIRST + 1, pynccl))
        self.assertIs(type(pynccl).all_reduce, Pynccl.all_reduce)

    def test_who_replaced_a_hooked_function_is_let_be(self):
        pynccl = self.hooked_pynccl()
        ours = type(pynccl).all_reduce
        theirs = lambda self, *arguments: ours(self, *arguments)  # noqa: E731
        type(pynccl).all_reduce = theirs
        spoken = ("chosen", {(marks.PYNCCL, 4): 1})
        said = list(self.steps(backends.FIRST + backends.ONE_OF, pynccl))
        self.assertIs(type(pynccl).all_reduce, theirs)
        self.assertEqual(said.count([spoken]), backends.FIRST)
        self.assertEqual(said.count([("not listened",), spoken]), 1, "and what it heard meanwhile is forgotten")

    def test_a_run_at_start_up_says_what_it_did_as_well(self):
        pynccl = self.hooked_pynccl()
        owner = type("Worker", (), {"compile_or_warm_up_model": lambda self: pynccl.all_reduce(tensor(4))})
        self.marker.startup(owner, "compile_or_warm_up_model", marks.WARM_UP)
        owner().compile_or_warm_up_model()
        self.assertIn(("chosen", {(marks.PYNCCL, 4): 1}), self.tap.marked)


class Choices(unittest.TestCase):
    def test_they_are_handed_over_as_the_header_says(self):
        handed = []

        class Library:
            @staticmethod
            def nccltap_chosen(choices, number):
                handed.extend((c.size, c.backend, c.message_bytes, c.calls) for c in choices[:number])

            nccltap_step_begin = nccltap_step_describe = nccltap_step_end = nccltap_place = lambda *_: None

        marks.Marks(Library).chosen(Counter([(1, 4), (2, 8192), (2, 8192)]))
        self.assertEqual(handed, [(24, 1, 4, 1), (24, 2, 8192, 2)])

    def test_that_none_is_spoken_of_is_a_call_without_choices(self):
        handed = []

        class Library:
            nccltap_step_begin = nccltap_step_describe = nccltap_step_end = nccltap_place = lambda *_: None

            @staticmethod
            def nccltap_chosen(*arguments):
                handed.append(arguments)

        marks.Marks(Library).not_listened()
        self.assertEqual(handed, [(None, 0)])

    def test_a_tap_that_does_not_know_them_is_told_nothing(self):
        class Library:
            nccltap_step_begin = nccltap_step_describe = nccltap_step_end = nccltap_place = lambda *_: None

        marks.Marks(Library).chosen(Counter([(1, 4)]))
        marks.Marks(Library).not_listened()


@unittest.skipUnless(__import__("importlib.util").util.find_spec("torch"), "needs PyTorch")
class UnderTorchCompile(unittest.TestCase):
    """The hook stands below an opaque operator, as vLLM's `all_reduce` is, and also does no harm where it is traced."""

    def test_a_hooked_backend_compiles_without_a_graph_break(self):
        import torch

        class CustomAllreduce:
            def all_reduce(self, inp, *, out=None, registered=False):
                return inp + inp

        tap = Tap()
        marker = Marker(tap)
        marker.witness = witness = backends.Witness(marker)
        witness.hook(module("custom_all_reduce", CustomAllreduce=CustomAllreduce), "CustomAllreduce", ("all_reduce",), False, marks.CUSTOM)
        custom = CustomAllreduce()

        @torch.library.custom_op("nccltap_test::all_reduce", mutates_args=())
        def opaque(inp: torch.Tensor) -> torch.Tensor:
            return custom.all_reduce(inp)

        opaque.register_fake(lambda inp: torch.empty_like(inp))
        compiled = torch.compile(lambda x: opaque(x * 2) + 1, fullgraph=True, backend="eager")
        ones = torch.ones(4)
        for _ in range(3):
            self.assertEqual(compiled(ones).tolist(), [5.0] * 4)
        marker.within(None, lambda: None)
        self.assertIn(("chosen", {(marks.CUSTOM, 16): 3}), tap.marked)


if __name__ == "__main__":
    unittest.main()
