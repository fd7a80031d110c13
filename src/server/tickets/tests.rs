use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use proptest::prelude::*;
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use serde_json::{Value, json};

use super::*;

const SECRET: &[u8] = b"a secret of the site's backend: 40 bytes";

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn hs256(secret: &[u8]) -> Key {
    format!("hs256:{}", base64(secret)).parse().unwrap()
}

/// A new Ed25519 key: the private one that signs, and the public one as in the settings.
fn ed25519() -> (EncodingKey, Key, Vec<u8>) {
    let private = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(private.as_ref()).unwrap();
    let public = pair.public_key().as_ref().to_vec();
    let key = format!("ed25519:{}", base64(&public)).parse().unwrap();
    (EncodingKey::from_ed_der(private.as_ref()), key, public)
}

fn tickets(keys: &[Key]) -> Tickets {
    Tickets::new(true, keys, None).unwrap()
}

fn ana() -> ChannelId {
    ChannelId::parse("ana").unwrap()
}

fn claims(change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = json!({"sub": "user-7", "channel": "ana", "exp": get_current_timestamp() + 60});
    change(&mut claims);
    claims
}

fn signed(claims: &Value, algorithm: Algorithm, key: &EncodingKey) -> String {
    crypto::install();
    encode(&Header::new(algorithm), claims, key).unwrap()
}

/// A ticket with these claims, signed with [`SECRET`].
fn ticket(claims: &Value) -> String {
    signed(claims, Algorithm::HS256, &EncodingKey::from_secret(SECRET))
}

/// A ticket with this header, signed with [`SECRET`] by HMAC with SHA-256 whatever the header says.
fn with_header(header: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(&claims(|_| {})));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET);
    let tag = ring::hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn check(ticket: &str) -> Result<ViewerId, Refusal> {
    tickets(&[hs256(SECRET)]).viewer(ticket, &ana(), None)
}

fn is_invalid(outcome: Result<ViewerId, Refusal>) -> bool {
    matches!(outcome, Err(Refusal::Invalid(_)))
}

#[test]
fn the_viewer_of_a_ticket_is_its_account_on_every_device_and_channel() {
    let viewer = check(&ticket(&claims(|_| {}))).unwrap();
    assert!(viewer.is_of_account());
    assert_eq!(
        check(&ticket(&claims(|claims| claims["exp"] = json!(get_current_timestamp() + 9)))),
        Ok(viewer)
    );
    assert_eq!(check(&ticket(&claims(|claims| claims["channel"] = json!("*")))), Ok(viewer));
    assert_eq!(check(&ticket(&claims(|claims| claims["channel"] = json!("Ana")))), Ok(viewer), "any case");
    assert_ne!(check(&ticket(&claims(|claims| claims["sub"] = json!("user-8")))), Ok(viewer));
}

#[test]
fn both_algorithms_and_all_keys_are_tried() {
    let (private, public, _) = ed25519();
    let (other_private, ..) = ed25519();
    let other = b"another secret of the site's backend, 42 bytes";
    let both = tickets(&[hs256(other), hs256(SECRET), public]);
    let of = |ticket: &str| both.viewer(ticket, &ana(), None);
    let viewer = of(&ticket(&claims(|_| {}))).unwrap();
    assert_eq!(of(&signed(&claims(|_| {}), Algorithm::HS256, &EncodingKey::from_secret(other))), Ok(viewer));
    assert_eq!(of(&signed(&claims(|_| {}), Algorithm::EdDSA, &private)), Ok(viewer));
    let stranger = b"a secret that the settings do not contain";
    for (algorithm, key) in
        [(Algorithm::HS256, &EncodingKey::from_secret(stranger)), (Algorithm::EdDSA, &other_private)]
    {
        let refused = of(&signed(&claims(|_| {}), algorithm, key));
        assert_eq!(refused, Err(Refusal::Invalid("no key matches the signature")), "{algorithm:?}");
    }
}

#[test]
fn a_rotation_of_keys_changes_no_viewer() {
    let (private, public, _) = ed25519();
    let (by_old, by_new) = (ticket(&claims(|_| {})), signed(&claims(|_| {}), Algorithm::EdDSA, &private));
    let viewer = |keys: &[Key], ticket: &str| tickets(keys).viewer(ticket, &ana(), None);
    let before = viewer(&[hs256(SECRET)], &by_old).unwrap();
    for during in [&by_old, &by_new] {
        assert_eq!(viewer(&[hs256(SECRET), public.clone()], during), Ok(before));
        assert_eq!(viewer(&[public.clone(), hs256(SECRET)], during), Ok(before));
    }
    assert_eq!(viewer(&[public], &by_new), Ok(before));
}

