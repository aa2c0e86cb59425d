//! What is written of a pool that has lived for weeks.

use operator::scaling::pool::Memory;
use scaler::few_digits;
use serde_json::{Value, json};

/// Everything that is remembered at its fullest, with names that earlier versions wrote.
fn saturated() -> Value {
    let at = 1_768_169_400.123_456_f64;
    let time = |ago: u32| at - f64::from(ago) * 60.0;
    let rate = |of: u32| 0.012_345 + 0.001 * f64::from(of);
    json!({
        "history": {
            "reading": {"at": at, "arrivals": 123_456_789, "finished": 123_456_780, "backlog": 54_321.0, "started": 123_456_789,
                "late": 1_234_567},
            "jumpedSince": time(1), "backSince": time(1), "stillSince": time(1), "unread": false,
            "arrived": (0..32).map(|bin| json!([time(32 - bin), 1_234])).collect::<Vec<_>>(),
            "width": 37.5, "rate": 0.094_748_265, "dispersion": 3.074_053_017, "unevenness": 1.234_567_891, "counted": [123, 7.987_654],
            "service": (0..12).map(|stage| json!({"key": 3_615_424_625_u32 - stage, "mean": 123.45, "deviation": 67.89, "count": 20})).collect::<Vec<_>>(),
            "unfinished": 1_234.56,
            "pace": 0.765_432_1,
            "idle": {
                "stairs": (0..24).map(|stair| json!([stair + 11, time(stair)])).collect::<Vec<_>>(),
                "gaps": vec![vec![18; 22]; 11], "busy": 3, "rate": 0.457_264_760, "seconds": 248_917.5, "arrivals": 99_004.0,
                "keep": vec![12_000.0; 11], "reckoned_at": at,
            },
            "calm": {"purse": 1_234.567_891, "turns": 1.234_567_891},
            "season": {
                "day": (0..48).map(rate).collect::<Vec<_>>(), "week": (0..56).map(rate).collect::<Vec<_>>(), "since": at,
                "bin": 982_316, "count": 12_345.0, "previous": 0.462, "errors": [0.0688, 0.115, 0.0918],
            },
            "care": 0.997_732_997, "lessons": 9.876_543_21, "lastUp": time(3), "lastDown": time(2), "from": 34, "settledRate": 0.677_254_757,
            "settledFor": 7_200.0, "asked": 34, "wantedUp": time(1), "wantedDown": time(1), "wantedFrom": 34, "needed": 34,
            "withoutWork": time(1), "lateTasks": 122.525_244_118, "lateStarts": 12.345_678_9, "lateOfLate": [198.765_432, 34.567_891],
        },
        "starts": {
            "measured": {"last": vec![123.45; 64], "mean": 123.456_789, "count": 1_000, "longest": 1_234.567_891},
            "until": at,
        },
        "waits": {"started": 123_456_789, "late": 1_234_567, "counted": true, "target": 123.5},
        "branches": {"expected": 123.456_789_123, "came": 98.765_432_198},
        "hadTasks": true,
    })
}

#[test]
fn what_is_written_of_a_pool_is_below_four_kibibytes_however_long_it_has_lived() {
    let memory: Memory = serde_json::from_value(saturated()).expect("a known form");
    let written = few_digits(&memory).to_string();
    // With the epoch of the leader that wrote it.
    assert!(written.len() + 20 < 4_096, "{} bytes", written.len());
    let names = [
        "\"jumped\":1",
        "\"back\":1",
        "\"still\":1",
        "\"settled\":7200",
        "\"wanted\":34",
        "\"lateOf\":[199,34.6]",
        "\"varies\":3.07",
        "\"uneven\":1.23",
        "\"undone\":1230",
        "\"quiet\":1",
        // Of one that was written without it.
        "\"tasks\":2000",
    ];
    assert!(names.iter().all(|name| written.contains(name)), "what had other names before is read: {written}");
    let read: Memory = serde_json::from_str(&written).expect("what was written can be read");
    assert_eq!(few_digits(&read).to_string(), written);
    assert_eq!(read.starts.distribution().map(|it| (it.count, it.quantiles.len())), Some((1_000, 32)));
}
