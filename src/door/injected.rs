//! Faults that tests ask for by OSVOLD_DOOR_FAULT=error|enospc|lost|noflush|hang[:CHANGES]: from the change after so
//! many on, every door answers an error, has no space, loses its connection, acknowledges flushes that it does not do,
//! or never answers. Without the feature `failpoints` there is nothing of it.

#[cfg(not(feature = "failpoints"))]
mod inner {
    use crate::lun::StoreError;

    /// No fault.
    pub(in crate::door) struct Injected;

    #[expect(clippy::unused_self, reason = "the same methods as with the feature")]
    impl Injected {
        pub(in crate::door) fn from_environment() -> Self {
            Self
        }
        pub(in crate::door) fn hangs(&self) -> bool {
            false
        }
        pub(in crate::door) fn before_change(&self) -> Result<(), StoreError> {
            Ok(())
        }
        pub(in crate::door) fn swallows_flush(&self) -> bool {
            false
        }
        pub(in crate::door) fn loses(&self) -> bool {
            false
        }
        pub(in crate::door) fn release(&self) {}
    }
}

#[cfg(feature = "failpoints")]
mod inner {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::time::Duration;

    use cow::Kind;

    use crate::lun::StoreError;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Fault {
        Error,
        NoSpace,
        Lost,
        NoFlush,
        Hang,
    }

    /// The fault of a door, if one is asked for.
    pub(in crate::door) struct Injected {
        fault: Option<Fault>,
        /// Changes that are let through.
        left: AtomicU64,
        released: AtomicBool,
    }

    impl Injected {
        pub(in crate::door) fn from_environment() -> Self {
            let asked = std::env::var("OSVOLD_DOOR_FAULT").unwrap_or_default();
            let (name, changes) = asked.split_once(':').unwrap_or((&asked, "0"));
            let fault = match name {
                "error" => Some(Fault::Error),
                "enospc" => Some(Fault::NoSpace),
                "lost" => Some(Fault::Lost),
                "noflush" => Some(Fault::NoFlush),
                "hang" => Some(Fault::Hang),
                _ => None,
            };
            let left = AtomicU64::new(changes.parse().unwrap_or(0));
            Self { fault, left, released: AtomicBool::new(false) }
        }

        fn is(&self, fault: Fault) -> bool {
            self.fault == Some(fault) && self.left.load(Ordering::Acquire) == 0
        }

        pub(in crate::door) fn hangs(&self) -> bool {
            self.is(Fault::Hang)
        }

        pub(in crate::door) fn before_change(&self) -> Result<(), StoreError> {
            let less = |left: u64| left.checked_sub(1);
            if self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).is_ok() {
                return Ok(());
            }
            match self.fault {
                Some(Fault::Error) => Err(StoreError(Kind::Io)),
                Some(Fault::NoSpace) => Err(StoreError(Kind::NoSpace)),
                Some(Fault::Hang) => {
                    while !self.released.load(Ordering::Acquire) {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    Err(StoreError(Kind::Io))
                }
                Some(Fault::Lost | Fault::NoFlush) | None => Ok(()),
            }
        }

        pub(in crate::door) fn swallows_flush(&self) -> bool {
            self.is(Fault::NoFlush)
        }

        pub(in crate::door) fn loses(&self) -> bool {
            self.is(Fault::Lost)
        }

        /// Lets go what hangs: its door is closed.
        pub(in crate::door) fn release(&self) {
            self.released.store(true, Ordering::Release);
        }
    }
}

pub(super) use inner::Injected;
