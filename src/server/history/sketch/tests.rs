//! Accuracy, the laws of merging, and the stored form.

use proptest::{collection::vec, prelude::*};
use uuid::Uuid;

use super::*;

const KEY: HashKey = HashKey::new(*b"0123456789abcdef");

fn viewer(n: u64) -> ViewerId {
    ViewerId::new(Uuid::from_u128(u128::from(n) + 1)).unwrap()
}

fn sketch(viewers: impl IntoIterator<Item = u64>) -> Sketch {
    let mut sketch = Sketch::default();
    for n in viewers {
        sketch.insert(viewer(n), &KEY);
    }
    sketch
}

fn error(sketch: &Sketch, viewers: u64) -> f64 {
    (sketch.count() as f64 / viewers as f64 - 1.0).abs()
}

#[test]
fn is_exact_up_to_1024_viewers() {
    for n in [0, 1, 2, 100, 256, 1000, 1024] {
        let sketch = sketch((0..n).chain(0..n));
        assert_eq!((sketch.count(), sketch.is_exact()), (n, true));
        assert_eq!(sketch.is_empty(), n == 0);
    }
    assert!(!sketch(0..1025).is_exact());
}

#[test]
fn errs_by_less_than_2_percent() {
    let mut worst = 0_f64;
    for (viewers, seeds) in [(1025, 40), (2000, 40), (10_000, 20), (60_000, 8), (300_000, 2)] {
        for seed in 1..=seeds {
            let key = HashKey::new([seed; 16]);
            let mut sketch = Sketch::default();
            for n in 0..viewers {
                sketch.insert(viewer(n), &key);
            }
            worst = worst.max(error(&sketch, viewers));
        }
    }
    println!("greatest error: {:.2} %", worst * 100.0);
    assert!(worst < 0.02, "{worst}");
}

/// Hashes as from any number of viewers, without the cost of hashing.
#[test]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a register")]
fn errs_by_less_than_2_percent_up_to_billions() {
    for viewers in [5_000_000_u64, 4_000_000_000] {
        // Of uniform hashes, the highest rank of a register with `n` hashes is distributed like -log2(1 - u^(1/n)).
        let mut random = 0x5eed_u64;
        let registers = (0..dense::REGISTERS).map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let uniform = ((random >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
            let smallest = -(uniform.ln() / (viewers as f64 / dense::REGISTERS as f64)).exp_m1();
            (1.0 - smallest.log2().ceil()).clamp(0.0, f64::from(dense::MAX_RANK)) as u8
        });
        let sketch = Sketch(Form::Dense(Dense::from_registers(registers.collect()).unwrap()));
        assert!(error(&sketch, viewers) < 0.02, "{} for {viewers}", sketch.count());
    }
}

#[test]
fn the_hash_never_changes() {
    // A change would count everybody twice who is in stored sketches.
    let hash = KEY.hash(ViewerId::parse("6fa1c0de-94a1-4b1e-8a53-0c6f2f6f7a10").unwrap());
    assert_eq!(hash, KEY.hash(ViewerId::parse("{6FA1C0DE-94A1-4B1E-8A53-0C6F2F6F7A10}").unwrap()));
    assert_eq!(hash, 6_147_357_971_430_199_635);
    assert_ne!(
        hash,
        HashKey::new([0; 16]).hash(ViewerId::parse("6fa1c0de-94a1-4b1e-8a53-0c6f2f6f7a10").unwrap())
    );
}

#[test]
fn a_register_holds_the_longest_run_of_zeros_and_one_more() {
    let dense = Dense::of(&[
        0x0000_8000_0000,
        0x0001_0000_0001,
        0x0001_0002_0000,
        0xffff_0000_0000,
        0x0002_4000_0000,
    ]);
    let registers = dense.registers();
    assert_eq!([registers[0], registers[1], registers[2], registers[3]], [1, 32, 2, 0]);
    assert_eq!(registers[0xffff], dense::MAX_RANK);
}

#[test]
fn uniques_of_a_range_are_not_the_sum_of_its_parts() {
    let (monday, tuesday) = (sketch(0..5000), sketch(1000..6000));
    let mut both = monday.clone();
    both.merge(&tuesday);
    assert!(error(&both, 6000) < 0.02);
    assert_eq!(both, sketch(0..6000));
}

#[test]
fn stored_sketches_are_small() {
    for (viewers, limit) in [
        (0, 3),
        (1, 10),
        (10, 75),
        (100, 650),
        (1000, 6000),
        (1025, 2200),
        (20_000, 33_000),
        (200_000, 33_500),
    ] {
        let bytes = sketch(0..viewers).encode();
        println!("{viewers} viewers: {} bytes", bytes.len());
        assert!(bytes.len() <= limit, "{viewers}: {}", bytes.len());
    }
}

#[test]
fn damaged_dense_forms_are_an_error_or_a_valid_sketch() {
    for viewers in [3000, 40_000] {
        let bytes = sketch(0..viewers).encode();
        for index in (0..40).chain(bytes.len() - 40..bytes.len()) {
            for byte in [0, 1, 15, 34, 128, 255] {
                let mut damaged = bytes.clone();
                damaged[index] = byte;
                if let Ok(sketch) = Sketch::decode(&damaged) {
                    assert_eq!(Sketch::decode(&sketch.encode()), Ok(sketch));
                }
            }
            assert!(Sketch::decode(&bytes[..index]).is_err());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn merging_is_commutative_associative_and_idempotent(
        a in 0..3000_u64, b in 0..3000_u64, c in 0..3000_u64, length in 0..2000_u64,
    ) {
        let [a, b, c] = [a, b, c].map(|from| sketch(from..from + length));
        let merged = |x: &Sketch, y: &Sketch| { let mut x = x.clone(); x.merge(y); x };
        let ab = merged(&a, &b);
        prop_assert_eq!(&ab, &merged(&b, &a));
        prop_assert_eq!(merged(&ab, &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(&merged(&ab, &a), &ab);
        prop_assert_eq!(Sketch::decode(&ab.encode()), Ok(ab));
    }

    #[test]
    fn few_viewers_are_stored_and_read_unchanged(viewers in vec(any::<u64>(), 0..50)) {
        let sketch = sketch(viewers);
        let bytes = sketch.encode();
        prop_assert_eq!(Sketch::decode(&bytes), Ok(sketch));
        for length in 0..bytes.len() {
            prop_assert!(Sketch::decode(&bytes[..length]).is_err());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(form in 0..4_u8, bytes: Vec<u8>) {
        let _ = Sketch::decode(&[&[VERSION, form], &bytes[..]].concat());
        let _ = Sketch::decode(&bytes);
    }
}
