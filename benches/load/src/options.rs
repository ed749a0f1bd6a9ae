//! The command line of the load generator.

use std::time::Duration;

use anyhow::{Context, Result, bail};

/// What is asked of the target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Workload {
    RandomRead,
    RandomWrite,
    Read,
    Write,
    /// A write and a flush in turns.
    WriteFlush,
}

impl Workload {
    fn parse(word: &str) -> Result<Self> {
        Ok(match word {
            "randread" => Self::RandomRead,
            "randwrite" => Self::RandomWrite,
            "read" => Self::Read,
            "write" => Self::Write,
            "writeflush" => Self::WriteFlush,
            other => bail!("no workload {other}: randread, randwrite, read, write, writeflush"),
        })
    }

    pub(crate) fn is_random(self) -> bool {
        matches!(self, Self::RandomRead | Self::RandomWrite | Self::WriteFlush)
    }

    pub(crate) fn is_write(self) -> bool {
        matches!(self, Self::RandomWrite | Self::Write | Self::WriteFlush)
    }
}

pub(crate) struct Options {
    pub(crate) portal: String,
    pub(crate) target: String,
    pub(crate) lun: u8,
    pub(crate) workload: Workload,
    pub(crate) block_bytes: usize,
    pub(crate) depth: usize,
    pub(crate) sessions: usize,
    pub(crate) span_bytes: u64,
    pub(crate) seed: u64,
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
}

impl Options {
    /// `--name value` pairs; the portal and the target must be given.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            portal: String::new(),
            target: String::new(),
            lun: 0,
            workload: Workload::RandomRead,
            block_bytes: 4096,
            depth: 1,
            sessions: 1,
            span_bytes: u64::MAX,
            seed: 1,
            warm_up: Duration::from_millis(300),
            duration: Duration::from_secs(3),
        };
        while let Some(name) = words.next() {
            let value = words.next().with_context(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--portal" => options.portal = value,
                "--target" => options.target = value,
                "--lun" => options.lun = value.parse()?,
                "--workload" => options.workload = Workload::parse(&value)?,
                "--block" => options.block_bytes = value.parse()?,
                "--depth" => options.depth = value.parse()?,
                "--sessions" => options.sessions = value.parse()?,
                "--span" => options.span_bytes = value.parse()?,
                "--seed" => options.seed = value.parse()?,
                "--warm-up" => options.warm_up = Duration::from_secs_f64(value.parse()?),
                "--seconds" => options.duration = Duration::from_secs_f64(value.parse()?),
                other => bail!("unknown option {other}"),
            }
        }
        if options.portal.is_empty() || options.target.is_empty() {
            bail!(
                "usage: load --portal HOST:PORT --target IQN [--lun N] [--workload W] [--block BYTES] [--depth N] [--sessions N] [--seconds S]"
            );
        }
        Ok(options)
    }
}
