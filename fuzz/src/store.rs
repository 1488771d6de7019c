//! The lock server's file, damaged: it is refused, or what was written last is there. Never an empty one.
//!
//! The bytes are damages, each of six: what is done, where (three bytes, times the file's length), and with what.

use lockserver::seams::{image, open};
use model::state::Stored;
use std::sync::OnceLock;

/// How much one damage reaches over, at most, in bytes.
const REACH_MAX: usize = 4096;

/// A file into which records were written thrice, and what was in it after the second and after the third.
struct Whole {
    bytes: Vec<u8>,
    last: [Vec<Stored>; 2],
}

fn tokens(numbers: std::ops::Range<u64>) -> Vec<Stored> {
    numbers.map(|token| Stored::Token { pool: format!("pool{token}").parse().expect("a pool"), token }).collect()
}

fn whole() -> &'static Whole {
    static WHOLE: OnceLock<Whole> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let commits = [tokens(1..20), tokens(20..40), tokens(40..60)];
        let bytes = image(&commits).expect("a store");
        let opened = |upto: usize| open(image(&commits[..upto]).expect("a store")).expect("it opens");
        Whole { bytes, last: [opened(2), opened(3)] }
    })
}

/// Opens the file after damaging it.
pub fn check(bytes: &[u8]) {
    let Whole { bytes: file, last } = whole();
    let mut file = file.clone();
    for damage in bytes.chunks_exact(6) {
        let [what, far, near, nearer, with, reach] = *damage else { unreachable!("chunks of six") };
        if file.is_empty() {
            break;
        }
        let place = u32::from_be_bytes([0, far, near, nearer]) as usize % file.len();
        let end = (place + 1 + usize::from(reach) * REACH_MAX / 255).min(file.len());
        match what % 6 {
            0 => file[place] ^= with.max(1),
            1 => file[place..end].fill(with),
            2 => file.truncate(place),
            3 => file.extend(vec![with; usize::from(reach)]),
            4 => file[place] = with,
            // The head of the file, where redb says which of its two roots counts.
            _ => {
                let head = file.len().min(320);
                file[usize::from(near) % head] = with;
            }
        }
    }
    // An empty file is refused where files are looked for: here it would be a new store.
    if file.is_empty() {
        return;
    }
    if let Ok(records) = open(file) {
        assert!(last.contains(&records), "{} records: {records:?}", records.len());
    }
}
