//! Deliveries of one batch side by side, and those of a partition one after the other.
//!
//! The second event of a partition leaves only once the first is acknowledged. So nothing is ever at the peer before
//! what belongs before it, whatever becomes of the connection, and the batch still takes no longer than its longest
//! partition. Must not know how a delivery is made.

use std::collections::HashMap;

use futures::future::join_all;

use super::{Failure, Parcel};

/// Delivers each of `parcels` by `deliver` and answers in their order. After a [`Failure::Retry`] the rest of the
/// partition is not tried and answered alike.
pub(super) async fn deliver<'a, D, F>(parcels: &'a [Parcel], deliver: D) -> Vec<Result<(), Failure>>
where
    D: Fn(&'a Parcel) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    let deliver = &deliver;
    let chains = join_all(partitions(parcels).into_iter().map(|chain| async move {
        let mut held_up: Option<Failure> = None;
        let mut answers = Vec::with_capacity(chain.len());
        for index in chain {
            let answer = match &held_up {
                Some(failure) => Err(failure.clone()),
                None => deliver(&parcels[index]).await,
            };
            if let Err(failure @ Failure::Retry { .. }) = &answer {
                held_up = Some(failure.clone());
            }
            answers.push((index, answer));
        }
        answers
    }));
    let mut answers: Vec<_> = chains.await.into_iter().flatten().collect();
    answers.sort_unstable_by_key(|(index, _)| *index);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// Partitions of one batch whose next event waits, for deliveries that go one after the other.
#[derive(Debug, Default)]
pub(super) struct HeldUp<'a>(HashMap<&'a str, Failure>);

impl<'a> HeldUp<'a> {
    /// Returns the answer for `parcel` if it must wait.
    pub(super) fn answer(&self, parcel: &Parcel) -> Option<Result<(), Failure>> {
        self.0.get(&*parcel.partition).cloned().map(Err)
    }

    /// Holds up what follows `parcel` in its partition if it is to be tried again.
    pub(super) fn note(&mut self, parcel: &'a Parcel, answer: &Result<(), Failure>) {
        if let Err(failure @ Failure::Retry { .. }) = answer {
            self.0.entry(&parcel.partition).or_insert_with(|| failure.clone());
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
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

    use super::*;

    fn parcels(ids: &[&str]) -> Vec<Parcel> {
        ids.iter().map(|id| Parcel { id: (*id).into(), partition: id[..1].into(), body: "".into() }).collect()
    }

    fn retry(id: &str) -> Failure {
        Failure::Retry { reason: id.to_owned(), after: None }
    }

    #[tokio::test]
    async fn partitions_go_side_by_side_and_each_in_order() {
        let (under_way, log) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let batch = parcels(&["a1", "b1", "a2", "b2", "a3"]);
        let answers = deliver(&batch, async |parcel| {
            under_way.borrow_mut().push(parcel.partition.clone());
            log.borrow_mut().push(under_way.borrow().len());
            tokio::task::yield_now().await;
            under_way.borrow_mut().retain(|other| *other != parcel.partition);
            Ok(())
        });
        assert_eq!(answers.await, vec![Ok(()); 5]);
        assert!(log.borrow().contains(&2), "two at once");
        assert!(!log.borrow().contains(&3), "never two of a partition");
    }

    #[tokio::test]
    async fn what_follows_a_retry_in_its_partition_is_not_tried_and_what_follows_a_reject_is() {
        let tried = RefCell::new(Vec::new());
        let batch = parcels(&["a1", "b1", "a2", "a3", "b2"]);
        let answers = deliver(&batch, async |parcel| {
            tried.borrow_mut().push(parcel.id.to_string());
            match &*parcel.id {
                "a2" => Err(retry("a2")),
                "b1" => Err(Failure::Reject { reason: "b1".to_owned() }),
                _ => Ok(()),
            }
        });
        let rejected = Err(Failure::Reject { reason: "b1".to_owned() });
        assert_eq!(answers.await, [Ok(()), rejected, Err(retry("a2")), Err(retry("a2")), Ok(())]);
        assert!(!tried.borrow().contains(&"a3".to_owned()));
    }
}
