//! Typed configuration of osvold.
