//! Two kinds of load loops.
//!
//! - Closed: every connection sends its next call after the previous response. It measures the maximum rate of a
//!   server.
//! - Open: calls are due at a given rate, regardless of the server, and their times count from when they were due. A
//!   stall of the server therefore affects the times of all calls that had to wait.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    thread::sleep,
    time::{Duration, Instant},
};

use mio::{Events, Poll, Token};

use crate::{Result, conn::Conn, stats::percentile};

/// The requests, the server and the number of connections.
pub struct Plan<'a> {
    pub addr: SocketAddr,
    pub connections: usize,
    pub next: &'a mut dyn FnMut() -> Vec<u8>,
}

/// The end of a closed loop.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// After a warm-up that is not measured, and a measured window.
    Over { warm_up: Duration, window: Duration },
    /// After this number of calls.
    Calls(u64),
}

/// The result of a loop.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The times of all calls in µs, sorted.
    pub times: Vec<u32>,
    /// The measured time in seconds.
    pub seconds: f64,
    /// The number of responses without a 2xx status.
    pub refused: u64,
}

impl Outcome {
    /// Calls per second.
    pub fn rate(&self) -> f64 {
        self.times.len() as f64 / self.seconds
    }

    /// A percentile of the times in ms; `share` is from 0 to 1.
    pub fn time(&self, share: f64) -> f64 {
        f64::from(percentile(&self.times, share).unwrap_or(0)) / 1000.0
    }

    /// Fails if any call was refused.
    pub fn all_ok(self) -> Result<Self> {
        match self.refused {
            0 => Ok(self),
            refused => Err(format!("{refused} calls had no 2xx status").into()),
        }
    }

    fn add(&mut self, status: u16, time: Duration) {
        self.times.push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
        self.refused += u64::from(!(200..300).contains(&status));
    }
}

/// Runs a closed loop. Calls `probe` at the start and at the end of the measurement.
pub fn closed<P>(
    plan: Plan<'_>,
    until: Until,
    mut probe: impl FnMut() -> Result<P>,
) -> Result<(Outcome, P, P)> {
    let Plan { addr, connections, next } = plan;
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(connections);
    let mut scratch = vec![0; 64 * 1024];
    let (mut outcome, mut sent) = (Outcome::default(), 0_u64);
    let most = if let Until::Calls(calls) = until { calls } else { u64::MAX };
    let warm_up = if let Until::Over { warm_up, .. } = until { warm_up } else { Duration::ZERO };

    let mut conns = Vec::new();
    for token in 0..connections.min(usize::try_from(most).unwrap_or(usize::MAX)) {
        conns.push((Conn::open(addr, poll.registry(), Token(token))?, Instant::now()));
    }
    let mut first = if warm_up.is_zero() { Some((Instant::now(), probe()?)) } else { None };
    let since = Instant::now();
    for (conn, at) in &mut conns {
        *at = Instant::now();
        conn.send(next())?;
        sent += 1;
    }
    loop {
        poll.poll(&mut events, Some(Duration::from_secs(10)))?;
        if events.is_empty() {
            return Err("no response for 10 s".into());
        }
        for event in &events {
            let (conn, at) = &mut conns[event.token().0];
            if let Some(status) = conn.proceed(&mut scratch, |_| ())? {
                let now = Instant::now();
                if first.is_some() {
                    outcome.add(status, now - *at);
                }
                if sent < most {
                    *at = now;
                    conn.send(next())?;
                    sent += 1;
                }
            }
        }
        match (&first, until) {
            (None, _) if since.elapsed() >= warm_up => first = Some((Instant::now(), probe()?)),
            (Some((start, _)), Until::Over { window, .. }) if start.elapsed() >= window => break,
            (Some(_), Until::Calls(calls)) if outcome.times.len() as u64 >= calls => break,
            _ => {}
        }
    }
    let (start, before) = first.ok_or("nothing was measured")?;
    outcome.seconds = start.elapsed().as_secs_f64();
    let after = probe()?;
    outcome.times.sort_unstable();
    Ok((outcome, before, after))
}

/// Runs an open loop with `rate` calls per second.
pub fn open(plan: Plan<'_>, rate: f64, warm_up: Duration, window: Duration) -> Result<Outcome> {
    let Plan { addr, connections, next } = plan;
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(connections);
    let mut scratch = vec![0; 64 * 1024];
    let mut outcome = Outcome { seconds: window.as_secs_f64(), ..Outcome::default() };
    let mut conns = Vec::new();
    for token in 0..connections {
        conns.push(Conn::open(addr, poll.registry(), Token(token))?);
    }
    let mut idle: Vec<usize> = (0..connections).collect();
    // The due time of the current call of each connection, and the due calls that wait for a connection.
    let mut due_at = vec![Instant::now(); connections];
    let mut waiting = VecDeque::new();
    let (start, mut scheduled) = (Instant::now(), 0_u32);
    let end = start + warm_up + window;
    let mut last_response = end;
    loop {
        let now = Instant::now();
        loop {
            let due = start + Duration::from_secs_f64(f64::from(scheduled) / rate);
            if due > now || due >= end {
                break;
            }
            waiting.push_back(due);
            scheduled += 1;
        }
        while let (Some(due), Some(free)) = (waiting.front().copied(), idle.last().copied()) {
            waiting.pop_front();
            idle.pop();
            due_at[free] = due;
            conns[free].send(next())?;
        }
        // The timeout of a poll has a resolution of 1 ms, which is too coarse. The measured times include this sleep.
        sleep(Duration::from_micros(20));
        poll.poll(&mut events, Some(Duration::ZERO))?;
        for event in &events {
            let at = event.token().0;
            if let Some(status) = conns[at].proceed(&mut scratch, |_| ())? {
                last_response = Instant::now();
                if due_at[at] >= start + warm_up {
                    outcome.add(status, last_response - due_at[at]);
                }
                idle.push(at);
            }
        }
        if now >= end && waiting.is_empty() && idle.len() == connections {
            break;
        }
        if now > last_response.max(end) + Duration::from_secs(10) {
            return Err("no response for 10 s".into());
        }
    }
    outcome.times.sort_unstable();
    Ok(outcome)
}
