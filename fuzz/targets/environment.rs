#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| poolwright::fuzzed::environment(bytes).unwrap());
