//! The program: reads the command line and carries one command out.

use std::process::ExitCode;

use clap::Parser;
use onsip_router::cli::Cli;
use tikv_jemallocator::Jemalloc;

/// An event is made on one thread and let go on another, which is where the system's allocator is slow.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    Cli::parse().run()
}
