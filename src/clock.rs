//! The machine's clock. No other module reads it: time is handed in as a [`Clock`].

pub use carnet_engine::clock::{Clock, ManualClock, Timestamp};

#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that reads the machine's clock"
        )]
        Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
    }

    fn is_machines(&self) -> bool {
        true
    }
}
