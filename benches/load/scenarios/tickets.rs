//! What a ticket adds to a join: joins without one, with one signed by HS256, and with one signed by Ed25519, on the same
//! node with the memory store. Every viewer has a ticket of its own.

use std::time::Duration;

use aforo::server::clock::time_of_day;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::{
    hmac,
    signature::{Ed25519KeyPair, KeyPair},
};

use crate::{
    Result,
    calls::{Audience, post, uuid},
    loops::{Plan, Until, closed},
    report::Report,
    target::{Running, Starter, Target},
};

/// The duration of the load before each measurement.
const WARM_UP: Duration = Duration::from_millis(500);

/// How long the tickets are valid, in seconds.
const LIFETIME: u64 = 24 * 3_600;

/// The bytes of both private keys.
const KEY: [u8; 32] = *b"nothing is protected by this key";

#[derive(clap::Args)]
pub struct Tickets {
    #[arg(long, default_value_t = 10_000)]
    viewers: u64,
    #[arg(long, default_value_t = 100)]
    channels: u64,
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Measured time for each kind of join
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

/// When the tickets expire, in seconds since the epoch.
fn expiry() -> u64 {
    time_of_day().as_millis() / 1_000 + LIFETIME
}

/// How the tickets of a row are signed.
enum Signer {
    Hs256(hmac::Key),
    Ed25519(Box<Ed25519KeyPair>),
}

impl Signer {
    /// A ticket of an account.
    fn ticket(&self, account: &str, channel: &str, expires_at: u64) -> String {
        let alg = match self {
            Self::Hs256(_) => "HS256",
            Self::Ed25519(_) => "EdDSA",
        };
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#));
        let claims = format!(r#"{{"sub":"{account}","channel":"{channel}","exp":{expires_at}}}"#);
        let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = match self {
            Self::Hs256(key) => URL_SAFE_NO_PAD.encode(hmac::sign(key, message.as_bytes())),
            Self::Ed25519(pair) => URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes())),
        };
        format!("{message}.{signature}")
    }
}

impl Tickets {
    pub fn run(&self, starter: &Starter, report: &mut Report) -> Result<()> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&KEY).map_err(|_| "no key pair")?;
        let public = STANDARD.encode(pair.public_key());
        let keys = format!("hs256:{},ed25519:{public}", STANDARD.encode(KEY));
        let settings = [("VIEWER_TICKETS", "accept"), ("VIEWER_TICKET_KEYS", &*keys)];
        let signers = [
            ("HS256", Signer::Hs256(hmac::Key::new(hmac::HMAC_SHA256, &KEY))),
            ("Ed25519", Signer::Ed25519(Box::new(pair))),
        ];
        for _ in 0..self.rounds {
            let running = starter.start(Target::Memory, &settings)?;
            let (without, others) = self.measure(&running, None)?;
            let figures = vec![("µs of CPU", without), ("others' cores", others)];
            report.add("tickets", "join without a ticket".to_owned(), figures)?;
            for (name, signer) in &signers {
                let (with, others) = self.measure(&running, Some(signer))?;
                let more = ("µs more", with - without);
                let figures = vec![("µs of CPU", with), more, ("others' cores", others)];
                report.add("tickets", format!("join with {name}"), figures)?;
            }
        }
        Ok(())
    }

    /// The CPU time of the node for a join in µs, and how many cores other programs kept busy meanwhile.
    fn measure(&self, running: &Running, signer: Option<&Signer>) -> Result<(f64, f64)> {
        let requests = self.requests(signer);
        let mut nth = 0;
        let mut next = || {
            nth = (nth + 1) % requests.len();
            requests[nth].clone()
        };
        let plan = Plan { addr: running.addr(), connections: self.connections, next: &mut next };
        let until = Until::Over { warm_up: WARM_UP, window: Duration::from_secs(self.seconds) };
        let meter = running.meter()?;
        let (outcome, before, after) = closed(plan, until, || meter.read())?;
        let (outcome, usage) = (outcome.all_ok()?, after.since(&before));
        Ok((usage.served() * 1e6 / outcome.times.len() as f64, usage.others() / outcome.seconds))
    }

    /// The joins of all viewers. They differ in the ticket only.
    fn requests(&self, signer: Option<&Signer>) -> Vec<Vec<u8>> {
        let audience = Audience { viewers: self.viewers, channels: self.channels };
        let expires_at = expiry();
        let request = |number| {
            let (channel, viewer) = (audience.channel(number), uuid(4, number));
            let session = uuid(5, number);
            let ticket = signer.map_or_else(String::new, |signer| {
                let ticket = signer.ticket(&format!("account-{number}"), &channel, expires_at);
                format!(r#","ticket":"{ticket}""#)
            });
            let body = format!(
                r#"{{"channelId":"{channel}","viewerId":"{viewer}","sessionId":"{session}"{ticket}}}"#
            );
            post("/api/viewer/join", &body)
        };
        (0..self.viewers).map(request).collect()
    }
}

#[cfg(test)]
mod tests {
    use aforo::{
        domain::ChannelId,
        server::tickets::{Key, Tickets as Checks},
    };

    use super::*;

    #[test]
    fn the_server_takes_the_tickets() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&KEY).unwrap();
        let keys: [Key; 2] = [
            format!("hs256:{}", STANDARD.encode(KEY)).parse().unwrap(),
            format!("ed25519:{}", STANDARD.encode(pair.public_key())).parse().unwrap(),
        ];
        let checks = Checks::new(true, &keys, None).unwrap();
        let channel = ChannelId::parse("channel-0").unwrap();
        for signer in
            [Signer::Hs256(hmac::Key::new(hmac::HMAC_SHA256, &KEY)), Signer::Ed25519(Box::new(pair))]
        {
            let ticket = signer.ticket("account-0", "channel-0", expiry());
            assert!(checks.viewer(&ticket, &channel, None).is_ok());
        }
    }
}
