//! Which lane of the lineage a checkpoint is on, and which row a lane.

use std::collections::BTreeMap;

/// A checkpoint, as far as its descent goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) id: u64,
    pub(super) parent: Option<u64>,
    /// On a line that a rollback left behind.
    pub(super) is_behind: bool,
}

/// Checkpoints that continue each other, by their places among all.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lane {
    pub(super) nodes: Vec<usize>,
    /// The checkpoint of another lane that its first one continues, unless that is not known.
    pub(super) from: Option<usize>,
}

/// The lanes of nodes that are sorted by id: the first is the job's own, which may have no node;
/// the others are those that rollbacks left behind. `before` says which node comes before one whose
/// parent is gone.
pub(super) fn lanes(nodes: &[Node], before: &dyn Fn(usize) -> Option<u64>) -> Vec<Lane> {
    let mut lanes = vec![Lane::default()];
    // The lane of a node, and its place among all.
    let mut known: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
    for (place, node) in nodes.iter().enumerate() {
        if !node.is_behind {
            known.insert(node.id, (0, place));
            lanes[0].nodes.push(place);
        }
    }
    for (place, node) in nodes.iter().enumerate() {
        if !node.is_behind {
            continue;
        }
        let parent = node.parent.and_then(|parent| known.get(&parent));
        let parent = parent.or_else(|| known.get(&before(place)?)).copied();
        let lane = match parent {
            Some((lane, parent)) if lane > 0 && lanes[lane].nodes.last() == Some(&parent) => lane,
            parent => {
                lanes.push(Lane {
                    nodes: Vec::new(),
                    from: parent.map(|(_, parent)| parent),
                });
                lanes.len() - 1
            }
        };
        lanes[lane].nodes.push(place);
        known.insert(node.id, (lane, place));
    }
    lanes
}

/// Rows below the first for lanes that begin and end there: a lane is below all that begin within
/// its span, so that what leads down to them crosses none.
pub(super) fn rows(spans: &[(f64, f64)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by(|a, b| spans[*b].0.total_cmp(&spans[*a].0));
    let mut rows = vec![0; spans.len()];
    for (rank, lane) in order.iter().enumerate() {
        let end = spans[*lane].1;
        let within = order[..rank].iter().filter(|other| spans[**other].0 <= end);
        rows[*lane] = within.map(|other| rows[*other] + 1).max().unwrap_or(0);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u64, parent: u64, is_behind: bool) -> Node {
        Node {
            id,
            parent: (parent > 0).then_some(parent),
            is_behind,
        }
    }

    fn lane(nodes: &[usize], from: Option<usize>) -> Lane {
        Lane {
            nodes: nodes.to_vec(),
            from,
        }
    }

    #[test]
    fn what_continues_the_end_of_a_lane_is_on_it_and_all_else_begins_one() {
        let nodes = [
            node(1, 0, false),
            node(2, 1, true),
            node(3, 2, true),
            node(4, 2, true),
            node(5, 1, false),
            node(6, 1, true),
        ];
        let found = lanes(&nodes, &|_| None);
        let expected = [
            lane(&[0, 4], None),
            lane(&[1, 2], Some(0)),
            lane(&[3], Some(1)),
            lane(&[5], Some(0)),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn where_the_parent_is_gone_the_one_before_it_counts() {
        let nodes = [node(1, 0, false), node(3, 2, true), node(5, 4, true)];
        let found = lanes(&nodes, &|place| (place == 1).then_some(1));
        let expected = [lane(&[0], None), lane(&[1], Some(0)), lane(&[2], None)];
        assert_eq!(found, expected);
    }

    #[test]
    fn lanes_share_a_row_where_they_do_not_meet_and_lead_down_across_none() {
        assert_eq!(rows(&[(0.0, 10.0), (20.0, 30.0)]), [0, 0]);
        assert_eq!(rows(&[(0.0, 25.0), (20.0, 30.0)]), [1, 0]);
        assert_eq!(rows(&[(0.0, 5.0), (10.0, 40.0), (20.0, 30.0)]), [0, 1, 0]);
        // What leads to the second, at 5, is right of the first and left of the third.
        assert_eq!(rows(&[(0.0, 7.0), (5.0, 20.0), (10.0, 12.0)]), [2, 1, 0]);
    }
}
