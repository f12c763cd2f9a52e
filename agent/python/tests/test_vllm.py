import random
import sys
import unittest
from types import ModuleType, SimpleNamespace
from unittest.mock import patch

from nccltap import marks, vllm
from nccltap.hooks import Marker
from tests.fakes import Tap, begins, fields, new, output


class ScheduleOfV1(unittest.TestCase):
    def setUp(self):
        self.schedule = vllm.Schedule()

    def step(self, *arguments, **options):
        step = self.schedule.step(output(*arguments, **options))
        return step and fields(step)[:5]

    def test_a_prompt_is_prefill_and_what_follows_is_decode(self):
        self.assertEqual(self.step({"a": 128}, new=[new("a", 128)]), (1, 0, 128, 0, 0))
        self.assertEqual(self.step({"a": 1}, cached=[("a", 128)]), (0, 1, 0, 1, 0))

    def test_a_prompt_in_chunks_beside_running_requests_is_mixed_until_it_is_whole(self):
        self.step({"a": 10}, new=[new("a", 10)])
        self.assertEqual(self.step({"a": 1, "b": 60}, new=[new("b", 100)], cached=[("a", 10)]), (1, 1, 60, 1, 0))
        self.assertEqual(self.step({"a": 1}, cached=[("a", 11)]), (0, 1, 0, 1, 0))
        self.assertEqual(self.step({"a": 1, "b": 40}, cached=[("a", 12), ("b", 60)]), (1, 1, 40, 1, 0))
        self.assertEqual(self.step({"a": 1, "b": 1}, cached=[("a", 13), ("b", 100)]), (0, 2, 0, 2, 0))

    def test_the_last_token_of_a_cached_prompt_is_prefill(self):
        self.assertEqual(self.step({"a": 1}, new=[new("a", 128, computed=127)]), (1, 0, 1, 0, 0))

    def test_guesses_of_a_draft_are_decode(self):
        self.step({"a": 10}, new=[new("a", 10)])
        step = self.step({"a": 4}, cached=[("a", 10)], guesses={"a": [1, 2, 3]})
        self.assertEqual(step, (0, 1, 0, 4, 3))

    def test_a_request_that_was_preempted_is_prefill_again(self):
        self.step({"a": 10}, new=[new("a", 10)])
        self.step({"a": 1}, cached=[("a", 10)])
        self.assertEqual(self.step({"a": 12}, cached=[("a", 0)], resumed=["a"]), (1, 0, 12, 0, 0))
        self.assertEqual(self.step({"a": 1}, cached=[("a", 12)]), (0, 1, 0, 1, 0))

    def test_it_is_also_when_it_is_computed_in_chunks_and_when_it_comes_as_a_new_one(self):
        self.step({"a": 10}, new=[new("a", 10)])
        self.assertEqual(self.step({"a": 6}, cached=[("a", 0)], resumed=["a"]), (1, 0, 6, 0, 0))
        self.assertEqual(self.step({"a": 6}, cached=[("a", 6)]), (1, 0, 6, 0, 0))
        again = new("b", 10, prefill_token_ids=list(range(12)))
        self.assertEqual(self.step({"b": 11}, new=[again]), (1, 0, 11, 0, 0))
        self.assertEqual(self.step({"b": 1}, cached=[("b", 11)]), (1, 0, 1, 0, 0))
        self.assertEqual(self.step({"b": 1}, cached=[("b", 12)]), (0, 1, 0, 1, 0))

    def test_embeddings_may_take_the_place_of_a_prompt(self):
        prompt = SimpleNamespace(req_id="a", prompt_token_ids=None, prompt_embeds=[0] * 7, num_computed_tokens=0)
        self.assertEqual(self.step({"a": 7}, new=[prompt]), (1, 0, 7, 0, 0))

    def test_a_step_that_computes_nothing_is_none_and_what_ended_is_forgotten(self):
        self.step({"a": 5}, new=[new("a", 10)])
        self.assertIsNone(self.step({}, finished=["a"]))
        self.assertEqual((self.schedule._prompts, self.schedule._unfinished), ({}, {}))

    def test_random_schedules_of_every_form_are_told_token_by_token(self):
        for seed in range(200):
            numbers = random.Random(seed)
            self.schedule = vllm.Schedule()
            length, computed, generated = {}, {}, {}
            finished = []
            for number in range(60):
                if numbers.random() < 0.3:
                    length[number], generated[number] = numbers.randint(1, 300), 0
                scheduled, first, cached, resumed, prefill, decode, guesses = {}, [], [], [], 0, 0, {}
                for request in length:
                    if numbers.random() < 0.2:
                        continue
                    if request in computed and numbers.random() < 0.02:
                        computed[request] = 0
                        resumed.append(request)
                    begins_now = request not in computed
                    before = computed.setdefault(request, 0)
                    left = length[request] + generated[request] - before
                    if left > 1 or before < length[request]:
                        tokens = numbers.randint(1, left)
                        # One token more than its prompt that is not the next one looks like the next one.
                        if left > 1 and before >= length[request] and tokens == 1:
                            tokens = 2
                        prefill += tokens
                    else:
                        guesses[request] = [0] * numbers.choice([0, 0, 3])
                        tokens = 1 + len(guesses[request])
                        decode += tokens
                    scheduled[request] = tokens
                    if begins_now:
                        first.append(new(request, length[request]))
                    else:
                        cached.append((request, before))
                    computed[request] = min(before + tokens, length[request] + generated[request])
                    if computed[request] == length[request] + generated[request]:
                        generated[request] += 1
                form = ("list", "flags", "set")[seed % 3]
                step = self.schedule.step(output(scheduled, first, cached, finished, guesses, resumed, form))
                found = fields(step)[2:4] if step else (0, 0)
                self.assertEqual(found, (prefill, decode), f"seed {seed}, step {number}")
                finished = [request for request in length if generated[request] > 20]
                for request in finished:
                    del length[request], generated[request], computed[request]


