//! A connection fed bytes as they come, before or after its login, whole or in pieces; its driver says yes to everything.

use super::Meter;
use super::world::World;

/// Width of the connection, what is negotiated, how the bytes are cut; the rest is what the peer sends.
pub(super) fn run(input: &[u8], meter: Meter) {
    let [which, choice, cut, stream @ ..] = input else { return };
    let mut world = World::new(usize::from(which & 3), meter);
    if which & 4 == 0 {
        world.establish(*choice);
    }
    let step = [1, 5, 48, 4096][usize::from(cut & 3)];
    for piece in stream.chunks(step) {
        world.send_raw(piece);
        world.answer_login();
        while cut & 4 == 0 && !world.executing.is_empty() {
            world.complete(0, *cut);
        }
        while cut & 8 == 0 && !world.managing.is_empty() {
            world.complete_management(0);
        }
        world.answer_targets(2);
        if cut & 16 == 0 {
            world.drain(usize::MAX);
        }
        if step > 1 {
            world.check();
        }
    }
    world.check();
    world.finish();
}
