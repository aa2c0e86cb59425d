//! Quantities of resources, such as 500m and 4Gi. Pure.

/// A quantity as a number; the schema lets no other text through.
pub fn number(quantity: &str) -> f64 {
    let digits = quantity.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &quantity[digits.len()..] {
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1024_f64.powi(2),
        "Gi" => 1024_f64.powi(3),
        "Ti" => 1024_f64.powi(4),
        _ => 1.0,
    };
    digits.parse::<f64>().unwrap_or_default() * unit
}

/// A quantity as the API server writes it, so that it compares equal: `0.5` is `500m`, `1000m` is `1`.
pub fn canonical(quantity: String) -> String {
    let millis = number(&quantity) * 1_000.0;
    let plain = !quantity.ends_with(|c: char| c.is_ascii_alphabetic()) || quantity.ends_with('m');
    match plain {
        false => quantity,
        true if millis % 1_000.0 == 0.0 => format!("{:.0}", millis / 1_000.0),
        true => format!("{millis:.0}m"),
    }
}
