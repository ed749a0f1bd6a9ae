//! What of the unsynced survives a power cut.

use super::Rng;

/// A manner of losing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// All that was not synced is lost.
    Nothing,
    /// All of it survives.
    Everything,
    /// Each sector with a chance of its own, in 256.
    Some(u8),
    /// All sectors of a page or none.
    Pages,
    /// All survive but a few.
    AllBut,
    /// All are lost but a few.
    NoneBut,
    /// The front of each file survives, or its back.
    Part,
}

impl Cut {
    /// Any of them.
    #[must_use]
    pub fn any(rng: &mut Rng) -> Self {
        match rng.below(10) {
            0 => Cut::Nothing,
            1 => Cut::Everything,
            2 | 3 => Cut::Some((rng.next() & 0xff) as u8),
            4 => Cut::Some(128),
            5 => Cut::Pages,
            6 | 7 => Cut::AllBut,
            8 => Cut::NoneBut,
            _ => Cut::Part,
        }
    }

    /// Decides page by page, given the dirty sectors, which of them survive.
    pub(super) fn chooser(self, rng: &mut Rng) -> impl FnMut(u8) -> u8 {
        let mut rng = rng.split();
        let (mut front, turns) = (rng.one_in(2), rng.below(6));
        let mut seen = 0;
        move |dirty| match self {
            Cut::Nothing => 0,
            Cut::Everything => 0xff,
            Cut::Some(chance) => {
                (0..8).fold(0, |bits, at| bits | u8::from(rng.chance(u64::from(chance), 256)) << at)
            }
            Cut::Pages => {
                if rng.one_in(2) {
                    0xff
                } else {
                    0
                }
            }
            Cut::AllBut => {
                if rng.one_in(4) {
                    !pick(dirty, &mut rng)
                } else {
                    0xff
                }
            }
            Cut::NoneBut => {
                if rng.one_in(4) {
                    pick(dirty, &mut rng)
                } else {
                    0
                }
            }
            Cut::Part => {
                if seen == turns {
                    front = !front;
                }
                seen += 1;
                if front { 0xff } else { 0 }
            }
        }
    }

    /// Whether a change of names survives.
    pub(super) fn keeps_name(self, rng: &mut Rng) -> bool {
        match self {
            Cut::Nothing => rng.one_in(4),
            Cut::Everything => !rng.one_in(4),
            _ => rng.one_in(2),
        }
    }
}

fn pick(dirty: u8, rng: &mut Rng) -> u8 {
    let nth = rng.below(u64::from(dirty.count_ones()));
    let mut bits = (0..8).filter(|at| dirty & (1 << at) != 0);
    bits.nth(usize::try_from(nth).unwrap_or(0)).map_or(0, |at| 1 << at)
}