#[test]
fn the_secret_of_ids_decides_them() {
    let with = |secret: &[u8]| {
        let tickets = Tickets::new(true, &[hs256(SECRET)], Some(secret)).unwrap();
        assert!(!tickets.lacks_id_secret());
        tickets.viewer(&ticket(&claims(|_| {})), &ana(), None).unwrap()
    };
    assert_eq!(with(b"one"), with(b"one"));
    assert_ne!(with(b"one"), with(b"two"));
    assert!(tickets(&[hs256(SECRET)]).lacks_id_secret() && !Tickets::off().lacks_id_secret());
}

#[test]
fn tickets_expire_with_a_leeway_for_clocks() {
    let of = |seconds_ago: u64| {
        check(&ticket(&claims(|claims| claims["exp"] = json!(get_current_timestamp() - seconds_ago))))
    };
    assert!(of(0).is_ok() && of(LEEWAY_SECONDS - 3).is_ok());
    assert_eq!(of(LEEWAY_SECONDS + 1), Err(Refusal::Expired));
    assert_eq!(of(100_000), Err(Refusal::Expired));
    let early = |seconds: u64| {
        check(&ticket(&claims(|claims| claims["nbf"] = json!(get_current_timestamp() + seconds))))
    };
    assert!(early(0).is_ok());
    assert_eq!(early(60), Err(Refusal::Invalid("the ticket is not valid yet")));
}

#[test]
fn claims_that_are_missing_or_of_another_type_are_invalid() {
    for name in ["sub", "channel", "exp"] {
        for value in [None, Some(Value::Null), Some(json!([])), Some(json!({"a": 1})), Some(json!(true))] {
            let changed = claims(|claims| match &value {
                None => drop(claims.as_object_mut().unwrap().remove(name)),
                Some(value) => claims[name] = value.clone(),
            });
            assert!(is_invalid(check(&ticket(&changed))), "{name}: {value:?}");
        }
    }
    for (name, value) in [
        ("sub", json!("")),
        ("sub", json!(7)),
        ("exp", json!("tomorrow")),
        ("exp", json!(-1)),
        ("channel", json!("")),
        ("channel", json!("**")),
        ("channel", json!("bob")),
        ("channel", json!("ana,bob")),
        ("origin", json!(["https://partner.example"])),
        ("aud", json!("another service")),
        ("aud", json!(["another service"])),
        ("aud", json!(7)),
        ("aud", json!([7])),
        ("aud", json!({})),
    ] {
        let changed = claims(|claims| claims[name] = value.clone());
        assert!(is_invalid(check(&ticket(&changed))), "{name}: {value}");
    }
    // A claim that is given twice has no single value.
    let twice = ticket(&claims(|_| {}));
    let payload = format!(r#"{{"sub":"a","sub":"b","channel":"*","exp":{}}}"#, get_current_timestamp() + 60);
    let header = twice.split('.').next().unwrap();
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload));
    let tag = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET), message.as_bytes());
    assert!(is_invalid(check(&format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag)))));
}

#[test]
fn a_ticket_with_an_origin_is_for_pages_of_that_origin() {
    let of = |claimed: &str, page: Option<&str>| {
        let ticket = ticket(&claims(|claims| claims["origin"] = json!(claimed)));
        tickets(&[hs256(SECRET)]).viewer(&ticket, &ana(), page)
    };
    let site = "https://partner.example";
    for claimed in [site, "https://partner.example/", "HTTPS://Partner.Example"] {
        assert!(of(claimed, Some(site)).is_ok(), "{claimed}");
    }
    for page in
        [None, Some("null"), Some("https://partner.example.evil.example"), Some("http://partner.example")]
    {
        assert_eq!(of(site, page), Err(Refusal::Invalid("the ticket is for another origin")), "{page:?}");
    }
    for claimed in ["", "*", "partner.example"] {
        assert!(is_invalid(of(claimed, Some(site))) && is_invalid(of(claimed, None)), "{claimed}");
    }
}

#[test]
fn other_algorithms_are_invalid_even_with_a_matching_signature() {
    assert!(check(&with_header(&json!({"alg": "HS256"}))).is_ok(), "the header is enough");
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "None", "typ": "JWT"}),
        json!({"alg": "HS384"}),
        json!({"alg": "HS512"}),
        json!({"alg": "RS256"}),
        json!({"alg": "ES256"}),
        json!({"alg": "EdDSA"}),
        json!({"alg": ""}),
        json!({"alg": null}),
        json!({"typ": "JWT"}),
        json!({"alg": "HS256", "crit": ["exp"]}),
        json!({"alg": "HS256", "b64": false, "crit": ["b64"]}),
    ] {
        assert!(is_invalid(check(&with_header(&header))), "{header}");
    }
    let whole = ticket(&claims(|_| {}));
    let (message, signature) = whole.rsplit_once('.').unwrap();
    for unsigned in [format!("{message}."), message.to_owned(), format!("{whole}."), format!(".{whole}")] {
        assert!(is_invalid(check(&unsigned)), "{unsigned}");
    }
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let payload = message.split('.').nth(1).unwrap();
    for forged in [format!("{none}.{payload}."), format!("{none}.{payload}.{signature}")] {
        assert!(is_invalid(check(&forged)), "{forged}");
    }
}

