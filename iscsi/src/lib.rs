//! The iSCSI protocol (RFC 7143) as a machine without I/O: bytes in, bytes out.
