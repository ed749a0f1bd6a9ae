//! Serial numbers that wrap (RFC 1982 with SERIAL_BITS = 32; RFC 7143 §4.2.2.1).

/// A CmdSN, StatSN or DataSN: ordered on a circle, so it has no `Ord`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SerialNumber(pub u32);

impl SerialNumber {
    /// The number that follows.
    #[must_use]
    #[inline]
    pub const fn next(self) -> Self {
        self.add(1)
    }

    /// The number `count` further on.
    #[must_use]
    #[inline]
    pub const fn add(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count))
    }

    /// The number `count` back.
    #[must_use]
    #[inline]
    pub const fn sub(self, count: u32) -> Self {
        Self(self.0.wrapping_sub(count))
    }

    /// How many steps lead from `earlier` to `self`.
    #[must_use]
    #[inline]
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// Does `self` come after `other`? Numbers half a circle apart are not after one another.
    #[must_use]
    #[inline]
    pub const fn is_after(self, other: Self) -> bool {
        let distance = self.since(other);
        distance != 0 && distance < 1 << 31
    }

    /// Does `self` come before `other`?
    #[must_use]
    #[inline]
    pub const fn is_before(self, other: Self) -> bool {
        other.is_after(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_holds_across_the_wrap() {
        let last = SerialNumber(u32::MAX);
        assert!(last.next().is_after(last));
        assert!(last.is_before(last.add(5)));
        assert!(!last.is_after(last));
        assert_eq!(last.add(5).since(last), 5);
        assert_eq!(SerialNumber(0).sub(1), last);
    }

    #[test]
    fn opposite_numbers_are_in_no_order() {
        let zero = SerialNumber(0);
        let opposite = SerialNumber(1 << 31);
        assert!(!zero.is_after(opposite) && !opposite.is_after(zero));
    }
}
