//! The SCSI command set of a thin-provisioned disk, decided without I/O.
