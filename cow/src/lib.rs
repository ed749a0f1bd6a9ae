//! Golden images and copy-on-write overlays.
