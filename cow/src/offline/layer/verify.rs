//! Every block beside its checksum.

use std::collections::BTreeMap;

use super::{Fault, LayerMap};
use crate::{
    context::Context,
    error::Result,
    layer::segment_path,
    limits::BLOCK_LEN,
    offline::{lost, ranges::Ranges, report::Problem},
};

impl LayerMap {
    /// Reads every block, and adds what is not what was written to the faults. `progress` hears of every run.
    pub(crate) fn verify(
        &mut self,
        context: &Context,
        progress: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let mut rotten: BTreeMap<(u32, bool), (Ranges, Ranges)> = BTreeMap::new();
        let mut buffer = Vec::new();
        for run in self.index.runs() {
            let Some(scan) = self.segment(run.place.slot) else { continue };
            let good = scan.verify(u32::from(run.place.block), run.crcs, &mut buffer);
            let blocks = run.crcs.iter().zip(buffer.chunks(BLOCK_LEN)).zip(good).zip(0_u64..);
            for (((crc, data), _), n) in blocks.filter(|((_, good), _)| !good) {
                let lba = u64::from(run.lba) + n;
                if self.lost.touches(lba..lba + 1) {
                    continue;
                }
                let marked = lost::is_marked(data, *crc);
                let (lbas, places) = rotten.entry((run.place.slot, marked)).or_default();
                lbas.add(lba..lba + 1);
                let place = u64::from(run.place.block) + n;
                places.add(place..place + 1);
            }
            progress(run.crcs.len() as u64)?;
        }
        let dir = context.layer_dir(self.id);
        for ((slot, marked), (lost, places)) in rotten {
            let Some(scan) = self.segment(slot) else { continue };
            let path = segment_path(&dir, scan.number);
            let path = path.strip_prefix(&context.root).unwrap_or(&path).to_owned();
            self.lost.add_all(&lost);
            let problem = if marked { Problem::Marked { places } } else { Problem::Blocks { places } };
            self.faults.push(Fault { path, problem, lost, unlocated: false });
        }
        Ok(())
    }
}
