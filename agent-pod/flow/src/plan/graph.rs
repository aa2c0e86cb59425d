//! The graph that `after` makes of the stages: order, cycles, reachability. It holds positions, not names, and leaves out
//! what is dangling or said twice; [`super::check`] reports that.

use std::collections::{BTreeMap, BTreeSet};

use crds::Stage;

pub(super) struct Graph<'a> {
    positions: BTreeMap<&'a str, usize>,
    predecessors: Vec<Vec<usize>>,
    successors: Vec<Vec<usize>>,
}

/// A topological order of what lies on no cycle, and the cycles.
pub(super) struct Order {
    pub(super) order: Vec<usize>,
    /// Each in the direction of the flow, its first-written stage first.
    pub(super) cycles: Vec<Vec<usize>>,
}

impl<'a> Graph<'a> {
    pub(super) fn of(stages: &'a [Stage]) -> Self {
        let mut positions = BTreeMap::new();
        for (position, stage) in stages.iter().enumerate() {
            positions.entry(stage.name.as_str()).or_insert(position);
        }
        let mut predecessors = vec![Vec::new(); stages.len()];
        let mut successors = vec![Vec::new(); stages.len()];
        for (position, stage) in stages.iter().enumerate() {
            for &before in stage.after.iter().filter_map(|name| positions.get(name.as_str())) {
                if !predecessors[position].contains(&before) {
                    predecessors[position].push(before);
                    successors[before].push(position);
                }
            }
        }
        Self { positions, predecessors, successors }
    }

    /// The first stage of that name.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.positions.get(name).copied()
    }

    /// All names, in order of the alphabet.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.positions.keys().copied()
    }

    pub(super) fn predecessors(&self, position: usize) -> &[usize] {
        &self.predecessors[position]
    }

    pub(super) fn successors(&self, position: usize) -> &[usize] {
        &self.successors[position]
    }

    /// A stage and all that follow it.
    pub(super) fn reachable_from(&self, start: usize) -> BTreeSet<usize> {
        let mut reached = BTreeSet::from([start]);
        let mut open = vec![start];
        while let Some(position) = open.pop() {
            open.extend(self.successors[position].iter().filter(|&&next| reached.insert(next)));
        }
        reached
    }

    pub(super) fn order(&self) -> Order {
        let mut missing: Vec<usize> = self.predecessors.iter().map(Vec::len).collect();
        let mut left: BTreeSet<usize> = (0..missing.len()).collect();
        let mut ready: BTreeSet<usize> = left.iter().copied().filter(|&position| missing[position] == 0).collect();
        let (mut order, mut cycles) = (Vec::new(), Vec::new());
        loop {
            let removed = if let Some(next) = ready.pop_first() {
                order.push(next);
                vec![next]
            } else if let Some(&start) = left.first() {
                cycles.push(self.cycle_before(start, &left));
                cycles.last().cloned().unwrap_or_default()
            } else {
                return Order { order, cycles };
            };
            for position in &removed {
                left.remove(position);
                ready.remove(position);
            }
            for next in removed.iter().flat_map(|&position| &self.successors[position]) {
                missing[*next] -= 1;
                if missing[*next] == 0 && left.contains(next) {
                    ready.insert(*next);
                }
            }
        }
    }

    /// Goes backwards from a stage until it meets itself. Every stage of `left` has a predecessor in `left`: the others
    /// have all been ordered, and without an open predecessor it would have been ordered too.
    fn cycle_before(&self, start: usize, left: &BTreeSet<usize>) -> Vec<usize> {
        let mut path = vec![start];
        loop {
            let here = path[path.len() - 1];
            let before = self.predecessors[here].iter().copied().find(|before| left.contains(before));
            let before = before.expect("a stage that cannot be ordered waits for another one");
            if let Some(met) = path.iter().position(|&position| position == before) {
                let mut cycle: Vec<usize> = path.drain(met..).rev().collect();
                let first = (0..cycle.len()).min_by_key(|&place| cycle[place]).unwrap_or(0);
                cycle.rotate_left(first);
                return cycle;
            }
            path.push(before);
        }
    }
}
