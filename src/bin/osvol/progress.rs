//! Progress of an upload: a bar on a terminal, a plain line now and then elsewhere, nothing with `--json`.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use api::Phase;
use config::Size;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Plain lines are at least so far apart, but for the first and the last of a phase.
const LINE_EVERY: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) enum Meter {
    Bar(ProgressBar),
    Lines { shown: Option<Shown> },
    Silent,
}

/// The last line that was printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown {
    phase: Phase,
    at: Instant,
    complete: bool,
}

impl Meter {
    pub(crate) fn new(silent: bool) -> Self {
        match (silent, stderr().is_terminal()) {
            (true, _) => Self::Silent,
            (false, true) => Self::Bar(bar()),
            (false, false) => Self::Lines { shown: None },
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
            Self::Lines { shown } => {
                let now = Instant::now();
                let complete = done_bytes >= total_bytes;
                if is_due(*shown, phase, now, complete) {
                    eprintln!("{}", line(phase, done_bytes, total_bytes));
                    *shown = Some(Shown { phase, at: now, complete });
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

fn is_due(shown: Option<Shown>, phase: Phase, now: Instant, complete: bool) -> bool {
    match shown {
        Some(shown) if shown.phase == phase => {
            !shown.complete && (complete || now.duration_since(shown.at) >= LINE_EVERY)
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_due_at_first_at_last_and_now_and_then() {
        let start = Instant::now();
        let shown = Some(Shown { phase: Phase::Uploading, at: start, complete: false });
        assert!(is_due(None, Phase::Uploading, start, false));
        assert!(!is_due(shown, Phase::Uploading, start, false));
        assert!(is_due(shown, Phase::Uploading, start + LINE_EVERY, false));
        assert!(is_due(shown, Phase::Uploading, start, true));
        assert!(is_due(shown, Phase::Sealing, start, false));
        let complete = shown.map(|shown| Shown { complete: true, ..shown });
        assert!(!is_due(complete, Phase::Uploading, start + LINE_EVERY, true));
    }

    #[test]
    fn a_line_says_how_far() {
        assert_eq!(line(Phase::Uploading, 1 << 29, 1 << 30), "uploading 50% of 1 GiB");
        assert_eq!(line(Phase::Checking, 0, 0), "checking");
    }
}
