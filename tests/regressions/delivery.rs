//! Deliveries that were lost, repeated or given up too soon.
