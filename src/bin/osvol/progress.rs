//! Progress of an upload: a bar on a terminal, a plain line now and then elsewhere, nothing with `--json`.

use std::io::{IsTerminal, stderr};

use api::Phase;
use config::Size;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A plain line is printed for each of so many parts of the work.
const LINES_PER_PHASE: u64 = 10;

#[derive(Debug)]
pub(crate) enum Meter {
    Bar(ProgressBar),
    Lines { phase: Option<Phase>, next_bytes: u64 },
    Silent,
}

impl Meter {
    pub(crate) fn new(silent: bool) -> Self {
        match (silent, stderr().is_terminal()) {
            (true, _) => Self::Silent,
            (false, true) => Self::Bar(bar()),
            (false, false) => Self::Lines { phase: None, next_bytes: 0 },
        }
    }

    /// Tells how far a phase has come. A total of 0 means that nobody knows yet.
    pub(crate) fn at(&mut self, phase: Phase, done_bytes: u64, total_bytes: u64) {
        match self {
            Self::Silent => {}
            Self::Bar(bar) => {
                bar.set_message(phase.to_string());
                bar.set_length(total_bytes.max(done_bytes).max(1));
                bar.set_position(done_bytes);
            }
            Self::Lines { phase: shown, next_bytes } => {
                let fresh = *shown != Some(phase);
                if fresh || done_bytes >= *next_bytes && total_bytes > 0 {
                    eprintln!("{}", line(phase, done_bytes, total_bytes));
                    *shown = Some(phase);
                    *next_bytes = next(done_bytes, total_bytes);
                }
            }
        }
    }

    /// Takes the bar away, so that what follows starts on a clean line.
    pub(crate) fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(1);
    bar.set_draw_target(ProgressDrawTarget::stderr());
    let template = "{msg:10} [{wide_bar}] {percent:>3}% {binary_bytes}/{binary_total_bytes} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

fn line(phase: Phase, done_bytes: u64, total_bytes: u64) -> String {
    if total_bytes == 0 {
        return format!("{phase}");
    }
    let percent = u128::from(done_bytes.min(total_bytes)) * 100 / u128::from(total_bytes);
    format!("{phase} {percent}% of {}", Size::from_bytes(total_bytes))
}

/// Where the next line is due: at the next tenth, and once more at the end.
fn next(done_bytes: u64, total_bytes: u64) -> u64 {
    if done_bytes >= total_bytes {
        return u64::MAX;
    }
    let step = (total_bytes / LINES_PER_PHASE).max(1);
    ((done_bytes / step + 1) * step).min(total_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_due_at_tenths_and_at_the_end() {
        assert_eq!(next(0, 1000), 100);
        assert_eq!(next(250, 1000), 300);
        assert_eq!(next(999, 1005), 1000);
        assert_eq!(next(1000, 1005), 1005);
        assert_eq!(next(1005, 1005), u64::MAX);
        assert_eq!(next(0, 3), 1);
    }

    #[test]
    fn a_line_says_how_far() {
        assert_eq!(line(Phase::Uploading, 1 << 29, 1 << 30), "uploading 50% of 1 GiB");
        assert_eq!(line(Phase::Checking, 0, 0), "checking");
    }
}
