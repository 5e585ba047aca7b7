//! Waiting to the microsecond: tokio's own timers know milliseconds.

use std::io::ErrorKind;
use std::time::Duration;

use anyhow::Result;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::net::unix::pipe::Receiver;
use tokio::time::Instant;

/// A timer's descriptor: it is read like a pipe, and tokio asks nothing else of one.
pub(super) struct Timer(Receiver);

impl Timer {
    pub(super) fn new() -> Result<Self> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
        Ok(Self(Receiver::from_owned_fd_unchecked(fd)?))
    }

    pub(super) async fn wait_until(&self, at: Instant) -> Result<()> {
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let once = Itimerspec { it_interval: timespec(Duration::ZERO)?, it_value: timespec(left)? };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        loop {
            self.0.readable().await?;
            match self.0.try_read(&mut [0_u8; 8]) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn timespec(time: Duration) -> Result<Timespec> {
    Ok(Timespec { tv_sec: i64::try_from(time.as_secs())?, tv_nsec: i64::from(time.subsec_nanos()) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Timer;

    #[tokio::test]
    async fn it_is_never_early() {
        let timer = Timer::new().unwrap();
        for micros in [0, 50, 300] {
            let at = Instant::now() + Duration::from_micros(micros);
            timer.wait_until(at).await.unwrap();
            assert!(Instant::now() >= at);
        }
    }
}