class PlaceOfAWorker(unittest.TestCase):
    def place(self, experts, **groups):
        state = ModuleType("vllm.distributed.parallel_state")
        for name, group in groups.items():
            setattr(state, name, group and SimpleNamespace(rank_in_group=group[0], world_size=group[1]))
        distributed = ModuleType("vllm.distributed")
        distributed.parallel_state = state
        worker = SimpleNamespace(vllm_config=SimpleNamespace(parallel_config=SimpleNamespace(enable_expert_parallel=experts)))
        tap = Tap()
        with patch.dict(sys.modules, {"vllm": ModuleType("vllm"), "vllm.distributed": distributed}):
            tap.place(vllm.place(worker))
        return tap.marked[0][1:]

    def test_it_is_that_of_its_parallel_groups(self):
        groups = dict(_TP=(1, 2), _PP=(3, 4), _DP=(0, 1), _EP=(1, 2))
        self.assertEqual(self.place(False, **groups), ((1, 2), (3, 4), (0, 1), (0, 1)))
        self.assertEqual(self.place(True, **groups), ((1, 2), (3, 4), (0, 1), (1, 2)))

    def test_a_release_without_a_group_of_experts_has_all_copies_share_them(self):
        self.assertEqual(self.place(True, _TP=(1, 2), _PP=(0, 1), _DP=(2, 3)), ((1, 2), (0, 1), (2, 3), (5, 6)))

    def test_a_model_without_experts_has_none_to_share(self):
        self.assertEqual(self.place(True, _TP=(0, 2), _PP=(0, 1), _DP=(0, 1), _EP=None)[3], (0, 1))

    def test_a_worker_that_cannot_be_asked_is_said_once_and_works(self):
        tap, marker = Tap(), None
        with self.assertLogs("nccltap", "WARNING") as said:
            marker = Marker(tap)
            for _ in range(2):
                marker.place(lambda: vllm.place(None))
        self.assertEqual((tap.marked, len(said.records)), ([], 1))


