//! Messages about names that do not exist, with the name that was probably meant.

/// Most names that a message lists.
const LISTED: usize = 8;

/// For example: `there is no stage "drfat"; did you mean "draft"?`
pub(super) fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    format!("{what} \"{name}\"{}", suggestion(name, &known))
}

fn suggestion(name: &str, known: &[&str]) -> String {
    let closest = known.iter().map(|other| (distance(name, other), *other)).min();
    match closest {
        None => "; there are none".to_owned(),
        // A third of the letters may be wrong, one always: more alike than that is hardly chance.
        Some((wrong, other)) if wrong <= (name.chars().count() / 3).max(1) => format!("; did you mean \"{other}\"?"),
        Some(_) if known.len() <= LISTED => format!("; there is {}", known.join(", ")),
        Some(_) => format!("; there is {}, …", known[..LISTED].join(", ")),
    }
}

/// Insertions, removals, replacements and swaps of neighbours that make one text of the other.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut rows = vec![(0..=right.len()).collect::<Vec<usize>>()];
    for (i, l) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, r) in right.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(l != r);
            let mut cost = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *l == right[j - 1] && left[i - 1] == *r {
                cost = cost.min(rows[i - 1][j - 1] + 1);
            }
            row.push(cost);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}
