//! The figures of the product, measured on the built binaries: `make bench` runs this and keeps tables with every raw
//! sample in `results/`. Nothing here passes or fails by a time; it fails only when what was to be measured did not
//! happen.
#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a measurement that breaks must not become a figure"
)]

mod client;
mod credential_process;
mod decisions;
mod direct;
mod disk;
mod job;
mod load;
mod machine;
mod memory;
mod report;
mod samples;
mod stage;
mod vends;

use std::path::PathBuf;

use report::Results;

fn main() {
    // cargo bench adds --bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--results", directory] if std::env::var_os(machine::COMMAND).is_some() => {
            measure(&Results::new(PathBuf::from(directory)))
        }
        [job::ARGUMENT] => job::work(),
        _ => {
            eprintln!("run make bench: nothing else writes results");
            std::process::exit(2);
        }
    }
}

fn measure(results: &Results) {
    decisions::measure(results);
    memory::measure(results);
    credential_process::measure(results);
    vends::measure(results);
}
