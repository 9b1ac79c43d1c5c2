//! Deliveries of one batch side by side, and those of a partition one after the other.
//!
//! The second event of a partition leaves only once the first is acknowledged. So nothing is ever at the peer before
//! what belongs before it, whatever becomes of the connection, and the batch still takes no longer than its longest
//! partition. Must not know how a delivery is made.

use std::collections::HashMap;

use futures::future::join_all;

use super::{Batch, Failure, Parcel};

/// Delivers each parcel of `batch` by `deliver`. After a failure the rest of the partition is not tried.
pub(super) async fn deliver<'a, D, F>(batch: &'a Batch, deliver: D)
where
    D: Fn(&'a Parcel) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    let deliver = &deliver;
    join_all(partitions(batch.parcels()).into_iter().map(|chain| async move {
        for place in chain {
            if !batch.begin(place) {
                break;
            }
            batch.answer(place, deliver(&batch.parcels()[place]).await);
        }
    }))
    .await;
}

/// The places of each partition's parcels, in order.
fn partitions(parcels: &[Parcel]) -> Vec<Vec<usize>> {
    let mut chains: Vec<Vec<usize>> = Vec::new();
    let mut known = HashMap::new();
    for (index, parcel) in parcels.iter().enumerate() {
        let chain = *known.entry(&*parcel.partition).or_insert_with(|| {
            chains.push(Vec::new());
            chains.len() - 1
        });
        chains[chain].push(index);
    }
    chains
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use super::*;

    fn parcels(ids: &[&str]) -> Vec<Parcel> {
        ids.iter().map(|id| Parcel { id: (*id).into(), partition: id[..1].into(), body: "".into() }).collect()
    }

    fn retry(id: &str) -> Failure {
        Failure::Retry { reason: id.to_owned(), after: None }
    }

    fn batch(ids: &[&str]) -> Batch {
        Batch::new(parcels(ids), Duration::from_secs(10))
    }

    fn answers(batch: Batch, ids: &[&str]) -> Vec<(String, Result<(), Failure>)> {
        let outcomes = batch.outcomes().0.into_iter();
        outcomes.map(|outcome| (ids[outcome.place].to_owned(), outcome.answer)).collect()
    }

    #[tokio::test]
    async fn partitions_go_side_by_side_and_each_in_order() {
        let (under_way, log) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let ids = ["a1", "b1", "a2", "b2", "a3"];
        let batch = batch(&ids);
        deliver(&batch, async |parcel| {
            under_way.borrow_mut().push(parcel.partition.clone());
            log.borrow_mut().push(under_way.borrow().len());
            tokio::task::yield_now().await;
            under_way.borrow_mut().retain(|other| *other != parcel.partition);
            Ok(())
        })
        .await;
        assert!(answers(batch, &ids).iter().all(|(_, answer)| answer.is_ok()));
        assert!(log.borrow().contains(&2), "two at once");
        assert!(!log.borrow().contains(&3), "never two of a partition");
    }

    #[tokio::test]
    async fn what_follows_a_failure_in_its_partition_is_not_tried() {
        let ids = ["a1", "b1", "a2", "a3", "b2", "c1"];
        let batch = batch(&ids);
        deliver(&batch, async |parcel| match &*parcel.id {
            "a2" => Err(retry("a2")),
            "b1" => Err(Failure::Reject { reason: "b1".to_owned() }),
            _ => Ok(()),
        })
        .await;
        let tried: Vec<_> = answers(batch, &ids).into_iter().map(|(id, answer)| (id, answer.is_ok())).collect();
        let expected = [("a1", true), ("a2", false), ("b1", false), ("c1", true)];
        assert_eq!(tried, expected.map(|(id, taken)| (id.to_owned(), taken)));
    }
}
