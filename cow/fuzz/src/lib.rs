//! What every fuzz target does: it calls its function of `cow::fuzz`.

/// Calls the target of this name.
pub fn run(name: &str, bytes: &[u8]) {
    for (target, call) in cow::fuzz::TARGETS {
        if target == name {
            return call(bytes);
        }
    }
    unreachable!("no target `{name}`");
}
