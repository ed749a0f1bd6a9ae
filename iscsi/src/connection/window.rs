//! The command window (RFC 7143 §4.2.2.1): which CmdSN is expected, and how far a peer may run ahead.

use crate::serial::SerialNumber;

/// ExpCmdSN and MaxCmdSN. MaxCmdSN is never less than ExpCmdSN - 1 (§4.2.2.1).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CommandWindow {
    exp_cmd_sn: SerialNumber,
    /// Open when not before ExpCmdSN; ExpCmdSN - 1 means closed.
    max_cmd_sn: SerialNumber,
}

/// Where a CmdSN lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// It is the next.
    Expected,
    /// It is in the window with others missing before it.
    Ahead,
    /// It is a duplicate, or beyond the window: §4.2.2.1 has the target ignore it silently.
    Outside,
}

impl CommandWindow {
    pub(super) const fn new(exp_cmd_sn: SerialNumber) -> Self {
        Self { exp_cmd_sn, max_cmd_sn: exp_cmd_sn.sub(1) }
    }

    pub(super) const fn exp_cmd_sn(&self) -> SerialNumber {
        self.exp_cmd_sn
    }

    pub(super) const fn max_cmd_sn(&self) -> SerialNumber {
        self.max_cmd_sn
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.max_cmd_sn.is_before(self.exp_cmd_sn)
    }

    pub(super) fn position(&self, cmd_sn: SerialNumber) -> Position {
        if cmd_sn.is_before(self.exp_cmd_sn) || cmd_sn.is_after(self.max_cmd_sn) {
            Position::Outside
        } else if cmd_sn == self.exp_cmd_sn {
            Position::Expected
        } else {
            Position::Ahead
        }
    }

    /// The expected command came.
    pub(super) fn advance(&mut self) {
        debug_assert!(!self.is_closed());
        self.exp_cmd_sn = self.exp_cmd_sn.next();
    }

    /// The command that came was rejected: it does not count as received (§7.3), and its number is missing.
    pub(super) fn retreat(&mut self) {
        self.exp_cmd_sn = self.exp_cmd_sn.sub(1);
    }

    /// There is room for `free` more commands. MaxCmdSN never moves back (§4.2.2.1).
    pub(super) fn open_for(&mut self, free: u32) {
        let max_cmd_sn = self.exp_cmd_sn.add(free).sub(1);
        if max_cmd_sn.is_after(self.max_cmd_sn) {
            self.max_cmd_sn = max_cmd_sn;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_window_is_closed_until_it_is_opened() {
        let mut window = CommandWindow::new(SerialNumber(5));
        assert!(window.is_closed());
        assert_eq!(window.position(SerialNumber(5)), Position::Outside);
        window.open_for(2);
        assert_eq!(window.position(SerialNumber(5)), Position::Expected);
        assert_eq!(window.position(SerialNumber(6)), Position::Ahead);
        assert_eq!(window.position(SerialNumber(7)), Position::Outside);
        assert_eq!(window.position(SerialNumber(4)), Position::Outside);
    }

    #[test]
    fn it_works_across_the_wrap() {
        let mut window = CommandWindow::new(SerialNumber(u32::MAX));
        window.open_for(4);
        assert_eq!(window.max_cmd_sn(), SerialNumber(2));
        assert_eq!(window.position(SerialNumber(1)), Position::Ahead);
        window.advance();
        assert_eq!(window.position(SerialNumber(0)), Position::Expected);
        assert_eq!(window.position(SerialNumber(u32::MAX)), Position::Outside);
    }

    #[test]
    fn it_never_shrinks_from_the_far_end() {
        let mut window = CommandWindow::new(SerialNumber(0));
        window.open_for(10);
        window.open_for(3);
        assert_eq!(window.max_cmd_sn(), SerialNumber(9));
        for _ in 0..10 {
            window.advance();
        }
        assert!(window.is_closed());
        window.open_for(0);
        assert!(window.is_closed());
    }
}
