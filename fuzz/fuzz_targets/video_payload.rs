#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| campanile_fuzz::run("video_payload", data));
