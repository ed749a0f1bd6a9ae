//! What a job may take.
//!
//! `prlimit` inside the sandbox bounds each process, and their number: there it counts the job's processes alone, outside
//! it would count osvold's threads too. What they hold together is watched from outside ([`super::contained`]), because
//! the address space of an emulator says nothing about its memory.

use std::time::Duration;

/// Memory of all processes of a job together: the appliance takes 350 MiB of it.
pub(super) const MEMORY_BYTES_MAX: u64 = 2 << 30;
/// Address space of a single process: it cannot outgrow this between two looks of the watch.
pub(super) const ADDRESS_SPACE_BYTES_MAX: u64 = 6 << 30;
/// Files of a job, and the temporary files of its programs; they are memory as well.
pub(super) const SCRATCH_BYTES_MAX: u64 = 512 << 20;
/// Largest single file.
pub(super) const FILE_BYTES_MAX: u64 = SCRATCH_BYTES_MAX;
/// Processes and threads.
pub(super) const PROCESSES_MAX: u64 = 128;
/// Open files of a process.
pub(super) const OPEN_FILES_MAX: u64 = 256;
/// Output that is read before the job is ended.
pub(super) const OUTPUT_BYTES_MAX: u64 = 64 << 20;
/// Output that is kept: half of it from the beginning, half from the end.
pub(super) const KEPT_BYTES_MAX: usize = 256 << 10;
/// Longest line that is kept whole.
pub(super) const LINE_BYTES_MAX: usize = 64 << 10;
/// Memory of the appliance's virtual machine, in MiB.
pub(super) const APPLIANCE_MIB: u64 = 768;
/// From one look at a job's processes to the next.
pub(super) const WATCH_INTERVAL: Duration = Duration::from_millis(200);
/// How readily the kernel ends a job when memory runs out: before anything else, and never osvold for it.
const OOM_SCORE_ADJUST: &str = "900";

/// The words before a command that put its limits on it.
pub(super) fn words(time_max: Duration) -> Vec<String> {
    let mut words: Vec<String> =
        ["/usr/bin/choom", "-n", OOM_SCORE_ADJUST, "--", "/usr/bin/prlimit"].map(str::to_owned).to_vec();
    words.extend([
        format!("--nproc={PROCESSES_MAX}"),
        format!("--nofile={OPEN_FILES_MAX}"),
        format!("--fsize={FILE_BYTES_MAX}"),
        format!("--as={ADDRESS_SPACE_BYTES_MAX}"),
        // As many processors as it likes, but no process outlives the job's own time in them.
        format!("--cpu={}", time_max.as_secs().max(1)),
        "--core=0".to_owned(),
    ]);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_job_has_a_second_of_processor_time() {
        assert!(words(Duration::from_millis(10)).contains(&"--cpu=1".to_owned()));
        assert!(words(Duration::from_secs(600)).contains(&"--cpu=600".to_owned()));
    }
}
