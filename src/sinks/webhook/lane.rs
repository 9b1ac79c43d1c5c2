//! What may be under way at once: events of one partition go one after the other, so each partition belongs to one lane.
//!
//! Must not know how anything is posted.

use std::collections::HashMap;

use crate::sinks::Parcel;

/// The places of `parcels` by lane; within a lane in order.
///
/// With `batch` 1 each partition has a lane of its own. Larger posts are filled from several partitions: then there are
/// only as many lanes as have full posts to make, and at most `concurrency`.
pub(super) fn lanes(parcels: &[Parcel], batch: usize, concurrency: usize) -> Vec<Vec<usize>> {
    let most = if batch > 1 { parcels.len().div_ceil(batch).min(concurrency) } else { parcels.len() };
    let mut lanes: Vec<Vec<usize>> = Vec::new();
    let mut of_partition: HashMap<&str, usize> = HashMap::new();
    for (place, parcel) in parcels.iter().enumerate() {
        let lane = *of_partition.entry(&parcel.partition).or_insert_with(|| {
            if lanes.len() < most {
                lanes.push(Vec::new());
                return lanes.len() - 1;
            }
            let shortest = lanes.iter().enumerate().min_by_key(|(_, lane)| lane.len());
            shortest.map_or(0, |(lane, _)| lane)
        });
        lanes[lane].push(place);
    }
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcels(partitions: &str) -> Vec<Parcel> {
        let parcel =
            |partition: char| Parcel { id: "1".into(), partition: partition.to_string().into(), body: "{}".into() };
        partitions.chars().map(parcel).collect()
    }

    #[test]
    fn each_partition_goes_its_own_way_in_order() {
        assert_eq!(lanes(&parcels("abacab"), 1, 2), [vec![0, 2, 4], vec![1, 5], vec![3]]);
        assert_eq!(lanes(&[], 1, 8), [[0; 0]; 0]);
    }

    #[test]
    fn posts_of_many_are_filled_from_several_partitions() {
        assert_eq!(lanes(&parcels("abacab"), 6, 8), [[0, 1, 2, 3, 4, 5]]);
        assert_eq!(lanes(&parcels("aabcaad"), 4, 8), [vec![0, 1, 4, 5], vec![2, 3, 6]]);
        assert_eq!(lanes(&parcels("aabcaad"), 2, 1), [[0, 1, 2, 3, 4, 5, 6]]);
    }
}
