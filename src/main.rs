//! The program: reads the command line and carries one command out.

use std::process::ExitCode;

use clap::Parser;
use onsip_router::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
