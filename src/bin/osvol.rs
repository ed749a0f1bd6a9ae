//! osvol: the command line of osvold.

fn main() {}
