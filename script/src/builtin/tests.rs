//! Whole sessions on disks in memory.
