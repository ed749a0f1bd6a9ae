//! The process or the power goes, in the run itself and in copies of its disk.

use cow::disk::sim::{Cut, Fork, Rng, SimDisk};

use super::History;
use crate::support::{
    check::{Wrong, open, recover},
    model::{End, Model},
};

impl History {
    /// The machine has stopped: the process or the power is gone. Then it starts again, and all is compared.
    pub(super) fn crash(&mut self) -> Result<(), Wrong> {
        self.tally.crashes += 1;
        if let Some(volume) = self.closing.take() {
            self.model.volumes[volume].suspect |= self.sync_fault && self.disk.fault_hits() > 0;
        }
        self.store = None;
        self.handles.clear();
        drop(self.disk.take_forks());
        let end = if self.rng.one_in(2) { End::Kill } else { End::Cut };
        self.recover_with(end)
    }

    pub(super) fn next_process(&mut self, end: End) {
        self.disk = match end {
            End::Kill => self.disk.kill(),
            End::Cut => {
                let cut = Cut::any(&mut self.rng);
                self.disk.power_cut(&mut self.rng, cut)
            }
        };
    }

    pub(super) fn recover_with(&mut self, end: End) -> Result<(), Wrong> {
        self.note(|| format!("{end:?}"));
        let mut end = end;
        self.next_process(end);
        // A recovery may be cut off as well, more than once.
        while self.rng.one_in(4) {
            self.disk.stop_at(Some(self.disk.steps() + 1 + self.rng.below(40)));
            self.half_recover(&self.disk.clone());
            let next = if self.rng.one_in(2) { End::Kill } else { End::Cut };
            self.note(|| format!("recovery cut off, {next:?}"));
            end = if end == End::Cut || next == End::Cut { End::Cut } else { End::Kill };
            self.next_process(next);
        }
        self.disk.fork_sometimes(0);
        let recovered = recover(&self.model, &self.disk, self.geometry, end, &mut self.rng)
            .map_err(|wrong| format!("after {end:?}: {wrong}"))?;
        self.tally.crash_states += 1;
        self.store = Some(recovered.settle(&mut self.model, end));
        drop(self.disk.take_forks());
        self.disk.fork_sometimes(self.plan.fork_one_in);
        Ok(())
    }

    /// Opens all there is, however far that gets.
    pub(super) fn half_recover(&self, disk: &SimDisk) {
        if let Ok(store) = open(disk, self.geometry) {
            for info in store.volumes() {
                drop(store.open_volume(info.id));
            }
        }
    }

    /// Crashes every disk that was taken aside since the last call, in several ways.
    pub(super) fn check_forks(&mut self) -> Result<(), Wrong> {
        for fork in self.disk.take_forks() {
            let mut rng = self.rng.split();
            let mut suspect = None;
            if fork.fault_hits() > 0 && self.sync_fault {
                Self::suspect_all(suspect.insert(self.model.clone()));
            }
            let model = suspect.as_ref().unwrap_or(&self.model);
            if self.plan.subset_bits > 0 {
                let states = self.check_all_cuts(model, &fork, &mut rng);
                self.tally.crash_states += states
                    .map_err(|wrong| format!("crashed at step {} ({:?}): {wrong}", fork.step, fork.op))?;
                continue;
            }
            for _ in 0..self.plan.cuts_per_fork {
                self.check_fork(model, &fork, &mut rng)
                    .map_err(|wrong| format!("crashed at step {} ({:?}): {wrong}", fork.step, fork.op))?;
                self.tally.crash_states += 1;
            }
        }
        Ok(())
    }

    /// Every subset of what a power cut decides about, where those are few; else some. And a kill.
    pub(super) fn check_all_cuts(&self, model: &Model, fork: &Fork, rng: &mut Rng) -> Result<u64, Wrong> {
        recover(model, &fork.disk().kill(), self.geometry, End::Kill, rng)
            .map_err(|wrong| format!("Kill, {wrong}"))?;
        let undecided = fork.disk().undecided();
        let every = undecided <= self.plan.subset_bits as usize;
        let cuts = if every { 1 << undecided } else { self.plan.cuts_per_fork };
        for cut in 0..cuts {
            let disk = if every {
                fork.disk().power_cut_exactly(cut)
            } else {
                let cut = Cut::any(rng);
                fork.disk().power_cut(rng, cut)
            };
            recover(model, &disk, self.geometry, End::Cut, rng)
                .map_err(|wrong| format!("Cut {cut:b} of {undecided}, {wrong}"))?;
        }
        Ok(cuts + 1)
    }

    pub(super) fn check_fork(&self, model: &Model, fork: &Fork, rng: &mut Rng) -> Result<(), Wrong> {
        let mut end = if rng.one_in(4) { End::Kill } else { End::Cut };
        let mut how = String::new();
        let mut disk = fork.disk();
        loop {
            let cut = Cut::any(rng);
            how += &format!("{end:?} {cut:?}, ");
            disk = if end == End::Kill { disk.kill() } else { disk.power_cut(rng, cut) };
            if !rng.one_in(8) {
                break;
            }
            disk.stop_at(Some(disk.steps() + 1 + rng.below(40)));
            self.half_recover(&disk);
            how += "recovery cut off, ";
            if rng.one_in(2) {
                end = End::Cut;
            }
        }
        let end = if how.contains("Cut ") { End::Cut } else { End::Kill };
        recover(model, &disk, self.geometry, end, rng).map(drop).map_err(|wrong| format!("{how}{wrong}"))
    }
}
