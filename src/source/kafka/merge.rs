//! Merges partitions by the times of their records, so that a replay of a topic is in about the order in which it was
//! written, and no partition runs far ahead of the others.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The partitions that have a record at hand, by its time.
///
/// Times within a partition may go back. A record counts as no earlier than those before it, so that an old time does
/// not let a partition run ahead.
#[derive(Debug, Default)]
pub struct Merge {
    heads: BinaryHeap<Reverse<(i64, usize)>>,
}

impl Merge {
    /// Adds the next record of a partition. `latest` is the latest time of the partition so far, which this moves on.
    pub fn add(&mut self, partition: usize, time_ms: Option<i64>, latest: &mut i64) {
        *latest = time_ms.map_or(*latest, |time| time.max(*latest));
        self.heads.push(Reverse((*latest, partition)));
    }

    /// Takes the partition with the earliest record.
    pub fn next(&mut self) -> Option<usize> {
        self.heads.pop().map(|Reverse((_, partition))| partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    /// The order in which the records of some partitions come out.
    fn merged(partitions: &[Vec<Option<i64>>]) -> Vec<(usize, Option<i64>)> {
        let mut left: Vec<VecDeque<_>> = partitions.iter().map(|times| times.iter().copied().collect()).collect();
        let mut latest = vec![i64::MIN; left.len()];
        let (mut merge, mut order) = (Merge::default(), Vec::new());
        for (partition, times) in left.iter().enumerate() {
            if let Some(time) = times.front() {
                merge.add(partition, *time, &mut latest[partition]);
            }
        }
        while let Some(partition) = merge.next() {
            order.push((partition, left[partition].pop_front().unwrap()));
            if let Some(time) = left[partition].front() {
                merge.add(partition, *time, &mut latest[partition]);
            }
        }
        order
    }

    proptest! {
        #[test]
        fn each_partition_keeps_its_order_and_ordered_ones_merge_to_order(
            partitions in vec(vec(proptest::option::of(0..50_i64), 0..20), 0..6),
        ) {
            let order = merged(&partitions);
            for (index, partition) in partitions.iter().enumerate() {
                let own: Vec<_> = order.iter().filter(|(of, _)| *of == index).map(|(_, time)| *time).collect();
                prop_assert_eq!(&own, partition);
            }
            let sorted: Vec<Vec<_>> = partitions
                .iter()
                .map(|times| {
                    let mut times: Vec<_> = times.iter().flatten().copied().map(Some).collect();
                    times.sort_unstable();
                    times
                })
                .collect();
            prop_assert!(merged(&sorted).is_sorted_by_key(|(_, time)| *time));
        }
    }

    #[test]
    fn an_early_time_does_not_let_a_partition_run_ahead() {
        let order = merged(&[vec![Some(10), Some(1), Some(2), Some(30)], vec![Some(5), Some(11), Some(12)]]);
        assert_eq!(order.iter().map(|(partition, _)| *partition).collect::<Vec<_>>(), [1, 0, 0, 0, 1, 1, 0]);
    }
}
