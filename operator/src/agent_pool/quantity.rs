//! Quantities of resources, such as 500m and 4Gi. Pure.

/// Each a thousand times the one before; the first is a thousandth.
const DECIMAL: [&str; 8] = ["m", "", "k", "M", "G", "T", "P", "E"];
/// Each 1024 times the one before.
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// An amount in thousandths, which is as fine as the API server keeps it, and whether its unit is a power of 1024.
struct Amount {
    thousandths: u128,
    is_binary: bool,
}

/// A quantity as a number; the schema lets no other text through.
pub fn number(quantity: &str) -> f64 {
    parsed(quantity).map_or(0.0, |amount| amount.thousandths as f64 / 1_000.0)
}

/// A quantity as the API server writes it, so that it compares equal: the smallest whole number without a loss, so `0.5` is `500m`,
/// `1000M` is `1G` and `1024Mi` is `1Gi`. Below 1024, and where a part of a byte is left, it uses no power of 1024. One with an
/// exponent stays as it is.
pub fn canonical(quantity: String) -> String {
    let Some(Amount { thousandths, is_binary }) = parsed(&quantity) else { return quantity };
    if is_binary && thousandths >= 1_024_000 && thousandths.is_multiple_of(1_000) {
        return written(thousandths / 1_000, 1_024, &BINARY);
    }
    written(thousandths, 1_000, &DECIMAL)
}

/// The amount in the largest of these units, each `step` times the one before, of which it has a whole number.
fn written(mut count: u128, step: u128, units: &[&str]) -> String {
    if count == 0 {
        return "0".to_owned();
    }
    let (last, smaller) = units.split_last().expect("there are units");
    for unit in smaller {
        if !count.is_multiple_of(step) {
            return format!("{count}{unit}");
        }
        count /= step;
    }
    format!("{count}{last}")
}

/// `None` for text that is no number with a unit, or is too large.
fn parsed(quantity: &str) -> Option<Amount> {
    let digits = quantity.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &quantity[digits.len()..];
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if part.len() > 3 {
        return None;
    }
    let count: u128 = format!("{whole}{part:0<3}").parse().ok()?;
    let power = |units: &[&str]| units.iter().position(|known| *known == unit).and_then(|at| u32::try_from(at).ok());
    let (factor, is_binary) = match power(&DECIMAL) {
        // Thousandths of thousandths, rounded up as the API server does.
        Some(0) => return Some(Amount { thousandths: count.div_ceil(1_000), is_binary: false }),
        Some(power) => (1_000_u128.pow(power - 1), false),
        None => (1_024_u128.pow(power(&BINARY)?), true),
    };
    Some(Amount { thousandths: count.checked_mul(factor)?, is_binary })
}
