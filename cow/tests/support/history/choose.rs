//! Which operation comes, and whether its outcome is right.

use cow::{
    Kind, Volume, Wait,
    disk::sim::{Fault, Op},
};

use super::{BLOCK, History, Outcome, Trouble};
use crate::support::{
    check::Wrong,
    model::{End, Model, Pending},
};

impl History {
    /// One operation that the dice choose.
    pub(super) fn operation(&mut self) -> Result<(), Wrong> {
        let dice = self.rng.below(100);
        self.operation_of(dice, None)
    }

    /// The operation of this number, with this fault armed.
    pub fn operation_of(&mut self, dice: u64, fault: Option<Fault>) -> Result<(), Wrong> {
        self.tally.operations += 1;
        if let Some(fault) = fault {
            self.note(|| format!("armed {fault:?}"));
            self.sync_fault = fault.op == Some(Op::Sync);
            self.disk.set_fault(Some(fault));
        }
        if self.rng.one_in(self.plan.crash_one_in) {
            let within = if self.rng.one_in(3) { 60 } else { 8 };
            self.disk.stop_at(Some(self.disk.steps() + 1 + self.rng.below(within)));
        }
        if self.plan.fault_one_in > 0 && self.rng.one_in(self.plan.fault_one_in) {
            self.arm();
        }
        self.needs_space = false;
        let outcome = self.choose(dice);
        self.check_forks()?;
        let hits = self.disk.fault_hits();
        self.disk.set_fault(None);
        if hits > 0 && self.sync_fault {
            Self::suspect_all(&mut self.model);
        }
        self.tally.faults += hits;
        if self.disk.is_stopped() {
            return self.crash();
        }
        self.disk.stop_at(None);
        match outcome {
            Ok(()) => {}
            Err(Trouble::Wrong(wrong)) => return Err(wrong),
            Err(Trouble::Refused(error)) if hits > 0 => self.after_fault(&error)?,
            Err(Trouble::Refused(error))
                if self.full && self.needs_space && error.kind() == Kind::NoSpace =>
            {
                self.tally.faults += 1;
                self.after_fault(&error)?;
            }
            Err(Trouble::Refused(error))
                if self.plan.fault_one_in > 0 && error.to_string().contains("in doubt") =>
            {
                (self.store, self.handles) = (None, Vec::new());
                self.model.pending = Pending::Nothing;
                return self.recover_with(End::Kill);
            }
            Err(Trouble::Refused(error)) => return Err(format!("refused for no reason: {error:?}")),
            Err(Trouble::Stopped) => return Err("stopped for no reason".to_owned()),
        }
        self.reopen_poisoned()
    }

    pub(super) fn choose(&mut self, dice: u64) -> Outcome {
        let volumes = self.model.volumes_there();
        let usable: Vec<usize> = volumes
            .iter()
            .copied()
            .filter(|at| self.handle(*at).is_none_or(|open| !open.is_poisoned()))
            .collect();
        if usable.is_empty() || dice < 4 && volumes.len() < 5 {
            return self.create_volume();
        }
        let volume = usable[self.rng.index(usable.len())];
        self.note(|| format!("{dice} on volume {volume}"));
        match dice {
            4..=6 => self.import(),
            7 => self.remove_image(),
            8..=9 => self.remove_volume(volume),
            10..=12 => self.close_or_reopen(volume),
            13..=16 => self.checkpoint(volume),
            17..=21 => self.reclaim(volume),
            22..=34 => self.flush(volume),
            35..=39 => self.read(volume),
            40..=49 => self.trim(volume),
            50..=55 => self.compare_and_write(volume),
            56..=59 => self.update(volume),
            60..=65 => self.write(volume, true),
            66..=67 => self.snapshot(volume),
            68 => self.remove_snapshot(),
            69 => self.clone_snapshot(),
            70 => self.roll_back(volume),
            71 => self.grow(volume),
            72 => {
                self.note(|| "evict".to_owned());
                self.disk.evict_clean();
                Ok(())
            }
            73..=74 => self.maintain(),
            75..=76 if self.plan.fault_one_in > 0 => self.fill_or_make_room(),
            77..=78 => self.compact(volume),
            79 => self.set_reserve(volume),
            80 => self.rename(volume),
            81..=82 => self.overwrite(volume),
            _ => self.write(volume, false),
        }
    }

    /// One of a few small operations, always at the same place.
    pub fn letter(&mut self, letter: char) -> Result<(), Wrong> {
        let tags = |model: &mut Model, sectors| model.new_tags(sectors);
        let plain = |open: &Volume, offset: u64, bytes: &[u8], wait: Wait| open.write(offset, &[bytes], wait);
        let outcome = match letter {
            'w' => {
                let tags = tags(&mut self.model, BLOCK);
                self.change(0, 0, tags, true, plain)
            }
            'p' => {
                let tags = tags(&mut self.model, 3);
                self.change(0, 6, tags, self.geometry.record_blocks_max > 1, plain)
            }
            't' => self.change(0, 0, vec![0; BLOCK], false, |open, offset, bytes, wait| {
                open.trim(offset, bytes.len() as u64, wait)
            }),
            'o' => self.overwrite_until_it_waits(0, 0, BLOCK),
            'f' => self.flush(0),
            'c' => self.checkpoint(0),
            'r' => self.reclaim(0),
            's' => self.snapshot(0),
            'k' => self.compact_so(0, u64::MAX, 99),
            _ => Err(Trouble::Wrong(format!("no operation `{letter}`"))),
        };
        self.check_forks()?;
        match outcome {
            Ok(()) => Ok(()),
            Err(Trouble::Wrong(wrong)) => Err(wrong),
            Err(Trouble::Refused(error)) => Err(format!("refused for no reason: {error:?}")),
            Err(Trouble::Stopped) => Err("stopped for no reason".to_owned()),
        }
    }

    /// Goes on without further forks.
    pub fn fork_every_step(&mut self, every: bool) {
        self.plan.fork_one_in = u64::from(every);
        self.disk.fork_sometimes(self.plan.fork_one_in);
    }
}
