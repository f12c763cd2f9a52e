//! What holds of every workload.

use super::*;
use proptest::prelude::*;

prop_compose! {
    fn any_settings()(
        engine in prop::sample::select(vec![Engine::V0, Engine::V1Release0_11, Engine::V1Release0_20]),
        cuda_graphs in any::<bool>(), seqs in 1u64..40,
    ) -> Settings {
        Settings {
            engine, cuda_graphs, max_num_seqs: Some(seqs), max_model_len: Some(4096),
            max_num_batched_tokens: Some(4096), ..Settings::PAPER
        }
    }
}

fn any_requests() -> impl Strategy<Value = Vec<Request>> {
    let one = (1u64..1000, 1u64..50).prop_map(|(prompt, output)| request(prompt, output));
    prop::collection::vec(one, 1..20)
}

proptest! {
    #[test]
    fn what_is_sent_is_received(
        t in prop::sample::select(vec![1u32, 2, 4, 8]), p in 1u32..6,
        settings in any_settings(), requests in any_requests(),
    ) {
        let prediction = predict(deployment("llama-3.1-8b", t, p, settings), &requests);
        for collective in ["point-to-point", "Gather"] {
            let bytes = |operation| prediction.totals(|call| {
                let gather = call.collective == Operation::Gather;
                call.operation == operation && gather == (collective == "Gather")
            });
            prop_assert_eq!(bytes(Operation::Send), bytes(Operation::Recv));
        }
    }

    #[test]
    fn without_padding_the_volume_depends_on_the_tokens_alone(
        t in prop::sample::select(vec![2u32, 4, 8]), p in 1u32..6,
        settings in any_settings(), requests in any_requests(),
    ) {
        let settings = Settings { cuda_graphs: false, ..settings };
        let prediction = predict(deployment("llama-3.1-8b", t, p, settings), &requests);
        let tokens: u64 = requests.iter().map(|r| r.prompt + r.output - 1).sum();
        let bytes = |operation| prediction.totals(|call| call.operation == operation).message_bytes;
        let row = 4096 * 2;
        let all_reduces = (2 * 32 + 1) * u64::from(t);
        prop_assert_eq!(bytes(Operation::AllReduce), all_reduces * tokens * row);
        let boundary = 2 * (u64::from(p) - 1) * tokens * row;
        prop_assert_eq!(prediction.totals(|call| {
            call.operation == Operation::Send && call.role == Role::PipelineParallel
        }).message_bytes, boundary);
    }

    #[test]
    fn graphs_only_add(
        t in prop::sample::select(vec![2u32, 4]), settings in any_settings(),
        requests in any_requests(),
    ) {
        let bus = |cuda_graphs| {
            let settings = Settings { cuda_graphs, ..settings };
            predict(deployment("llama-3.1-8b", t, 1, settings), &requests).totals(|_| true).bus_bytes
        };
        prop_assert!(bus(true) >= bus(false));
    }

    #[test]
    fn every_view_has_the_same_bytes_at_the_ranks_that_send(
        t in prop::sample::select(vec![2u32, 4, 8]), settings in any_settings(),
        requests in any_requests(),
    ) {
        let prediction = predict(deployment("llama-3.1-8b", t, 1, settings), &requests);
        let sum = |view, wanted: fn(&Row) -> bool| -> u64 {
            let rows = prediction.rows(view).into_iter().filter(wanted);
            rows.map(|row| row.message_bytes * row.ranks.len() as u64).sum()
        };
        let others = |row: &Row| row.collective != "Gather";
        prop_assert_eq!(sum(View::Operations, others), sum(View::Collectives, others));
        let sends = |row: &Row| row.collective == "Gather" && row.op == Some("Send");
        let gathers = |row: &Row| row.collective == "Gather";
        // In the view of collectives the root states its part too.
        let sent = sum(View::Operations, sends);
        let gathered = sum(View::Collectives, gathers);
        prop_assert_eq!(sent * u64::from(t), gathered * u64::from(t - 1));
    }

    #[test]
    fn a_model_with_twice_the_hidden_size_moves_twice_the_activations(
        t in prop::sample::select(vec![2u32, 4, 8]), p in 1u32..5, requests in any_requests(),
    ) {
        let bytes = |times| {
            let mut model = preset("llama-3.1-8b").unwrap();
            model.hidden_size *= times;
            let deployment = Deployment::new(model, Layout::new(t, p), Settings::PAPER).unwrap();
            predict(deployment, &requests).totals(|call| {
                call.collective != Operation::Gather && call.collective != Operation::Broadcast
            })
        };
        prop_assert_eq!(2 * bytes(1).message_bytes, bytes(2).message_bytes);
        prop_assert_eq!(bytes(1).operations, bytes(2).operations);
    }

    #[test]
    fn the_equations_hold_for_any_length(
        t in prop::sample::select(vec![1u32, 2, 4, 8]), p in prop::sample::select(vec![1u32, 2, 4]),
        prompt in 1u64..1500, output in 1u64..300,
    ) {
        let prediction =
            predict(deployment("llama-3.1-8b", t, p, Settings::PAPER), &[request(prompt, output)]);
        let symbols = equations::Symbols::new(
            &prediction.deployment.model, t.into(), p.into(), prompt, output,
        );
        let (ours, theirs) =
            (as_the_equations_count(&prediction), equations::volumes(&symbols).total());
        prop_assert!((ours - theirs).abs() <= theirs * 1e-9 + 8.0, "{} {}", ours, theirs);
    }
}
