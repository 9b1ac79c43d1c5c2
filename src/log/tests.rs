//! The log on a simulated disk.

mod histories;
mod simulated_disk;
