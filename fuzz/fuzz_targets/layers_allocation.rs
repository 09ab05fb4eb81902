#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| campanile_fuzz::run("layers_allocation", data));
