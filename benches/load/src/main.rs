//! A load generator for iSCSI targets: one thread a session, a constant number of commands in flight.
//!
//! It knows just enough of the protocol to be light, so that the target and not the client is measured. It checks
//! statuses, not data. Prints one line of JSON. `benches/compare.py` drives it.

mod options;
mod session;
mod wire;

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use options::Options;
use session::{Outcome, Session};

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let mut sessions =
        (0..options.sessions).map(|number| Session::open(options, number)).collect::<Result<Vec<_>>>()?;
    let outcomes = std::thread::scope(|scope| {
        let threads: Vec<_> = sessions
            .iter_mut()
            .enumerate()
            .map(|(number, session)| scope.spawn(move || session.load(options, number)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("a session's thread failed"))?)
            .collect::<Result<Vec<_>>>()
    })?;
    print(options, outcomes);
    Ok(())
}

fn print(options: &Options, outcomes: Vec<Outcome>) {
    let commands: u64 = outcomes.iter().map(|outcome| outcome.commands).sum();
    let errors: u64 = outcomes.iter().map(|outcome| outcome.errors).sum();
    let mut latencies: Vec<u64> = outcomes.into_iter().flat_map(|outcome| outcome.latencies_ns).collect();
    latencies.sort_unstable();
    let percentile =
        |share: usize| latencies.get(latencies.len() * share / 100).copied().unwrap_or(0) as f64 / 1e3;
    let rate = commands as f64 / options.duration.as_secs_f64();
    let megabytes = rate * options.block_bytes as f64 / 1e6;
    let (median, tail) = (percentile(50), percentile(99));
    println!(
        r#"{{"commands":{commands},"errors":{errors},"iops":{rate:.1},"megabytes":{megabytes:.1},"p50_us":{median:.1},"p99_us":{tail:.1}}}"#
    );
}