#[test]
fn a_public_key_is_not_a_secret() {
    let (_, key, public) = ed25519();
    // The public key is known to everyone, so anyone can sign with it as if it were a secret.
    let forged = signed(&claims(|_| {}), Algorithm::HS256, &EncodingKey::from_secret(&public));
    assert!(is_invalid(tickets(std::slice::from_ref(&key)).viewer(&forged, &ana(), None)));
    assert!(is_invalid(tickets(&[key.clone(), hs256(SECRET)]).viewer(&forged, &ana(), None)));
    // Settings that would allow it are refused.
    let confused = Tickets::new(true, &[key, hs256(&public)], None);
    assert_eq!(confused.unwrap_err(), InvalidKeys::PublicSecret);
}

#[test]
fn keys_are_needed_and_limited() {
    assert_eq!(Tickets::new(false, &[], None).unwrap_err(), InvalidKeys::None);
    let keys: Vec<Key> =
        (0..=MAX_KEYS).map(|nth| hs256(&[&[u8::try_from(nth).unwrap()], SECRET].concat())).collect();
    assert_eq!(Tickets::new(false, &keys, None).unwrap_err(), InvalidKeys::TooMany);
    assert!(Tickets::new(false, &keys[..MAX_KEYS], None).is_ok());
    assert!(
        Tickets::new(false, &vec![hs256(SECRET); 99], None).is_ok(),
        "the same key again is no other key"
    );
}

#[test]
fn long_tickets_are_refused_before_they_are_parsed() {
    let long = |bytes: usize| claims(|claims| claims["padding"] = json!("x".repeat(bytes)));
    assert!(check(&ticket(&long(1_200))).is_ok());
    let too_long = ticket(&long(1_600));
    assert!(too_long.len() > MAX_BYTES);
    assert_eq!(check(&too_long), Err(Refusal::Invalid("the ticket is longer than 2048 bytes")));
    assert_eq!(check(&"x".repeat(1 << 20)), Err(Refusal::Invalid("the ticket is longer than 2048 bytes")));
}

#[test]
fn without_a_ticket_a_viewer_may_come_where_none_is_required_but_not_as_a_viewer_with_a_ticket() {
    let browser = ViewerId::parse("6fa1c0de-94a1-4b1e-8a53-0c6f2f6f7a10").unwrap();
    let account = check(&ticket(&claims(|_| {}))).unwrap();
    let (off, required) = (Tickets::off(), tickets(&[hs256(SECRET)]));
    let accepted = Tickets::new(false, &[hs256(SECRET)], None).unwrap();
    assert_eq!((off.check_without(browser), off.check_without(account)), (Ok(()), Ok(())));
    assert_eq!(
        (accepted.check_without(browser), accepted.check_without(account)),
        (Ok(()), Err(Refusal::Required))
    );
    assert_eq!(required.check_without(browser), Err(Refusal::Required));
    assert_eq!(required.check_without(account), Err(Refusal::Required));
    assert!(accepted.may_have_issued(account) && required.may_have_issued(account));
    assert!(!accepted.may_have_issued(browser) && !off.may_have_issued(account));
}

#[test]
fn where_tickets_are_off_they_are_ignored() {
    assert_eq!(Tickets::off().given(Some("anything")), None);
    let on = tickets(&[hs256(SECRET)]);
    assert_eq!((on.given(None), on.given(Some("")), on.given(Some("x"))), (None, None, Some("x")));
}

#[test]
fn nothing_secret_is_printed() {
    let id_secret = b"a secret of 31 bytes for the ids";
    let tickets = Tickets::new(true, &[hs256(SECRET)], Some(id_secret)).unwrap();
    let printed = format!("{tickets:?}");
    for secret in [SECRET, id_secret] {
        let numbers: Vec<_> = secret[..8].iter().map(u8::to_string).collect();
        for spelling in [String::from_utf8_lossy(secret).into_owned(), base64(secret), numbers.join(", ")] {
            assert!(!printed.contains(&spelling), "{spelling} in {printed}");
        }
    }
}

proptest! {
    #[test]
    fn no_text_passes_or_panics(text in "\\PC{0,200}", parts in prop::collection::vec("[A-Za-z0-9_-]{0,80}", 0..5)) {
        for text in [text, parts.join(".")] {
            prop_assert!(is_invalid(check(&text)));
        }
    }

    #[test]
    fn a_changed_ticket_is_invalid(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_.-]") {
        let mut changed = ticket(&claims(|_| {}));
        let at = at.index(changed.len());
        if changed[at..=at] != to {
            changed.replace_range(at..=at, &to);
            prop_assert!(is_invalid(check(&changed)), "{}", changed);
        }
    }
}
