//! Warnings about settings that are valid but unwise. They contain no secrets, and the server starts anyway.

use super::{Flags, Secret, values::LONG_SECRET};
use crate::{domain::StreamTemplate, server::tickets};

/// What is unwise, though the server starts with it: one sentence each, without secrets.
pub(super) fn warnings(flags: &Flags) -> Vec<String> {
    let mut warnings = Vec::new();
    for (name, secret) in [("API_TOKEN", &flags.api_token), ("LIVE_HOOK_SECRET", &flags.live_hook_secret)] {
        if secret.as_ref().is_some_and(|secret| secret.len() < LONG_SECRET) {
            warnings.push(format!(
                "{name} is shorter than {LONG_SECRET} characters, so it may be guessed; make one with openssl rand \
                 -hex 16"
            ));
        }
    }
    // Backends may sign tickets even while tickets are off.
    if flags.ticket_keys.iter().any(tickets::Key::is_placeholder) {
        warnings.push(
            "VIEWER_TICKET_KEYS has a key whose bytes are all the same, so anyone may be able to sign tickets; make \
             another one"
                .to_owned(),
        );
    }
    // A ticket has the claims of a link.
    let is_key = |secret: &Secret| flags.ticket_keys.iter().any(|key| key.is(secret.as_bytes()));
    if flags.api_secret.as_ref().is_some_and(is_key) {
        warnings.push(
            "API_SECRET is the same as a key of VIEWER_TICKET_KEYS, so the ticket of every viewer opens the \
             statistics of the channel; use two secrets"
                .to_owned(),
        );
    }
    let has_tls = flags.tls_cert.is_some() && flags.tls_key.is_some();
    if has_tls && flags.stream_url_template.as_ref().is_some_and(StreamTemplate::is_unencrypted) {
        warnings.push(
            "STREAM_URL_TEMPLATE is an http:// address, and browsers block it on the pages, which come over TLS"
                .to_owned(),
        );
    }
    warnings
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_STANDARD};

    use crate::server::config::{Config, draft, read};

    /// The configuration by these flags.
    fn config(flags: &[&str]) -> Config {
        read([&["aforo"][..], flags].concat()).unwrap()
    }

    #[test]
    fn what_is_unwise_is_told_without_secrets_and_stops_nothing() {
        let secret = "hunter2 is 32 bytes long in this";
        let key = format!("--ticket-keys=hs256:{}", BASE64_STANDARD.encode(secret));
        let secret = format!("--api-secret={secret}");
        let zeros = format!("--ticket-keys=hs256:{}", "A".repeat(43));
        for (flags, start) in [
            (&["--api-token=hunter2"][..], "API_TOKEN is shorter than 16 characters"),
            (&["--live-hook-secret=hunter2"], "LIVE_HOOK_SECRET is shorter than 16 characters"),
            (&[&*zeros], "VIEWER_TICKET_KEYS has a key whose bytes are all the same"),
            (&[&*secret, &*key], "API_SECRET is the same as a key of VIEWER_TICKET_KEYS"),
        ] {
            let warnings = config(flags).warnings;
            let [warning] = &warnings[..] else { panic!("{warnings:?}") };
            assert!(warning.starts_with(start) && !warning.contains("hunter2"), "{warning}");
        }
        for flags in [
            &["--api-token=0123456789abcdef", "--live-hook-secret=0123456789abcdef"][..],
            &[],
            &[&*key],
            &["--stream-url-template=http://cdn.example:8080/{channel}"],
        ] {
            assert_eq!(config(flags).warnings, Vec::<String>::new(), "{flags:?}");
        }
    }

    #[test]
    fn a_stream_that_browsers_block_is_told() {
        let warnings = |template: &str| {
            let flags = ["aforo", "--tls-cert=cert.pem", "--tls-key=key.pem", template];
            draft(flags, None).unwrap().config.warnings
        };
        let told = warnings("--stream-url-template=http://cdn.example/{channel}");
        let [warning] = &told[..] else { panic!("{told:?}") };
        assert!(warning.starts_with("STREAM_URL_TEMPLATE is an http:// address"), "{warning}");
        assert!(warnings("--stream-url-template=https://cdn.example/{channel}").is_empty());
    }
}
