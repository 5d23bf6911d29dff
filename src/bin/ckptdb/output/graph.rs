//! Lines of descent beside a list, newest first.

/// Draws, for one node after the other, what it continues. Each line of descent has a lane; where
/// several nodes continue one, their lanes join in it.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// The node that each lane leads to; none where it has ended.
    lanes: Vec<Option<u64>>,
}

impl Graph {
    /// What stands before the text of a node, with `mark` for itself, and the lines between it and
    /// the node that is shown before it. A `parent` must come later; none ends the lane.
    pub(crate) fn node(
        &mut self,
        id: u64,
        parent: Option<u64>,
        mark: char,
    ) -> (Vec<String>, String) {
        let lanes = self.lanes.iter().enumerate();
        let mut own: Vec<usize> = lanes
            .filter(|(_, lane)| **lane == Some(id))
            .map(|(place, _)| place)
            .collect();
        if own.is_empty() {
            own.push(self.free());
        }
        let (first, joining) = own
            .split_first()
            .map_or((0, &[][..]), |(first, rest)| (*first, rest));
        let mut before = Vec::new();
        for place in joining.iter().rev() {
            before.push(self.join(first, *place));
            self.end(*place);
        }
        if let Some(lane) = self.lanes.get_mut(first) {
            *lane = Some(id);
        }
        let drawn = self.drawn(|place| (place == first).then_some(mark));
        match self.lanes.get_mut(first) {
            Some(lane) if parent.is_some() => *lane = parent,
            _ => self.end(first),
        }
        (before, drawn)
    }

    /// A lane that leads nowhere.
    fn free(&mut self) -> usize {
        if let Some(place) = self.lanes.iter().position(Option::is_none) {
            return place;
        }
        self.lanes.push(None);
        self.lanes.len() - 1
    }

    fn end(&mut self, place: usize) {
        if let Some(lane) = self.lanes.get_mut(place) {
            *lane = None;
        }
        while self.lanes.last() == Some(&None) {
            self.lanes.pop();
        }
    }

    /// The lanes side by side, with another letter where there is one.
    fn drawn(&self, mark: impl Fn(usize) -> Option<char>) -> String {
        let mut line = String::new();
        for (place, lane) in self.lanes.iter().enumerate() {
            let plain = if lane.is_some() { '|' } else { ' ' };
            line.push(mark(place).unwrap_or(plain));
            line.push(' ');
        }
        line.trim_end().to_owned()
    }

    /// The line in which the lane at `from` goes over into the one at `to`.
    fn join(&self, to: usize, from: usize) -> String {
        let mut line: Vec<char> = Vec::new();
        for (place, lane) in self.lanes.iter().enumerate() {
            line.push(match lane {
                Some(_) if place != from => '|',
                None if (to..from).contains(&place) => '_',
                _ => ' ',
            });
            line.push(if place + 1 == from {
                '/'
            } else if (to..from).contains(&place) {
                '_'
            } else {
                ' '
            });
        }
        let text: String = line.into_iter().collect();
        text.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole drawing of nodes and their parents.
    fn drawn(nodes: &[(u64, Option<u64>)]) -> String {
        let mut graph = Graph::default();
        let mut text = Vec::new();
        for (id, parent) in nodes {
            let (before, line) = graph.node(*id, *parent, '*');
            text.extend(before);
            text.push(format!("{line} {id}"));
        }
        text.join("\n")
    }

    #[test]
    fn a_line_is_a_line() {
        assert_eq!(
            drawn(&[(3, Some(2)), (2, Some(1)), (1, None)]),
            "* 3\n* 2\n* 1"
        );
    }

    #[test]
    fn lines_join_where_they_parted() {
        // 5 and 4 continue 3; 6 continues 1, as does 2.
        let nodes = [
            (6, Some(1)),
            (5, Some(3)),
            (4, Some(3)),
            (3, Some(2)),
            (2, Some(1)),
            (1, None),
        ];
        let expected = "\
* 6
| * 5
| | * 4
| |/
| * 3
| * 2
|/
* 1";
        assert_eq!(drawn(&nodes), expected);
    }

    #[test]
    fn a_lane_that_ended_is_used_again_and_a_far_one_reaches_over_others() {
        let nodes = [
            (7, Some(2)),
            (6, None),
            (5, Some(1)),
            (4, Some(2)),
            (3, Some(1)),
            (2, Some(1)),
            (1, None),
        ];
        let expected = "\
* 7
| * 6
| * 5
| | * 4
| | | * 3
|_|/  |
* |   | 2
|_|__/
|/
* 1";
        let drawn = drawn(&nodes);
        assert_eq!(drawn, expected);
    }
}
