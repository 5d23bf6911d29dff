//! How the time and the memory of saves and loads grow with the state. Each size has a process of
//! its own, for the most memory that it had; the state comes from a reader, so that all of that is
//! the store's.
//!
//! `cargo bench --bench scaling -- [--mib=64,512,2048,8192] [--within=256]`: sizes in MiB, and the
//! memory that the store is opened with. Files go to `CKPTDB_BENCH_DIR`, or the system's temporary
//! folder, and are removed.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first failure")]
#![expect(clippy::disallowed_methods, reason = "the reference is a plain file")]

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use ckptdb::{DType, Options, Store};
use noise::Noise;

#[expect(dead_code, reason = "here they come from a reader only")]
#[path = "support/noise.rs"]
mod noise;

/// Bytes that are made, or read back, at a time.
const PIECE: usize = 1 << 20;

fn main() {
    let mut sizes = Vec::new();
    let mut within = 256;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [what, mib, within] = &arguments[..]
        && what == "child"
    {
        return child(mib.parse().unwrap(), within.parse().unwrap());
    }
    for argument in &arguments {
        match argument.split_once('=') {
            Some(("--mib", list)) => {
                sizes = list.split(',').map(|size| size.parse().unwrap()).collect();
            }
            Some(("--within", mib)) => within = mib.parse().unwrap(),
            _ => {}
        }
    }
    if sizes.is_empty() {
        // `cargo bench` without a choice, and `cargo test --benches`, only see that it builds.
        println!("say --mib=64,512,...: how many MiB the states shall have");
        return;
    }
    println!("within {within} MiB of memory; noise");
    println!(
        "| state MiB | save s | of a plain write's time | the same again s | load s | of a plain \
         read's time | memory MiB |"
    );
    println!("|---|---|---|---|---|---|---|");
    for size in sizes {
        let size: usize = size;
        let program = std::env::current_exe().unwrap();
        let run = Command::new(program)
            .args(["child", &size.to_string(), &within.to_string()])
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(run.status.success());
        print!("{}", String::from_utf8(run.stdout).unwrap());
    }
}

fn timed(run: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    run();
    begun.elapsed().as_secs_f64()
}

/// The most memory that this process has had, in MiB.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<usize>().unwrap() >> 10
}

fn child(mib: usize, within: usize) {
    let folder = match std::env::var_os("CKPTDB_BENCH_DIR") {
        Some(place) => tempfile::tempdir_in(place).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let bytes = mib << 20;
    let noise = || Noise::new(7, bytes);
    let (write, read) = plain(&folder.path().join("plain"), noise());
    let before = peak();
    let options = Options::within(within << 20);
    let store = Store::create_with(folder.path().join("x.ckptdb"), options).unwrap();
    let job = store.job("bench").unwrap();
    let save = |iteration| {
        let save = job.save(iteration);
        let save = save.tensor_from("w", DType::F32, &[bytes as u64 / 4], noise());
        save.commit().unwrap().checkpoint
    };
    let mut saved = None;
    let new = timed(|| saved = Some(save(1)));
    let again = timed(|| drop(save(2)));
    let saved = saved.unwrap();
    let load = timed(|| {
        saved.copy_to("w", &mut std::io::sink()).unwrap();
    });
    println!(
        "| {mib} | {new:.2} | {:.2} | {again:.2} | {load:.2} | {:.2} | {} |",
        new / write,
        load / read,
        peak() - before
    );
}

/// Seconds that it takes to write the same bytes, made by the same reader, to a plain file, synced;
/// and to read them.
fn plain(path: &Path, mut noise: Noise) -> (f64, f64) {
    let mut piece = vec![0; PIECE];
    let write = timed(|| {
        let mut file = File::create(path).unwrap();
        loop {
            let count = noise.read(&mut piece).unwrap();
            if count == 0 {
                break;
            }
            file.write_all(&piece[..count]).unwrap();
        }
        file.sync_data().unwrap();
    });
    let read = timed(|| {
        let mut file = File::open(path).unwrap();
        while file.read(&mut piece).unwrap() > 0 {}
    });
    std::fs::remove_file(path).unwrap();
    (write, read)
}
