use scaler::simulate::*;
use scaler::*;
use std::path::Path;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let conc: u32 = args[1].parse().unwrap();
    let slo: f64 = args[2].parse().unwrap();
    let which = &args[3];
    let cold = trace::read_cold_start(Path::new("/work/shared/data/traces/model-load-seconds.csv")).unwrap();
    let svc = service::Service::parse("0.5+0.0005*input+0.02*output").unwrap();
    let mut traces = vec![];
    if which.contains('g') { traces.push(trace::read(Path::new("/work/shared/data/traces/gentd26-days-01-14.csv"), None).unwrap()); }
    if which.contains('a') { traces.push(trace::read(Path::new("/work/shared/data/traces/azure-llm-2023-conv.csv"), Some(svc)).unwrap()); }
    for (c, s) in [('p', generate::Shape::Poisson), ('o', generate::Shape::OnOff), ('d', generate::Shape::Diurnal), ('f', generate::Shape::FlashCrowd)] {
        if which.contains(c) { traces.push(generate::trace(s, 1)); }
    }
    for t in &traces {
        let world = engine::World { slo, max_replicas: 40, slots: conc, cold_start: cold.clone(), faults: vec![], seed: 1 };
        let ch = chain::Chain::single(t);
        let started = std::time::Instant::now();
        let plan = clairvoyant::plan(&t.jobs, &clairvoyant::Limits { slo, slots: conc as usize, max_replicas: 40 }, &cold, 1);
        println!("== {} jobs {} c {} slo {} clairvoyant {:.0} pods {} floor {:.0} ({:.2?})", t.name, t.jobs.len(), conc, slo, plan.pod_seconds, plan.pods, clairvoyant::floor(&t.jobs, conc as usize), started.elapsed());
        let show = |name: &str, o: &outcome::Outcome, e: std::time::Duration| println!("{name:28} att {:.4} p50 {:6.1} p99 {:6.1} cost {:9.0} cold {:5} chg {:5} rev/h {:5.2} med {:4.1} hasty {:3} intr {:4} zero {:7.0} {:.2?}", o.slo_attainment, o.wait_p50, o.wait_p99, o.pod_seconds, o.cold_starts, o.changes, o.reversals_per_hour, o.reversals_median_hour, o.hasty_reversals, o.interrupted, o.time_at_zero, e);
        let variants: Vec<(String, Box<dyn Fn(&mut Settings)>)> = {
            let mut v: Vec<(String, Box<dyn Fn(&mut Settings)>)> = vec![("docket".into(), Box::new(|_| {}))];
            if args.len() > 4 && args[4].contains('v') {
                v.push(("-patience".into(), Box::new(|s| s.terms.patience = false)));
                v.push(("-packing".into(), Box::new(|s| s.terms.packing = false)));
                v.push(("-keeping".into(), Box::new(|s| s.terms.keeping = false)));
                v.push(("-damping".into(), Box::new(|s| s.terms.damping = false)));
                v.push(("-arrivals".into(), Box::new(|s| s.terms.arrivals = false)));
                v.push(("-feedback".into(), Box::new(|s| s.terms.feedback = false)));
                v.push(("-inservice".into(), Box::new(|s| s.terms.in_service = false)));
                v.push(("-season".into(), Box::new(|s| s.terms.season = false)));
            }
            if args.len() > 4 && args[4].contains('a') {
                for a in [0.95, 0.98, 0.995, 0.999] { v.push((format!("att {a}"), Box::new(move |s| s.target.attainment = a))); }
            }
            v
        };
        for (name, f) in &variants {
            let started = std::time::Instant::now();
            let mut s = Settings::between(0, 40);
            s.target.wait = slo;
            f(&mut s);
            let r = engine::run(&ch, &world, vec![Box::new(docket::Docket::new(s))], false);
            show(name, &r.outcome, started.elapsed());
        }
        if args.len() > 4 && args[4].contains('r') {
            for rival in rivals::Rival::ALL {
                let mut best: Option<(f64, Vec<f64>, outcome::Outcome)> = None;
                let mut rnd = random::Random::new(7, 7);
                let started = std::time::Instant::now();
                let n: usize = if args[4].contains('s') { 24 } else { 1 };
                for trial in 0..n {
                    let set: Vec<f64> = if trial == 0 { rival.defaults() } else { rival.knobs().iter().map(|k| k.candidates[rnd.index(k.candidates.len())]).collect() };
                    let r = engine::run(&ch, &world, rival.policies(&set, &ch, &world), false);
                    if trial == 0 { show(rival.name(), &r.outcome, started.elapsed()); }
                    let o = r.outcome;
                    if o.slo_attainment >= 0.99 && best.as_ref().is_none_or(|b| o.pod_seconds < b.0) { best = Some((o.pod_seconds, set, o)); }
                }
                if let Some((_, set, o)) = best { show(&format!("  best {set:?}"), &o, started.elapsed()); }
            }
        }
    }
}
