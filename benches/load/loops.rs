//! The two ways to put load on a server.
//!
//! - Closed: every connection sends its next call when the last is answered. It finds the rate that a server can do.
//! - Open: calls come at a given rate, whatever the server does, and are timed from when they were due. So a server that
//!   stalls is charged with all calls that had to wait, and none is left out.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    thread::sleep,
    time::{Duration, Instant},
};

use mio::{Events, Poll, Token};

use crate::{Result, conn::Conn, stats::percentile};

/// What is asked of a server, and over how many connections.
pub struct Plan<'a> {
    pub addr: SocketAddr,
    pub connections: usize,
    pub next: &'a mut dyn FnMut() -> Vec<u8>,
}

/// How long a closed loop goes on.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// So long, after a time that is not measured.
    Over { warm_up: Duration, window: Duration },
    /// So many calls.
    Calls(u64),
}

/// What came of a loop.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The time that each call took, in µs, sorted.
    pub times: Vec<u32>,
    /// How long was measured, in seconds.
    pub seconds: f64,
    /// Answers that were no success.
    pub refused: u64,
}

impl Outcome {
    /// Calls per second.
    pub fn rate(&self) -> f64 {
        self.times.len() as f64 / self.seconds
    }

    /// The time that `share` of the calls did not exceed, in ms.
    pub fn time(&self, share: f64) -> f64 {
        f64::from(percentile(&self.times, share).unwrap_or(0)) / 1000.0
    }

    /// An error if any call was refused.
    pub fn all_well(self) -> Result<Self> {
        match self.refused {
            0 => Ok(self),
            refused => Err(format!("{refused} calls were not answered with 2xx").into()),
        }
    }

    fn take(&mut self, status: u16, time: Duration) {
        self.times.push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
        self.refused += u64::from(!(200..300).contains(&status));
    }
}

/// Runs a closed loop. `probe` is called at the start and at the end of what is measured.
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
            return Err("nothing was answered for 10 s".into());
        }
        for event in &events {
            let (conn, at) = &mut conns[event.token().0];
            if let Some(status) = conn.proceed(&mut scratch, |_| ())? {
                let now = Instant::now();
                if first.is_some() {
                    outcome.take(status, now - *at);
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

/// Runs an open loop at so many calls per second.
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
    // When the call under way on a connection was due, and the calls that are due but have no connection yet.
    let mut due_at = vec![Instant::now(); connections];
    let mut waiting = VecDeque::new();
    let (start, mut called) = (Instant::now(), 0_u32);
    let end = start + warm_up + window;
    let mut answered_by = end;
    loop {
        let now = Instant::now();
        loop {
            let due = start + Duration::from_secs_f64(f64::from(called) / rate);
            if due > now || due >= end {
                break;
            }
            waiting.push_back(due);
            called += 1;
        }
        while let (Some(due), Some(free)) = (waiting.front().copied(), idle.last().copied()) {
            waiting.pop_front();
            idle.pop();
            due_at[free] = due;
            conns[free].send(next())?;
        }
        // A poll's own time limit has steps of 1 ms; this has far smaller ones. What it adds is in the figures.
        sleep(Duration::from_micros(20));
        poll.poll(&mut events, Some(Duration::ZERO))?;
        for event in &events {
            let at = event.token().0;
            if let Some(status) = conns[at].proceed(&mut scratch, |_| ())? {
                answered_by = Instant::now();
                if due_at[at] >= start + warm_up {
                    outcome.take(status, answered_by - due_at[at]);
                }
                idle.push(at);
            }
        }
        if now >= end && waiting.is_empty() && idle.len() == connections {
            break;
        }
        if now > answered_by.max(end) + Duration::from_secs(10) {
            return Err("nothing was answered for 10 s".into());
        }
    }
    outcome.times.sort_unstable();
    Ok(outcome)
}