class HooksOfV1(unittest.TestCase):
    def setUp(self):
        self.tap = tap = Tap()

        class Worker:
            def execute_model(self, scheduler_output):
                tap.marked.append("forward")
                if scheduler_output == "broken":
                    raise ValueError("the engine's own")

            def sample_tokens(self, grammar_output):
                tap.marked.append("sample")
                return grammar_output

            def determine_available_memory(self):
                return 7

            def compile_or_warm_up_model(self):
                self.execute_model(output({"warm": 2}, new=[new("warm", 2)]))
                self.sample_tokens(None)

            def execute_dummy_batch(self):
                pass

        self.module = ModuleType("vllm.v1.worker.gpu_worker")
        self.module.Worker = Worker
        placed = patch.object(vllm, "place", lambda worker: marks.coordinates((0, 2), (0, 1), (0, 1), (0, 1)))
        placed.start()
        self.addCleanup(placed.stop)
        vllm.hook_v1(Marker(tap), self.module)
        self.worker = Worker()

    def test_a_step_lies_between_its_marks_and_its_sampling_goes_on_with_it(self):
        self.worker.execute_model(output({"a": 9}, new=[new("a", 9)]))
        self.assertEqual(self.worker.sample_tokens("grammar"), "grammar")
        rest = marks.CONTINUED
        self.assertEqual(
            self.tap.marked,
            [
                ("begin", (1, 0, 9, 0, 0, 0)),
                "forward",
                ("end",),
                ("begin", (1, 0, 9, 0, 0, rest)),
                "sample",
                ("end",),
            ],
        )

    def test_runs_at_start_up_are_marked_as_what_they_are_also_where_they_call_what_serves(self):
        self.assertEqual(self.worker.determine_available_memory(), 7)
        self.worker.compile_or_warm_up_model()
        self.worker.execute_dummy_batch()
        flags = [mark[-1] for mark in begins(self.tap)]
        self.assertEqual(flags, [marks.PROFILE, marks.WARM_UP, marks.DUMMY])
        self.assertEqual(self.tap.marked[0], ("place", (0, 2), (0, 1), (0, 1), (0, 1)))

    def test_an_error_of_the_engine_goes_through_and_ends_the_step(self):
        self.worker.execute_model(output({"a": 9}, new=[new("a", 9)]))
        with self.assertLogs("nccltap", "WARNING"), self.assertRaisesRegex(ValueError, "the engine's own"):
            self.worker.execute_model("broken")
        self.assertEqual(self.tap.marked[-1], "forward")

    def test_a_schedule_of_another_shape_is_said_once_and_the_engine_goes_on(self):
        with self.assertLogs("nccltap", "WARNING") as said:
            for _ in range(3):
                self.worker.execute_model(SimpleNamespace())
        self.assertEqual(len(said.records), 1)
        self.assertEqual(self.tap.marked, ["forward"] * 3)

    def test_a_function_that_is_missing_is_said_once_and_nothing_is_marked(self):
        module = ModuleType("vllm.v1.worker.gpu_worker")
        module.Worker = type("Worker", (), {"determine_available_memory": lambda self: 1})
        with self.assertLogs("nccltap", "WARNING") as said:
            vllm.hook_v1(Marker(self.tap), module)
        self.assertEqual(len(said.records), 1)
        self.assertIn("Worker has no execute_model to hook", said.output[0])
        module.Worker().determine_available_memory()
        self.assertEqual(self.tap.marked, [])


class HooksOfV0(unittest.TestCase):
    def setUp(self):
        self.tap = tap = Tap()

        class LocalOrDistributedWorkerBase:
            def execute_model(self, request=None):
                inputs = self.prepare_input(request)
                tap.marked.append("forward" if inputs else "nothing")

            def prepare_input(self, request=None):
                return request and (request, None, {})

        self.module = ModuleType("vllm.worker.worker_base")
        self.module.LocalOrDistributedWorkerBase = LocalOrDistributedWorkerBase
        vllm.hook_v0(Marker(tap), self.module)
        self.worker = LocalOrDistributedWorkerBase()

    @staticmethod
    def inputs(prefills, prefill_tokens, decode_tokens, sequences, graph=False):
        meta = SimpleNamespace(
            num_prefills=prefills,
            num_prefill_tokens=prefill_tokens,
            num_decode_tokens=decode_tokens,
            use_cuda_graph=graph,
        )
        requests = {str(number): [number] for number in range(sequences)}
        return SimpleNamespace(attn_metadata=meta, request_ids_to_seq_ids=requests)

    def test_a_step_is_described_when_the_worker_knows_it(self):
        self.worker.execute_model(self.inputs(2, 100, 3, 5))
        expected = [("begin", None), ("describe", (2, 3, 100, 3, 0, 0)), "forward", ("end",)]
        self.assertEqual(self.tap.marked, expected)

    def test_padding_to_the_size_of_a_graph_is_nobodys_token(self):
        self.worker.execute_model(self.inputs(0, 0, 8, 5, graph=True))
        self.assertIn(("describe", (0, 5, 0, 5, 0, 0)), self.tap.marked)

    def test_a_call_without_input_describes_nothing(self):
        self.worker.execute_model()
        self.assertEqual(self.tap.marked, [("begin", None), "nothing", ("end",)])

    def test_later_releases_that_kept_the_module_have_nothing_to_hook_there(self):
        vllm.hook_v0(Marker(self.tap), ModuleType("vllm.worker.worker_base"))
        self.assertEqual(self.tap.marked, [])


if __name__ == "__main__":
    unittest.main()
