//! A process and all that descend from it, as `/proc` shows them.
//!
//! Whatever a job starts stays below its bubblewrap: what has lost its parent falls to the first process of the job's own
//! process namespace.

use std::collections::HashMap;
use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// Size of a page; `/proc` counts in them.
const PAGE_BYTES: u64 = 4096;

/// A process that is told from a later one of the same number by when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) pid: i32,
    began: u64,
}

/// A line of `/proc/<pid>/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    pid: i32,
    state: u8,
    parent: i32,
    began: u64,
    resident_pages: u64,
}

/// All that descend from `root`, itself first.
pub(super) fn of(root: u32) -> Vec<Process> {
    let (Ok(root), Ok(entries)) = (i32::try_from(root), fs::read_dir("/proc")) else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    descendants(root, pids.filter_map(stat).collect())
}

/// Memory that they hold together.
pub(super) fn resident_bytes(processes: &[Process]) -> u64 {
    let found = processes.iter().filter_map(|process| process.stat());
    found.map(|stat| stat.resident_pages.saturating_mul(PAGE_BYTES)).sum()
}

/// How many of them are still running.
pub(super) fn running(processes: &[Process]) -> usize {
    // A zombie has let go of everything but its number.
    processes
        .iter()
        .filter_map(|process| process.stat())
        .filter(|stat| !matches!(stat.state, b'Z' | b'X'))
        .count()
}

/// Ends them all. Those that have ended already are left alone.
pub(super) fn kill(processes: &[Process]) {
    for process in processes {
        if process.stat().is_some()
            && let Some(pid) = Pid::from_raw(process.pid)
        {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

impl Process {
    /// What it is now, unless it has gone.
    fn stat(&self) -> Option<Stat> {
        stat(self.pid).filter(|stat| stat.began == self.began)
    }
}

fn descendants(root: i32, stats: Vec<Stat>) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<Stat>> = HashMap::new();
    let mut found = Vec::new();
    for stat in stats {
        if stat.pid == root {
            found.push(Process { pid: stat.pid, began: stat.began });
        }
        children.entry(stat.parent).or_default().push(stat);
    }
    let mut next = 0;
    while let Some(process) = found.get(next).copied() {
        let below = children.remove(&process.pid).unwrap_or_default();
        found.extend(below.iter().map(|stat| Process { pid: stat.pid, began: stat.began }));
        next += 1;
    }
    found
}

fn stat(pid: i32) -> Option<Stat> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// `123 (any text) S 1 …`: the name may have blanks and brackets, so it is what the last bracket ends.
fn parse(pid: i32, line: &str) -> Option<Stat> {
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    // Numbers of proc(5), less the two before the state.
    let field = |number: usize| fields.get(number - 3).copied();
    Some(Stat {
        pid,
        state: *field(3)?.as_bytes().first()?,
        parent: field(4)?.parse().ok()?,
        began: field(22)?.parse().ok()?,
        resident_pages: field(24)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_the_fields_behind_it() {
        let mut fields: Vec<String> = (3..=24).map(|number| number.to_string()).collect();
        fields[0] = "S".to_owned();
        let stat = parse(7, &format!("7 (a) R 9 9 (b) {}\n", fields.join(" "))).unwrap();
        assert_eq!(stat, Stat { pid: 7, state: b'S', parent: 4, began: 22, resident_pages: 24 });
        for short in ["", "7 (a) S 4", "7 a S 4"] {
            assert_eq!(parse(7, short), None, "{short:?}");
        }
    }

    #[test]
    fn all_that_descend_are_found_and_no_others() {
        let stat = |pid, parent| Stat { pid, state: b'S', parent, began: 1, resident_pages: 0 };
        let stats = vec![stat(1, 0), stat(5, 4), stat(2, 1), stat(4, 2), stat(3, 1), stat(6, 4)];
        let found: Vec<i32> = descendants(2, stats).iter().map(|process| process.pid).collect();
        assert_eq!(found, [2, 4, 5, 6]);
    }

    #[test]
    fn this_process_is_found_with_its_memory() {
        let found = of(std::process::id());
        assert!(!found.is_empty() && running(&found) >= 1);
        assert!(resident_bytes(&found[..1]) > 1 << 20);
        // Another process that has got the number is not this one.
        let stranger = Process { began: 0, ..found[0] };
        assert_eq!((running(&[stranger]), resident_bytes(&[stranger])), (0, 0));
    }
}
