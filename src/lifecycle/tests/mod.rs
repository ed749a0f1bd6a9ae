//! Operations over a real store and catalog in a directory that vanishes, with exports that only remember.

mod moves;
mod races;
mod rig;
mod safety;
mod scratch;
mod scripts;
