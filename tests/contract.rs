//! What every sink to a real system promises, against that system: one contract, one row per peer.
//!
//! Each test starts a peer of its own from the Debian packages that `tests/run` installs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

#[path = "contract/authority.rs"]
mod authority;
#[path = "contract/clauses.rs"]
mod clauses;
#[cfg(feature = "kafka")]
#[path = "contract/kafka_cluster.rs"]
mod kafka_cluster;
#[cfg(feature = "kafka")]
#[path = "contract/kafka_gate.rs"]
mod kafka_gate;
#[path = "contract/mosquitto.rs"]
mod mosquitto;
#[path = "contract/nats_server.rs"]
mod nats_server;
#[path = "contract/parcels.rs"]
mod parcels;
#[path = "contract/peer.rs"]
mod peer;
#[path = "contract/postgres_server.rs"]
mod postgres_server;
#[path = "contract/rabbitmq.rs"]
mod rabbitmq;
#[path = "contract/webhook.rs"]
mod receiver;
#[path = "contract/redis_server.rs"]
mod redis_server;

/// One test for each clause and peer.
macro_rules! contract {
    ($($kind:ident => $peer:ty),* $(,)?) => {$(
        mod $kind {
            use super::clauses;

            #[tokio::test]
            async fn what_is_acknowledged_is_at_the_peer_whole_and_in_order() {
                clauses::acknowledged_is_there::<$peer>().await;
            }

            #[tokio::test]
            async fn a_dead_peer_is_to_be_tried_again_and_found_when_it_is_back() {
                clauses::dead_peer::<$peer>().await;
            }

            #[tokio::test]
            async fn a_hanging_peer_acknowledges_nothing_and_can_be_left() {
                clauses::hanging_peer::<$peer>().await;
            }

            #[tokio::test]
            async fn a_peer_killed_in_mid_batch_loses_nothing_and_confuses_no_order() {
                clauses::killed_peer::<$peer>().await;
            }

            #[tokio::test]
            async fn a_wrong_secret_acknowledges_nothing_and_is_not_repeated() {
                clauses::wrong_secret::<$peer>().await;
            }

            #[tokio::test]
            async fn an_event_it_can_never_take_is_rejected_and_holds_up_no_other() {
                clauses::indigestible::<$peer>().await;
            }
        }
    )*};
}

contract! {
    amqp => crate::rabbitmq::RabbitMq,
    mqtt => crate::mosquitto::Mosquitto,
    nats => crate::nats_server::NatsServer,
    postgres => crate::postgres_server::PostgresServer,
    redis => crate::redis_server::RedisServer,
    webhook => crate::receiver::Webhook,
}

#[cfg(feature = "kafka")]
contract! {
    kafka => crate::kafka_cluster::KafkaCluster,
}
