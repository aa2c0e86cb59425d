//! Places among the requests that are answered at once.

use std::sync::Arc;

use agent_pod::{
    runtime::metrics::Metrics,
    serve::inference::{Route, admission::Admission, refusal::Refusal},
};

#[test]
fn a_place_is_taken_until_the_answer_has_gone_out_and_every_end_is_counted() {
    let metrics = Arc::new(Metrics::default());
    let admission = Admission::new(1, ["readers".to_owned()].into_iter(), Arc::clone(&metrics));
    let admitted = admission.admit(Route::Chat).unwrap_or_else(|_| panic!("there is a place"));
    admission.of_pool(&admitted, "readers");
    assert_eq!(admission.working("readers"), 1);
    assert!(matches!(admission.admit(Route::Chat), Err(Refusal::Busy(_))));
    let answer = Arc::clone(&admitted);
    drop(admitted);
    assert_eq!(admission.working("readers"), 1, "the answer is still going out");
    drop(answer);
    assert_eq!(admission.working("readers"), 0);
    let admitted = admission.admit(Route::Chat).unwrap_or_else(|_| panic!("the place is free again"));
    admission.of_pool(&admitted, "readers");
    admitted.ended("ok");
    admitted.ended("Failed");
    drop(admitted);
    let text = metrics.text().unwrap_or_default();
    for (pool, outcome) in [("readers", "left"), ("readers", "ok"), ("", "Busy")] {
        let line = format!("docket_inference_requests_total{{outcome=\"{outcome}\",pool=\"{pool}\",route=\"chat\"}} 1");
        assert!(text.contains(&line), "{line} is not in:\n{text}");
    }
}
