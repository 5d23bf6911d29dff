//! Wrong answers of the system: the shim that is preloaded into a child, and its control.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Words of the page that the child and its shim share; their places are those of `shim.c`.
const WORDS: usize = 17;

/// Kinds of calls, as bits.
pub(crate) const WRITE: u64 = 1;
pub(crate) const SYNC: u64 = 2;
pub(crate) const SIZE: u64 = 4;
pub(crate) const NAME: u64 = 8;
pub(crate) const CREATE: u64 = 16;
pub(crate) const RESERVE: u64 = 32;
pub(crate) const ALL: u64 = 63;

/// The system's numbers for what goes wrong, on every Linux that is not MIPS or SPARC.
pub(crate) const EIO: u64 = 5;
pub(crate) const ENOSPC: u64 = 28;
pub(crate) const EDQUOT: u64 = 122;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Count,
    Fail(u64),
    /// Half of the bytes are written.
    Short,
    /// Every other call is interrupted.
    Interrupt,
    /// The call takes so many milliseconds more.
    Sleep(u64),
    /// There is room for so many bytes more.
    Fill(u64),
}

/// Which calls something happens to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) mask: u64,
    pub(crate) action: Action,
    /// The first of them, counted from one.
    pub(crate) at: u64,
    /// And all that follow.
    pub(crate) sticky: bool,
}

/// What the shim has seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Calls that something happened to.
    pub(crate) fired: u64,
    /// The kind of the first of these.
    pub(crate) first: u64,
    /// The kinds of all of them.
    pub(crate) kinds: u64,
    /// Whether the last change to a file came after the last sync, or that of a name after the
    /// last sync of a folder.
    pub(crate) is_unsynced: bool,
    counts: [u64; 6],
}

impl Seen {
    /// Calls of this kind.
    pub(crate) const fn count(&self, kind: u64) -> u64 {
        self.counts[kind.trailing_zeros() as usize]
    }
}

/// The page of words, which the child writes and its shim reads.
pub(crate) struct Control(File);

impl Control {
    /// Prepares a page, and a command to run with the shim, for the files below `folder`.
    pub(crate) fn prepare(command: &mut Command, page: &Path, folder: &Path) -> Self {
        std::fs::write(page, [0; WORDS * 8]).unwrap();
        command
            .env("LD_PRELOAD", library())
            .env("CKPTDB_SHIM_CONTROL", page)
            .env("CKPTDB_SHIM_FOLDER", folder.canonicalize().unwrap());
        Self::open(page)
    }

    /// The page of the shim in this process.
    pub(crate) fn own() -> Self {
        Self::open(Path::new(&std::env::var_os("CKPTDB_SHIM_CONTROL").unwrap()))
    }

    fn open(page: &Path) -> Self {
        Self(
            OpenOptions::new()
                .read(true)
                .write(true)
                .open(page)
                .unwrap(),
        )
    }

    /// From now on this happens. All counts are zero.
    pub(crate) fn arm(&self, fault: Fault) {
        let (action, value, quota) = match fault.action {
            Action::Count => (0, 0, 0),
            Action::Fail(errno) => (1, errno, 0),
            Action::Short => (2, 0, 0),
            Action::Interrupt => (3, 0, 0),
            Action::Sleep(time) => (4, time, 0),
            Action::Fill(bytes) => (5, 0, bytes),
        };
        let mut words = [0; WORDS];
        words[..5].copy_from_slice(&[fault.mask, fault.at, action, value, u64::from(fault.sticky)]);
        words[8] = quota;
        self.write(&words);
    }

    /// From now on nothing happens. What was seen until now.
    pub(crate) fn disarm(&self) -> Seen {
        let mut bytes = [0; WORDS * 8];
        self.0.read_exact_at(&mut bytes, 0).unwrap();
        let words: Vec<u64> = bytes
            .chunks_exact(8)
            .map(|word| u64::from_ne_bytes(word.try_into().unwrap()))
            .collect();
        self.write(&[0; WORDS]);
        Seen {
            fired: words[6],
            first: words[7],
            kinds: words[15],
            is_unsynced: words[16] != 0,
            counts: words[9..15].try_into().unwrap(),
        }
    }

    fn write(&self, words: &[u64; WORDS]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.0.write_all_at(&bytes, 0).unwrap();
    }
}

/// The shim, compiled once for a run of the tests. A C compiler is there: one of the packages that
/// the store is built of needs it too.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/processes/shim.c");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let made = folder.join(format!("shim-{}.so", std::process::id()));
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let status = Command::new(&compiler)
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&made)
            .arg(source)
            .status();
        let done = status.is_ok_and(|status| status.success());
        assert!(done, "{compiler} can't compile {source}");
        // Another run may be using the one that is there: it keeps its own.
        let library = folder.join("shim.so");
        std::fs::rename(&made, &library).unwrap();
        library
    })
}
